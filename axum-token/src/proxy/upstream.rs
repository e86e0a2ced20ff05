//! The APIs that pages call.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, Uri};

use super::path;
use super::refusal::Refusal;
use crate::origin::PublicOrigin;

/// An API that pages may call with their user's token: see [`ProxyRoutes`](crate::ProxyRoutes).
///
/// ```
/// use http::Method;
/// use axum_token::Upstream;
///
/// // `GET /calendar/users/me/calendarList`, and nothing that changes anything.
/// let calendar = Upstream::new("calendar", "google", "https://www.googleapis.com/calendar/v3/")
///     .methods([Method::GET])
///     .path_prefix("/users/me");
/// # let _ = calendar;
/// ```
#[derive(Clone)]
pub struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) provider: Arc<str>,
    pub(super) base: String,
    pub(super) methods: Vec<Method>,
    prefixes: Vec<String>,
    pub(super) passed: Vec<HeaderName>,
    pub(super) timeout: Duration,
    pub(super) max_body: u64,
}

/// Why an [`Upstream`] is none, for whoever set it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidUpstream {
    upstream: Arc<str>,
    problem: &'static str,
}

impl Upstream {
    /// The API below `base`, such as `https://www.googleapis.com/calendar/v3/`, with users'
    /// tokens of `provider`, which has to allow the origin of it. `name` is the first segment
    /// of its routes: letters, digits, `-` and `_`.
    ///
    /// Without anything else pages call all of it, by `GET`, `HEAD`, `POST`, `PUT`, `PATCH` and
    /// `DELETE`. Say what yours need by [`methods`](Self::methods) and
    /// [`path_prefix`](Self::path_prefix): a script that got into a page can call what the page
    /// can.
    pub fn new(
        name: impl Into<Arc<str>>,
        provider: impl Into<Arc<str>>,
        base: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            provider: provider.into(),
            base: base.into(),
            methods: vec![
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ],
            prefixes: Vec::new(),
            passed: Vec::new(),
            timeout: Duration::from_secs(30),
            max_body: u64::MAX,
        }
    }

    /// These methods and no others, which may be an API's own, such as `REPORT`.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Only what is at this path below the base, or below it, such as `/users/me`: it matches
    /// whole segments, as they are written. It can be called several times.
    #[must_use]
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefixes.push(prefix.into());
        self
    }

    /// Lets this header of answers pass, too. What a browser or a proxy in front does on account
    /// of it happens to the service itself.
    #[must_use]
    pub fn response_header(mut self, name: HeaderName) -> Self {
        self.passed.push(name);
        self
    }

    /// How long it may take until the head of an answer is there while nothing of the page's body
    /// goes on: 30 seconds by default. Waiting for a token is part of it; the body of the answer
    /// is not.
    #[must_use]
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = span;
        self
    }

    /// The most bytes of a page's body: without limit by default, as they stream.
    #[must_use]
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.max_body = bytes;
        self
    }

    /// With a base of one form, or why there is none.
    pub(super) fn checked(mut self) -> Result<Self, InvalidUpstream> {
        let problem = self.problem();
        match problem {
            Some(problem) => Err(self.invalid(problem)),
            None => {
                self.base = base(&self.base).unwrap_or_default();
                Ok(self)
            }
        }
    }

    pub(super) fn invalid(&self, problem: &'static str) -> InvalidUpstream {
        let upstream = Arc::clone(&self.name);
        InvalidUpstream { upstream, problem }
    }

    fn problem(&self) -> Option<&'static str> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(named) {
            return Some("its name is not one of letters, digits, `-` and `_`");
        }
        if base(&self.base).is_none() {
            return Some(
                "its base is not a URL of https, or of http on loopback, with nothing behind \
                 its path",
            );
        }
        let plain = |prefix: &String| {
            let path = prefix.strip_prefix('/').unwrap_or_default();
            !path.is_empty() && !path.ends_with('/') && path::is_plain(path)
        };
        if !self.prefixes.iter().all(plain) {
            return Some("a path prefix is not one such as `/users/me`");
        }
        // The answer to a TRACE is the request, with the token in it.
        let never = [Method::CONNECT, Method::TRACE];
        if self.methods.is_empty() || self.methods.iter().any(|method| never.contains(method)) {
            return Some("its methods are none, or CONNECT or TRACE is one of them");
        }
        None
    }

    /// Where a request goes: to what `rest`, which is what stands behind the name of the route,
    /// names below the base, as it was written.
    pub(super) fn target(&self, rest: &str, query: Option<&str>) -> Result<Uri, Refusal> {
        if rest.len() + query.map_or(0, str::len) > MAX_LEN {
            return Err(Refusal::TOO_LONG);
        }
        let path = rest.strip_prefix('/').unwrap_or(rest);
        if !path::is_plain(path) {
            return Err(Refusal::INVALID_PATH);
        }
        let path = format!("/{path}");
        let mut prefixes = self.prefixes.iter();
        let allowed = prefixes.any(|prefix| path::is_below(&path, prefix));
        if !self.prefixes.is_empty() && !allowed {
            return Err(Refusal::PATH_NOT_ALLOWED);
        }
        let mut target = format!("{}{path}", self.base);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        // It cannot be another by now. Should it, it is not called.
        let uri: Uri = target.parse().map_err(|_| Refusal::INVALID_PATH)?;
        let written = uri.to_string();
        (written == target)
            .then_some(uri)
            .ok_or(Refusal::INVALID_PATH)
    }
}

