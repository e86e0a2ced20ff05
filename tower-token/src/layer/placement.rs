//! Where in a request the token goes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body::Body;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::grant::AccessToken;
use crate::secret::wiped_json;

/// Where in a request the token goes: [`Authorization`], the default, or [`JsonBody`].
///
/// Implement it for an API that wants it elsewhere. A URL is the wrong place: it ends up in
/// logs and histories (RFC 9700 section 4.3.2).
///
/// ```
/// use http::{HeaderValue, Request};
/// use tower_token::{AccessToken, Error, Placement};
///
/// #[derive(Clone)]
/// struct ApiKeyHeader;
///
/// impl<B> Placement<B> for ApiKeyHeader {
///     fn is_placed(&self, request: &Request<B>) -> bool {
///         request.headers().contains_key("x-api-key")
///     }
///
///     fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error> {
///         // Every token that is served is visible ASCII.
///         if let Ok(mut value) = HeaderValue::from_str(token.expose()) {
///             value.set_sensitive(true);
///             request.headers_mut().insert("x-api-key", value);
///         }
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot put a token into a request with a body of type `{B}`",
    label = "the token has to go into this request",
    note = "`JsonBody` takes bodies that are made from `Bytes`, such as `Full<Bytes>`"
)]
pub trait Placement<B> {
    /// Whether the request carries one already: it is then passed on untouched.
    fn is_placed(&self, request: &Request<B>) -> bool;

    /// Puts `token` into the request, in place of one that it may carry from an earlier try.
    fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error>;
}

/// `Authorization: Bearer` (RFC 6750 section 2.1), marked sensitive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Authorization;

impl<B> Placement<B> for Authorization {
    fn is_placed(&self, request: &Request<B>) -> bool {
        request.headers().contains_key(AUTHORIZATION)
    }

    fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error> {
        let value = token.authorization().clone();
        request.headers_mut().insert(AUTHORIZATION, value);
        Ok(())
    }
}

/// A field of the JSON object that is the request's body, as some APIs of brokers want it.
///
/// The body has to be in memory, as `Full<Bytes>` is, and a JSON object or empty; it is written
/// anew with the token in it. What was in the field before, such as a placeholder, is replaced.
///
/// ```
/// # use tower_token::*;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn f(manager: TokenManager) -> Result<(), Box<dyn std::error::Error>> {
/// let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
/// let tokens = TokenLayer::new(&manager).place(JsonBody::field("authToken"));
/// let client = ServiceBuilder::new().layer(tokens).service(http);
///
/// let request = http::Request::post("http://127.0.0.1:9000/api/v1/holdings/get")
///     .extension(TokenRequest::new(GrantKey::new("mesh", "user-17")).account("acc-1"))
///     .body(Full::from(r#"{"type":"coinbase"}"#))?;
/// let response = client.oneshot(request).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct JsonBody {
    field: &'static str,
}

/// Larger bodies are not read for the sake of a token.
const MAX_BODY: usize = 1 << 20;

impl JsonBody {
    /// The top-level field of this name.
    pub fn field(name: &'static str) -> Self {
        Self { field: name }
    }
}

impl<B> Placement<B> for JsonBody
where
    B: Body + From<Bytes>,
{
    fn is_placed(&self, _: &Request<B>) -> bool {
        false
    }

    fn place(&self, token: &AccessToken, request: &mut Request<B>) -> Result<(), Error> {
        let body = std::mem::replace(request.body_mut(), B::from(Bytes::new()));
        let mut object = read(body)?;
        object.insert(self.field.into(), Value::from(token.expose()));
        let written = wiped_json(&object);
        drop(object.remove(self.field).map(wiped_text));
        let written = written.map_err(|_| unfit("it cannot be written"))?;
        let headers = request.headers_mut();
        let content_type = HeaderValue::from_static("application/json");
        headers.entry(CONTENT_TYPE).or_insert(content_type);
        if headers.contains_key(CONTENT_LENGTH) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(written.len()));
        }
        *request.body_mut() = B::from(written);
        Ok(())
    }
}

/// The object in a body that is all there.
fn read<B: Body>(body: B) -> Result<Map<String, Value>, Error> {
    let mut body = pin!(body);
    let mut bytes = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let frame = match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(None) => break,
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(_))) => return Err(unfit("it cannot be read")),
            Poll::Pending => return Err(unfit("it is not in memory")),
        };
        let Ok(mut data) = frame.into_data() else {
            return Err(unfit("it has trailers"));
        };
        if bytes.len() + data.remaining() > MAX_BODY {
            return Err(unfit("it is larger than 1 MiB"));
        }
        bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(unfit("it is not a JSON object")),
    }
}

fn wiped_text(value: Value) -> Zeroizing<String> {
    match value {
        Value::String(token) => Zeroizing::new(token),
        _ => Zeroizing::default(),
    }
}

fn unfit(why: &str) -> Error {
    Error::new(
        ErrorKind::UnfitBody,
        format!("the token cannot be put into the request's body: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::Serial;
    use crate::secret::Secret;

    fn token(text: &str) -> AccessToken {
        let serial = Serial { epoch: 1, issue: 1 };
        AccessToken::new(
            &Secret::from(text),
            serial,
            Timestamp::from_unix_millis(0),
            None,
        )
        .unwrap()
    }

    fn placed(body: &'static str) -> Result<String, String> {
        let mut request = Request::new(Full::<Bytes>::from(body));
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let placement = JsonBody::field("authToken");
        let done = placement.place(&token("t-1"), &mut request);
        done.map_err(|error| error.to_string())?;
        let len = request.headers()[CONTENT_LENGTH].clone();
        let mut body = request.into_body();
        let frame = poll_once(body.frame()).unwrap().unwrap();
        let bytes = frame.into_data().unwrap();
        assert_eq!(len, bytes.len().to_string().as_str());
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn poll_once<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("it is not ready"),
        }
    }

    #[test]
    fn a_token_joins_the_object_and_replaces_what_stood_there() {
        for (body, expected) in [
            ("", r#"{"authToken":"t-1"}"#),
            (" {} ", r#"{"authToken":"t-1"}"#),
            (
                r#"{"authToken":"placeholder","type":"x"}"#,
                r#"{"authToken":"t-1","type":"x"}"#,
            ),
            (
                r#"{"type":"x","n":[1,{"authToken":"inner"}]}"#,
                r#"{"authToken":"t-1","n":[1,{"authToken":"inner"}],"type":"x"}"#,
            ),
        ] {
            assert_eq!(placed(body).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn another_body_is_refused_and_never_quoted() {
        for body in ["[]", "secret", "\"secret\"", "{\"secret\"", "null"] {
            let problem = placed(body).unwrap_err();
            assert!(problem.contains("JSON object"), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_body_that_streams_is_refused() {
        struct Stream;
        impl Body for Stream {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
                Poll::Pending
            }
        }
        impl From<Bytes> for Stream {
            fn from(_: Bytes) -> Self {
                Self
            }
        }
        let mut request = Request::new(Stream);
        let refused = JsonBody::field("t").place(&token("t"), &mut request);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::UnfitBody);
    }
}
