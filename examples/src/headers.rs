//! What the answers with a page say to the browser.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The headers of a page: no code but the service's own runs, and only `frame` may be framed.
pub fn headers(frame: Option<&str>) -> Result<HeaderMap, http::header::InvalidHeaderValue> {
    let frame = frame.unwrap_or("'none'");
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; frame-src {frame}; form-action 'none'; base-uri 'none'; \
         frame-ancestors 'none'; require-trusted-types-for 'script'"
    );
    let fixed = |value| HeaderValue::from_static(value);
    Ok(HeaderMap::from_iter([
        (CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy)?),
        (X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (REFERRER_POLICY, fixed("no-referrer")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            fixed("same-origin"),
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            fixed("same-origin"),
        ),
    ]))
}

/// Puts them on an answer.
pub async fn add(State(headers): State<HeaderMap>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().extend(headers);
    response
}

/// Answers to `localhost` only. What stands in for a provider is at `127.0.0.1`: cookies know
/// no ports, so under one name it would be sent the session. And a page elsewhere that has its
/// own name point here gets nothing.
pub async fn only_localhost(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    match host.map(|host| host.split(':').next().unwrap_or(host)) {
        Some("localhost") => next.run(request).await,
        _ => (
            StatusCode::MISDIRECTED_REQUEST,
            "This page answers to the name localhost only: http://localhost and its port.\n",
        )
            .into_response(),
    }
}
