//! `__Host-` cookies that browsers take.

use std::task::{Context, Poll};

use http::header::{Entry, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::answer::EditedResponse;

/// Gives every `__Host-` cookie that is set without `Secure` that attribute.
///
/// A browser ignores such a cookie without it (RFC 6265bis section 4.1.3.2), its removal
/// included, and tower-sessions removes a cookie without it: a browser would go on sending
/// the id of a session that is over. [`sessions::layer`](crate::sessions::layer) has this
/// layer in it; it goes outside of whatever sets cookies.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostCookiesLayer;

impl<S> Layer<S> for HostCookiesLayer {
    type Service = HostCookies<S>;

    fn layer(&self, inner: S) -> HostCookies<S> {
        HostCookies { inner }
    }
}

/// The service of [`HostCookiesLayer`].
#[derive(Debug, Clone)]
pub struct HostCookies<S> {
    inner: S,
}

impl<S, B, A> Service<Request<B>> for HostCookies<S>
where
    S: Service<Request<B>, Response = Response<A>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = EditedResponse<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        EditedResponse::new(self.inner.call(request), secure)
    }
}

fn secure(headers: &mut HeaderMap) {
    let Entry::Occupied(mut cookies) = headers.entry(SET_COOKIE) else {
        return;
    };
    for cookie in cookies.iter_mut() {
        if let Some(secured) = secured(cookie) {
            *cookie = secured;
        }
    }
}

/// The same with `Secure`, if it needs it.
fn secured(cookie: &HeaderValue) -> Option<HeaderValue> {
    let bytes = cookie.as_bytes();
    let prefix = bytes.get(.."__Host-".len())?;
    let mut attributes = bytes.split(|byte| *byte == b';').skip(1);
    let is_secure =
        attributes.any(|attribute| attribute.trim_ascii().eq_ignore_ascii_case(b"secure"));
    if is_secure || !prefix.eq_ignore_ascii_case(b"__Host-") {
        return None;
    }
    HeaderValue::from_bytes(&[bytes, b"; Secure"].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_cookies_without_it_are_made_secure() {
        for (given, expected) in [
            (
                "__Host-id=; Path=/; Max-Age=0",
                "__Host-id=; Path=/; Max-Age=0; Secure",
            ),
            ("__Host-id=x; Path=/; SECURE", "__Host-id=x; Path=/; SECURE"),
            (
                "__Host-id=secure; Path=/",
                "__Host-id=secure; Path=/; Secure",
            ),
            ("id=x; Path=/", "id=x; Path=/"),
            ("x", "x"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_static("other=1"));
            headers.append(SET_COOKIE, HeaderValue::from_static(given));
            secure(&mut headers);
            let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
            assert_eq!(cookies, ["other=1", expected]);
        }
    }
}
