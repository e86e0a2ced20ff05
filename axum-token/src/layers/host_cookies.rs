//! `__Host-` cookies that browsers take, and that nobody else has set.

use std::collections::BTreeMap;
use std::task::{Context, Poll};

use http::header::{COOKIE, Entry, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::answer::EditedResponse;
use super::cookie_pairs::{CookiePair, cookie_pairs, split};

const PREFIX: &[u8] = b"__Host-";

/// Makes `__Host-` cookies what they are meant to be: set by this host alone.
/// [`sessions::layer`](crate::sessions::layer) has this layer in it; it goes outside of
/// whatever reads and sets cookies.
///
/// # What is read
///
/// A browser lets no other host of the site set a cookie whose name begins with `__Host-`.
/// It looks at the name as it is; readers of cookies, that of tower-sessions among them,
/// decode it first and cut white space off. So `__Host%2Dsession` is set by anybody, and is
/// read as the session of this host: the sender would be in somebody else's. Cookies that
/// only turn into `__Host-` ones by being read are taken out of the request. Of two that are
/// read as the same one neither is left, as a browser has one. Other cookies are left as
/// they are.
///
/// # What is set
///
/// Every `__Host-` cookie that is set without `Secure` gets that attribute. A browser ignores
/// such a cookie without it (RFC 6265bis section 4.1.3.2), its removal included, and
/// tower-sessions removes a cookie without it: a browser would go on sending the id of a
/// session that is over.
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        keep_ours(request.headers_mut());
        EditedResponse::new(self.inner.call(request), secure)
    }
}

/// Takes out what could be mistaken for a cookie of this host.
fn keep_ours(headers: &mut HeaderMap) {
    // Across all headers: HTTP/2 may split them anywhere.
    let mut times = BTreeMap::new();
    let mut all_ours = true;
    for pair in cookie_pairs(headers) {
        match Claim::of(pair) {
            Claim::None => {}
            Claim::Disguised => all_ours = false,
            Claim::Host(name) => {
                let times: &mut usize = times.entry(name).or_default();
                *times += 1;
                all_ours &= *times == 1;
            }
        }
    }
    if all_ours {
        return;
    }
    let is_kept = |pair: &CookiePair<'_>| match Claim::of(*pair) {
        Claim::None => true,
        Claim::Disguised => false,
        Claim::Host(name) => times.get(&name) == Some(&1),
    };
    let lines = headers.get_all(COOKIE).iter();
    let kept: Vec<_> = lines
        .filter_map(|line| {
            let pairs = split(line.as_bytes()).filter(is_kept);
            let pairs: Vec<_> = pairs.map(CookiePair::as_bytes).collect();
            let joined = pairs.join(&b';');
            let mut kept = HeaderValue::from_bytes(joined.trim_ascii()).ok()?;
            kept.set_sensitive(line.is_sensitive());
            (!kept.is_empty()).then_some(kept)
        })
        .collect();
    headers.remove(COOKIE);
    for line in kept {
        headers.append(COOKIE, line);
    }
}

/// What a cookie says by its name of who has set it.
enum Claim {
    /// Nothing.
    None,
    /// This host, to those who read it; not to the browser, which has let anybody set it.
    Disguised,
    /// This host, and the browser has seen to it. The name is the one that is read.
    Host(String),
}

impl Claim {
    fn of(pair: CookiePair<'_>) -> Self {
        let (Some(raw), Some(read)) = (pair.raw_name(), pair.read_name()) else {
            return Self::None;
        };
        if !has_prefix(read.as_bytes()) {
            return Self::None;
        }
        if has_prefix(raw) {
            Self::Host(read)
        } else {
            Self::Disguised
        }
    }
}

/// In any case of letters, as browsers go by it.
fn has_prefix(name: &[u8]) -> bool {
    let start = name.get(..PREFIX.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
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
    let mut attributes = bytes.split(|byte| *byte == b';').skip(1);
    let is_secure =
        attributes.any(|attribute| attribute.trim_ascii().eq_ignore_ascii_case(b"secure"));
    if is_secure || !has_prefix(bytes) {
        return None;
    }
    HeaderValue::from_bytes(&[bytes, b"; Secure"].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        keep_ours(&mut headers);
        let lines = headers.get_all(COOKIE).iter();
        lines
            .map(|line| String::from_utf8(line.as_bytes().to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn what_only_reads_as_a_host_cookie_is_taken_out() {
        for (given, expected) in [
            (&["__Host%2Da=1"][..], &[][..]),
            (&["x=1; __Host%2da=1; y=2"], &["x=1; y=2"]),
            (
                &["__Host-a=1;%5F_host-A=2", "%20__Host-a=3"],
                &["__Host-a=1"],
            ),
            (&["\u{2000}__Host-a=1; x=\u{e9}"], &["x=\u{e9}"]),
            (&["__Host-a=1; x=1; __Host-a=1"], &["x=1"]),
            (&["__Host-a=1; __Host-b=1", "__Host-a =2"], &["__Host-b=1"]),
            (&["__Host-a=1; __Host-%61=2; x"], &["x"]),
            (&["__Host-a=1; __Host-a\u{a0}=2"], &[]),
        ] {
            assert_eq!(kept(given), expected, "{given:?}");
        }
    }

    #[test]
    fn every_other_cookie_is_left_as_it_is() {
        for given in [
            &["a=1; a=2 ;b", "", ";;"][..],
            &["__Host-a=1; __Host-b%20c=%2D; __Host-A=1"],
            &["a%20b=__Host%2Da=1; x__Host%2Da=1; 100%=%"],
            &["__Host%2D; =__Host-a; __Host-; __Host-a=1"],
            &["__Secure-a=1; __Secure-a=2; caf\u{e9}=\u{a0}"],
        ] {
            assert_eq!(kept(given), given);
        }
    }

    #[test]
    fn what_is_kept_of_a_sensitive_header_is_sensitive() {
        let mut line = HeaderValue::from_static("a=1; __Host%2Da=1");
        line.set_sensitive(true);
        let mut headers = HeaderMap::from_iter([(COOKIE, line)]);
        keep_ours(&mut headers);
        assert!(headers[COOKIE].is_sensitive());
    }

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
