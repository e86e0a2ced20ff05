//! Answers, and what a fault does to them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, PRAGMA};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::Value;

use crate::clock::Timestamp;

/// More than any client reads of a token endpoint's answer.
const OVERSIZE: usize = 4 * 1024 * 1024;

/// The last second that an HTTP date can say: the end of the year 9999.
const LAST_DATE: u64 = 253_402_300_799;

/// A body in one piece, which may keep its length to itself.
pub(in crate::testkit) struct Answer {
    bytes: Bytes,
    announced: bool,
}

pub(in crate::testkit) fn status(code: StatusCode) -> Response<Answer> {
    let mut answer = Response::new(Answer {
        bytes: Bytes::new(),
        announced: true,
    });
    *answer.status_mut() = code;
    answer
}

pub(in crate::testkit) fn json(code: StatusCode, fields: &Value) -> Response<Answer> {
    with_body(code, "application/json", fields.to_string())
}

pub(in crate::testkit) fn with_body(
    code: StatusCode,
    media_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Answer> {
    let mut answer = status(code);
    answer.body_mut().bytes = text.into();
    set(&mut answer, CONTENT_TYPE, media_type);
    answer
}

pub(in crate::testkit) fn not_allowed(allowed: &'static str) -> Response<Answer> {
    let mut answer = status(StatusCode::METHOD_NOT_ALLOWED);
    set(&mut answer, ALLOW, allowed);
    answer
}

/// What RFC 6749 section 5.1 asks of an answer with tokens in it.
pub(in crate::testkit) fn no_store(mut answer: Response<Answer>) -> Response<Answer> {
    set(&mut answer, CACHE_CONTROL, "no-store");
    set(&mut answer, PRAGMA, "no-cache");
    answer
}

/// The time of the server, which may not be the machine's.
pub(in crate::testkit) fn dated(mut answer: Response<Answer>, now: Timestamp) -> Response<Answer> {
    let seconds = (now.as_unix_millis() / 1_000).min(LAST_DATE);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    if let Ok(date) = HeaderValue::try_from(date) {
        answer.headers_mut().insert(DATE, date);
    }
    answer
}

pub(in crate::testkit) fn set(
    answer: &mut Response<Answer>,
    name: HeaderName,
    value: &'static str,
) {
    let value = HeaderValue::from_static(value);
    answer.headers_mut().insert(name, value);
}

pub(in crate::testkit) fn garbage(mut answer: Response<Answer>) -> Response<Answer> {
    answer.body_mut().bytes = Bytes::from_static(b"<html>Not JSON.</html>");
    answer
}

/// Announces the whole body, and sends half of it.
pub(in crate::testkit) fn truncated(mut answer: Response<Answer>) -> Response<Answer> {
    let body = answer.body_mut();
    let length = HeaderValue::from(body.bytes.len());
    body.bytes.truncate(body.bytes.len() / 2);
    body.announced = false;
    answer.headers_mut().insert(CONTENT_LENGTH, length);
    answer
}

/// White space after a JSON value is part of the text.
pub(in crate::testkit) fn oversized(mut answer: Response<Answer>) -> Response<Answer> {
    let body = answer.body_mut();
    let mut padded = body.bytes.to_vec();
    padded.resize(padded.len() + OVERSIZE, b' ');
    body.bytes = padded.into();
    body.announced = false;
    answer
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced {
            SizeHint::with_exact(self.bytes.len() as u64)
        } else {
            SizeHint::default()
        }
    }
}
