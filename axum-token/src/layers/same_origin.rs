//! Requests that change something come from our own pages.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum_core::response::{IntoResponse, Response};
use http::header::{HeaderName, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::origin::PublicOrigin;
use crate::rejection::Forbidden;

/// Refuses requests that change something and do not come from a page of ours, before any
/// handler runs: 403 with a problem document.
///
/// `GET`, `HEAD` and `OPTIONS` pass: nothing may be changed by them. Everything else has to
///
/// * come from the configured origin: `Sec-Fetch-Site: same-origin` by the browser's own
///   word, with no other `Origin` beside it; where there is none, an `Origin` that is ours.
///   With neither it is refused. What `Host` says counts for nothing: its sender chooses it;
/// * carry the header `x-csrf: 1`, which another site's page cannot add without being asked
///   for leave first (CORS), and a form cannot at all.
///
/// A request for a WebSocket is a `GET` that no CORS asks about: one that shows that it comes
/// from elsewhere is refused.
///
/// ```
/// use axum::{Router, routing::post};
/// use axum_token::{PublicOrigin, SameOriginLayer};
///
/// let origin: PublicOrigin = "https://app.example.com".parse()?;
/// # let _: Router =
/// Router::new()
///     .route("/logout", post(|| async {}))
///     .layer(SameOriginLayer::new(&origin));
/// # Ok::<(), axum_token::InvalidPublicOrigin>(())
/// ```
#[derive(Debug, Clone)]
pub struct SameOriginLayer {
    rules: Rules,
}

#[derive(Debug, Clone)]
struct Rules {
    origin: PublicOrigin,
    /// Whether reading passes without being looked at.
    reads_pass: bool,
}

impl SameOriginLayer {
    /// Requests that change something come from pages of `origin` only.
    pub fn new(origin: &PublicOrigin) -> Self {
        let origin = origin.clone();
        let reads_pass = true;
        Self {
            rules: Rules { origin, reads_pass },
        }
    }

    /// For routes whose answers are somebody else's: reading needs the header, too, which no
    /// navigation, image, script or frame has, and must not show that it comes from elsewhere.
    #[cfg(feature = "proxy")]
    pub(crate) fn and_reads(mut self) -> Self {
        self.rules.reads_pass = false;
        self
    }
}

impl<S> Layer<S> for SameOriginLayer {
    type Service = SameOrigin<S>;

    fn layer(&self, inner: S) -> SameOrigin<S> {
        let rules = self.rules.clone();
        SameOrigin { inner, rules }
    }
}

/// The service of [`SameOriginLayer`].
#[derive(Debug, Clone)]
pub struct SameOrigin<S> {
    inner: S,
    rules: Rules,
}

impl<S, B> Service<Request<B>> for SameOrigin<S>
where
    S: Service<Request<B>, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = SameOriginFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let state = match check(&self.rules, request.method(), request.headers()) {
            Ok(()) => State::Passed {
                response: self.inner.call(request),
            },
            Err(refusal) => State::Refused {
                refusal: Some(refusal),
            },
        };
        SameOriginFuture { state }
    }
}

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const CSRF: HeaderName = HeaderName::from_static("x-csrf");

fn check(rules: &Rules, method: &Method, headers: &HeaderMap) -> Result<(), Forbidden> {
    let from = From::of(&rules.origin, headers);
    let cross_site = Forbidden::new(
        "cross_site",
        "this has to come from a page of the service itself",
    );
    let socket = method == Method::GET && headers.contains_key(UPGRADE);
    if socket || method == Method::CONNECT {
        // Whoever says nothing is no browser, and has no cookie of one.
        return match from {
            From::Us | From::Nowhere => Ok(()),
            From::Elsewhere => Err(cross_site),
        };
    }
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
    if reads && rules.reads_pass {
        return Ok(());
    }
    let navigates = headers.get_all(MODE).iter().any(|mode| mode == "navigate");
    let passes = match from {
        From::Us => true,
        // Older browsers say nothing of a page of ours that reads.
        From::Nowhere => reads,
        From::Elsewhere => false,
    };
    if !passes || (reads && navigates) {
        return Err(cross_site);
    }
    if only(headers, &CSRF).is_none_or(|value| value != "1") {
        return Err(Forbidden::new(
            "csrf_header_missing",
            "this needs the header `x-csrf: 1`",
        ));
    }
    Ok(())
}

/// Where a request says that it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Us,
    Elsewhere,
    Nowhere,
}

impl From {
    fn of(origin: &PublicOrigin, headers: &HeaderMap) -> Self {
        let stated = headers.contains_key(ORIGIN);
        let ours = only(headers, &ORIGIN).is_some_and(|value| origin.is(value.as_bytes()));
        if headers.contains_key(SITE) {
            // A page hides its origin from its own service under some referrer policies.
            let hidden = only(headers, &ORIGIN).is_some_and(|value| value == "null");
            let site = only(headers, &SITE).is_some_and(|value| value == "same-origin");
            return if site && (ours || hidden || !stated) {
                Self::Us
            } else {
                Self::Elsewhere
            };
        }
        match (stated, ours) {
            (false, _) => Self::Nowhere,
            (true, true) => Self::Us,
            (true, false) => Self::Elsewhere,
        }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

pin_project! {
    /// The response future of [`SameOrigin`].
    #[must_use = "futures do nothing unless polled"]
    pub struct SameOriginFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        /// It comes from us.
        Passed { #[pin] response: F },
        /// It does not, and is not passed on.
        Refused { refusal: Option<Forbidden> },
    }
}

impl<F, E> Future for SameOriginFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passed { response } => response.poll(cx),
            StateProj::Refused { refusal } => match refusal.take() {
                Some(refusal) => Poll::Ready(Ok(refusal.into_response())),
                None => Poll::Pending,
            },
        }
    }
}