/// Of the path and the query that a page sends.
const MAX_LEN: usize = 8 << 10;

/// The base without a slash at its end, if it is one.
fn base(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    // The rule for where tokens go is that for where pages are.
    let origin: PublicOrigin = origin.parse().ok()?;
    let path = uri.path().strip_prefix('/').unwrap_or_default();
    if text.contains(['?', '#']) || !path::is_plain(path) {
        return None;
    }
    let base = format!("{origin}/{path}");
    Some(base.strip_suffix('/').unwrap_or(&base).to_owned())
}

/// Without its base, which may be a mistake with a password in it.
impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .field("methods", &self.methods)
            .field("prefixes", &self.prefixes)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the upstream `{}`: {}", self.upstream, self.problem)
    }
}

impl std::error::Error for InvalidUpstream {}

#[cfg(test)]
mod tests {
    use axum_core::response::IntoResponse as _;

    use super::*;

    fn upstream(base: &str) -> Upstream {
        Upstream::new("api", "demo", base)
    }

    #[test]
    fn a_base_is_safe_to_send_tokens_to() {
        for (given, kept) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com/", "https://api.example.com"),
            (
                "HTTPS://API.Example.com:443/v3/",
                "https://api.example.com/v3",
            ),
            (
                "https://api.example.com:8443/a/b",
                "https://api.example.com:8443/a/b",
            ),
            ("http://127.0.0.1:9000/x", "http://127.0.0.1:9000/x"),
            ("http://[::1]:9000", "http://[::1]:9000"),
        ] {
            assert_eq!(upstream(given).checked().unwrap().base, kept);
        }
        for base in [
            "http://api.example.com",
            "http://10.0.0.1/",
            "ftp://api.example.com",
            "https://user@api.example.com",
            "https://api.example.com/?key=1",
            "https://api.example.com/#x",
            "https://api.example.com/a/../b",
            "https://api.example.com/a//b",
            "https://api.example.com//",
            "/v3",
            "api.example.com",
            "",
        ] {
            let refused = upstream(base).checked().unwrap_err();
            assert!(refused.to_string().contains("its base"), "{base}");
        }
    }

    #[test]
    fn what_is_set_up_wrongly_does_not_start() {
        let base = "https://api.example.com";
        for name in ["", "a/b", "..", "{a}", "*", "a b", "\u{e9}"] {
            assert!(Upstream::new(name, "demo", base).checked().is_err());
        }
        for prefix in ["", "/", "users", "/users/", "/a/../b", "//a", "/%2e"] {
            assert!(upstream(base).path_prefix(prefix).checked().is_err());
        }
        for methods in [&[][..], &[Method::GET, Method::TRACE], &[Method::CONNECT]] {
            let methods = methods.iter().cloned();
            assert!(upstream(base).methods(methods).checked().is_err());
        }
    }

    fn target(upstream: &Upstream, rest: &str, query: Option<&str>) -> Result<String, u16> {
        match upstream.target(rest, query) {
            Ok(uri) => Ok(uri.to_string()),
            Err(refusal) => Err(refusal.into_response().status().as_u16()),
        }
    }

    #[test]
    fn a_target_is_what_was_written_below_the_base() {
        let api = upstream("https://api.example.com/v3/").checked().unwrap();
        for (rest, query, expected) in [
            ("/users/me", None, "https://api.example.com/v3/users/me"),
            ("/", None, "https://api.example.com/v3/"),
            (
                "/a%20b%C3%A9",
                Some("q=%2F..%2f//&&"),
                "https://api.example.com/v3/a%20b%C3%A9?q=%2F..%2f//&&",
            ),
            ("/a", Some(""), "https://api.example.com/v3/a?"),
            (
                "/a@evil.example:80",
                None,
                "https://api.example.com/v3/a@evil.example:80",
            ),
        ] {
            assert_eq!(target(&api, rest, query).as_deref(), Ok(expected));
        }
        for (rest, query, status) in [
            ("/../x", None, 400),
            ("//evil.example", None, 400),
            ("/a", Some("b#c"), 400),
            ("/a", Some("b c"), 400),
        ] {
            assert_eq!(target(&api, rest, query), Err(status), "{rest}");
        }
        let long = "a".repeat(MAX_LEN);
        assert_eq!(target(&api, &format!("/{long}"), None), Err(414));
        assert_eq!(target(&api, "/", Some(&long)), Err(414));
        let few = upstream("https://api.example.com")
            .path_prefix("/users/me")
            .path_prefix("/x");
        let few = few.checked().unwrap();
        assert!(target(&few, "/users/me/photo", None).is_ok());
        assert!(target(&few, "/x", None).is_ok());
        for rest in ["/", "/users", "/users/meg", "/users/you"] {
            assert_eq!(target(&few, rest, None), Err(403), "{rest}");
        }
    }
}
