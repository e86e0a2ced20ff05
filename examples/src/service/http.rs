//! The service over HTTP/1.1: connections, routes and answers.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, PRAGMA, WWW_AUTHENTICATE,
    },
};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time};

use super::{
    App,
    fault::Fault,
    ledger::{Issued, SCOPE},
    request::{Form, Problem, bearer},
};

const TOKEN: &str = "/token";
/// Where [`Fault::Redirect`] points: the token endpoint without its fault.
const MOVED: &str = "/token/moved";
const REVOKE: &str = "/revoke";
const ME: &str = "/me";
const ECHO: &str = "/echo";

/// No form of a token request comes near this.
const FORM_LIMIT: usize = 64 * 1024;
const OVERSIZE: usize = 4 * 1024 * 1024;

/// Serves every connection to the listener, until dropped.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>) -> Infallible {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or the client is gone already: neither is for ever.
            time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without it the answers still arrive, only later.
        let _ = stream.set_nodelay(true);
        let app = Arc::clone(&app);
        tokio::spawn(async move {
            let service = service_fn(|request| route(&app, request));
            // An error is a client that went away, or a hang-up on purpose.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Makes hyper close the connection without an answer.
#[derive(Debug)]
struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for HangUp {}

async fn route(app: &App, request: Request<Incoming>) -> Result<Response<Answer>, HangUp> {
    let (head, body) = request.into_parts();
    match (head.uri.path(), &head.method) {
        (TOKEN, &Method::POST) => faulty_token(app, &head.headers, body).await,
        (MOVED, &Method::POST) => {
            let body = read_form(body).await;
            Ok(token(app, &head.headers, body, Fault::None))
        }
        (REVOKE, &Method::POST) => Ok(revoke(app, &head.headers, read_form(body).await)),
        (ME, &Method::GET) => Ok(me(app, &head.headers)),
        (ECHO, &Method::POST) => echo(app, &head.headers, body).await,
        (TOKEN | MOVED | REVOKE | ECHO, _) => Ok(not_allowed("POST")),
        (ME, _) => Ok(not_allowed("GET")),
        _ => Ok(status(StatusCode::NOT_FOUND)),
    }
}

/// A token request under the fault in force.
async fn faulty_token(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Answer>, HangUp> {
    let body = read_form(body).await;
    let arrival = app.faults.arrive();
    let fault = arrival.fault;
    match fault {
        Fault::Status(code) => {
            app.count(|counts| counts.refreshes_failed += 1);
            let code = StatusCode::from_u16(code)
                .ok()
                .filter(|code| !code.is_informational())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(status(code));
        }
        Fault::Redirect => {
            app.count(|counts| counts.refreshes_failed += 1);
            let mut answer = status(StatusCode::TEMPORARY_REDIRECT);
            set(&mut answer, LOCATION, MOVED);
            return Ok(answer);
        }
        Fault::Hold(limit) => app.faults.hold(arrival, Some(limit)).await,
        Fault::HoldUntilReleased => app.faults.hold(arrival, None).await,
        Fault::None
        | Fault::LostAnswer
        | Fault::OmitExpiresIn
        | Fault::Garbage
        | Fault::Truncate
        | Fault::Oversize => {}
    }

    let answer = token(app, headers, body, fault);
    if fault == Fault::LostAnswer {
        return Err(HangUp);
    }
    Ok(spoil(answer, fault))
}

fn token(
    app: &App,
    headers: &HeaderMap,
    body: Result<Bytes, Problem>,
    fault: Fault,
) -> Response<Answer> {
    let outcome = body.and_then(|body| refresh(app, headers, &body));
    app.count(|counts| match outcome {
        Ok(_) => counts.refreshes_ok += 1,
        Err(_) => counts.refreshes_failed += 1,
    });
    match outcome {
        Ok(issued) => {
            let mut fields = json!({
                "access_token": issued.access_token,
                "token_type": "Bearer",
                "refresh_token": issued.refresh_token,
                "scope": issued.scope,
            });
            if fault != Fault::OmitExpiresIn {
                fields["expires_in"] = issued.expires_in.as_secs().into();
            }
            let mut answer = json(StatusCode::OK, &fields);
            no_store(&mut answer);
            answer
        }
        Err(problem) => refusal(problem),
    }
}

fn refresh(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<Issued, Problem> {
    let form = Form::parse(headers, body)?;
    app.client.check(headers, &form)?;
    if form.require("grant_type")? != "refresh_token" {
        return Err(Problem::UnsupportedGrantType);
    }
    let presented = form.require("refresh_token")?;
    if form
        .get("scope")
        .is_some_and(|asked| asked.split(' ').any(|scope| scope != SCOPE))
    {
        return Err(Problem::InvalidScope);
    }
    Ok(app.refresh(presented)?)
}

/// RFC 7009: an unknown token is answered like any other.
fn revoke(app: &App, headers: &HeaderMap, body: Result<Bytes, Problem>) -> Response<Answer> {
    let revoked = body.and_then(|body| {
        let form = Form::parse(headers, &body)?;
        app.client.check(headers, &form)?;
        app.ledger.lock().revoke_token(form.require("token")?);
        Ok(())
    });
    match revoked {
        Ok(()) => status(StatusCode::OK),
        Err(problem) => refusal(problem),
    }
}

fn me(app: &App, headers: &HeaderMap) -> Response<Answer> {
    protected(app, headers, |user| json!({ "user": user }))
}

async fn echo(
    app: &App,
    headers: &HeaderMap,
    mut body: Incoming,
) -> Result<Response<Answer>, HangUp> {
    // To its end even when the answer will be 401: a client still sending may not see an answer
    // that comes before.
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| HangUp)?;
        bytes += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(protected(
        app,
        headers,
        |user| json!({ "user": user, "bytes": bytes }),
    ))
}

/// Answers the user behind an API request, or else with the challenge of RFC 6750, section 3.
fn protected(
    app: &App,
    headers: &HeaderMap,
    answer: impl FnOnce(&str) -> Value,
) -> Response<Answer> {
    let token = bearer(headers);
    if let Some(user) = token.and_then(|token| app.user_of(token)) {
        app.count(|counts| counts.api_ok += 1);
        return json(StatusCode::OK, &answer(&user));
    }

    app.count(|counts| counts.api_unauthorized += 1);
    let challenge = match token {
        Some(_) => "Bearer error=\"invalid_token\"",
        None => "Bearer",
    };
    let mut refused = status(StatusCode::UNAUTHORIZED);
    set(&mut refused, WWW_AUTHENTICATE, challenge);
    refused
}

async fn read_form(body: Incoming) -> Result<Bytes, Problem> {
    match Limited::new(body, FORM_LIMIT).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(_) => Err(Problem::InvalidRequest("the body is too long or broken")),
    }
}

/// Does to an answer what the fault says.
fn spoil(mut answer: Response<Answer>, fault: Fault) -> Response<Answer> {
    match fault {
        Fault::Garbage => answer.body_mut().bytes = Bytes::from_static(b"<html>Not JSON.</html>"),
        Fault::Truncate => {
            let body = answer.body_mut();
            let length = HeaderValue::from(body.bytes.len());
            body.bytes.truncate(body.bytes.len() / 2);
            body.announced = false;
            answer.headers_mut().insert(CONTENT_LENGTH, length);
        }
        Fault::Oversize => {
            // White space after a JSON value is part of the text.
            let body = answer.body_mut();
            let mut padded = body.bytes.to_vec();
            padded.resize(padded.len() + OVERSIZE, b' ');
            body.bytes = padded.into();
            body.announced = false;
        }
        Fault::None
        | Fault::Status(_)
        | Fault::Redirect
        | Fault::Hold(_)
        | Fault::HoldUntilReleased
        | Fault::LostAnswer
        | Fault::OmitExpiresIn => {}
    }
    answer
}

fn refusal(problem: Problem) -> Response<Answer> {
    let code = match problem {
        Problem::InvalidClient => StatusCode::UNAUTHORIZED,
        Problem::InvalidRequest(_)
        | Problem::InvalidGrant(_)
        | Problem::InvalidScope
        | Problem::UnsupportedGrantType => StatusCode::BAD_REQUEST,
    };
    let fields = json!({
        "error": problem.code(),
        "error_description": problem.description(),
    });
    let mut answer = json(code, &fields);
    no_store(&mut answer);
    if problem == Problem::InvalidClient {
        set(&mut answer, WWW_AUTHENTICATE, "Basic realm=\"token\"");
    }
    answer
}

fn not_allowed(allowed: &'static str) -> Response<Answer> {
    let mut answer = status(StatusCode::METHOD_NOT_ALLOWED);
    set(&mut answer, ALLOW, allowed);
    answer
}

fn json(code: StatusCode, fields: &Value) -> Response<Answer> {
    let mut answer = status(code);
    answer.body_mut().bytes = fields.to_string().into();
    set(&mut answer, CONTENT_TYPE, "application/json");
    answer
}

fn status(code: StatusCode) -> Response<Answer> {
    let mut answer = Response::new(Answer {
        bytes: Bytes::new(),
        announced: true,
    });
    *answer.status_mut() = code;
    answer
}

/// What RFC 6749, section 5.1 asks of an answer with tokens in it.
fn no_store(answer: &mut Response<Answer>) {
    set(answer, CACHE_CONTROL, "no-store");
    set(answer, PRAGMA, "no-cache");
}

fn set(answer: &mut Response<Answer>, name: http::HeaderName, value: &'static str) {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

/// A body in one piece, which may keep its length to itself.
struct Answer {
    bytes: Bytes,
    announced: bool,
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