impl<F> fmt::Debug for SameOriginFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SameOriginFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, headers: &[(&'static str, &'static str)]) -> &'static str {
        asked_by(true, method, headers)
    }

    fn asked_by(
        reads_pass: bool,
        method: &str,
        headers: &[(&'static str, &'static str)],
    ) -> &'static str {
        let origin: PublicOrigin = "https://app.example.com".parse().unwrap();
        let rules = Rules { origin, reads_pass };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        match check(&rules, &method.parse().unwrap(), &map) {
            Ok(()) => "passed",
            Err(refusal) => refusal.code(),
        }
    }

    const OURS: (&str, &str) = ("origin", "https://app.example.com");
    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
    const CSRF: (&str, &str) = ("x-csrf", "1");

    #[test]
    fn our_own_pages_change_things() {
        for headers in [
            &[SAME, CSRF][..],
            &[OURS, CSRF],
            &[SAME, OURS, CSRF],
            &[SAME, ("origin", "null"), CSRF],
            &[("host", "evil.example"), OURS, CSRF],
        ] {
            for method in ["POST", "PUT", "PATCH", "DELETE"] {
                assert_eq!(asked(method, headers), "passed", "{headers:?}");
            }
        }
    }

    #[test]
    fn nobody_else_does() {
        for headers in [
            &[CSRF][..],
            &[("host", "app.example.com"), CSRF],
            &[("referer", "https://app.example.com/"), CSRF],
            &[("sec-fetch-site", "cross-site"), CSRF],
            &[("sec-fetch-site", "same-site"), CSRF],
            &[("sec-fetch-site", "none"), CSRF],
            &[("sec-fetch-site", "cross-site"), OURS, CSRF],
            &[("sec-fetch-site", ""), OURS, CSRF],
            &[SAME, ("sec-fetch-site", "cross-site"), CSRF],
            &[SAME, SAME, CSRF],
            // A page of another name for this address (DNS rebinding).
            &[SAME, ("origin", "https://evil.example"), CSRF],
            &[SAME, OURS, OURS, CSRF],
            &[("origin", "https://evil.example"), CSRF],
            &[("origin", "null"), CSRF],
            &[("origin", "http://app.example.com"), CSRF],
            &[("origin", "https://app.example.com:8443"), CSRF],
            &[("origin", "https://app.example.com.evil.example"), CSRF],
            &[("origin", "https://app.example.com/"), CSRF],
            &[("origin", "https://app.example.com@evil.example"), CSRF],
            &[OURS, ("origin", "https://evil.example"), CSRF],
            &[
                ("origin", "https://evil.example"),
                ("host", "evil.example"),
                CSRF,
            ],
        ] {
            for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"] {
                assert_eq!(asked(method, headers), "cross_site", "{headers:?}");
            }
        }
    }

    #[test]
    fn the_header_is_asked_for_besides() {
        for headers in [
            &[SAME][..],
            &[OURS],
            &[OURS, ("x-csrf", "0")],
            &[OURS, ("x-csrf", "")],
            &[OURS, CSRF, CSRF],
        ] {
            assert_eq!(asked("POST", headers), "csrf_header_missing", "{headers:?}");
        }
    }

    #[test]
    fn reading_passes_and_a_socket_only_from_here() {
        let foreign = ("origin", "https://evil.example");
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(asked(method, &[]), "passed");
            assert_eq!(asked(method, &[foreign]), "passed");
        }
        let socket = ("upgrade", "websocket");
        assert_eq!(asked("GET", &[socket]), "passed");
        assert_eq!(asked("GET", &[socket, OURS]), "passed");
        assert_eq!(asked("GET", &[socket, foreign]), "cross_site");
        assert_eq!(asked("GET", &[socket, ("origin", "null")]), "cross_site");
        let site = ("sec-fetch-site", "same-site");
        assert_eq!(asked("GET", &[socket, site]), "cross_site");
        assert_eq!(asked("CONNECT", &[foreign]), "cross_site");
        // An upgrade in name is no way round.
        assert_eq!(asked("POST", &[socket, CSRF]), "cross_site");
    }

    #[test]
    fn where_reads_count_they_need_the_header_and_no_other_site() {
        let foreign = ("origin", "https://evil.example");
        let navigation = ("sec-fetch-mode", "navigate");
        for method in ["GET", "HEAD", "OPTIONS"] {
            for (headers, expected) in [
                (&[CSRF][..], "passed"),
                (&[CSRF, SAME], "passed"),
                (&[CSRF, OURS], "passed"),
                (&[CSRF, SAME, ("sec-fetch-mode", "cors")], "passed"),
                (&[], "csrf_header_missing"),
                (&[SAME], "csrf_header_missing"),
                (&[SAME, ("x-csrf", "0")], "csrf_header_missing"),
                (&[CSRF, foreign], "cross_site"),
                (&[CSRF, ("origin", "null")], "cross_site"),
                (&[CSRF, ("sec-fetch-site", "same-site")], "cross_site"),
                (&[CSRF, ("sec-fetch-site", "none")], "cross_site"),
                (&[CSRF, SAME, navigation], "cross_site"),
            ] {
                assert_eq!(asked_by(false, method, headers), expected, "{headers:?}");
            }
        }
        assert_eq!(asked_by(false, "POST", &[CSRF]), "cross_site");
        assert_eq!(asked_by(false, "POST", &[CSRF, SAME]), "passed");
    }
}
