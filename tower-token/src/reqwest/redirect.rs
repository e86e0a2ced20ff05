//! Redirects, followed outside of the layer that attaches tokens and checks where they go.

use ::reqwest::Body;
use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Uri};
use tower_http_06::follow_redirect::policy::{Action, Attempt, Policy};

use super::body::Payload;
use crate::layer::{Placement, Trail};

/// How one request is followed: cloned for each.
#[derive(Clone)]
pub(super) struct Hops<P> {
    placement: P,
    left: usize,
    /// Of the first request. Its token's key is among them, and reqwest's time-out; the hops that
    /// come after would have none.
    extensions: Option<Extensions>,
    left_origin: bool,
}

impl<P> Hops<P> {
    pub(super) fn new(placement: P, max: usize) -> Self {
        Self {
            placement,
            left: max,
            extensions: None,
            left_origin: false,
        }
    }
}

impl<P: Placement<Body>, E> Policy<Payload, E> for Hops<P> {
    fn redirect(&mut self, attempt: &Attempt<'_>) -> Result<Action, E> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(Action::Stop);
        };
        self.left = left;
        // For good: each hop starts from the headers of the first request, so one within the
        // other origin would have the credentials again.
        self.left_origin |= !same_origin(attempt.previous(), attempt.location());
        Ok(Action::Follow)
    }

    fn on_request(&mut self, request: &mut Request<Payload>) {
        match &self.extensions {
            Some(extensions) => *request.extensions_mut() = extensions.clone(),
            None => {
                let trail = Trail::default();
                // One with a token of its own never gets another, wherever it is redirected to.
                if self.placement.is_placed(request.headers()) {
                    trail.lose();
                }
                request.extensions_mut().insert(trail);
                self.extensions = Some(request.extensions().clone());
            }
        }
        if self.left_origin {
            strip(request.headers_mut(), &self.placement);
        }
    }

    fn clone_body(&self, body: &Payload) -> Option<Payload> {
        body.try_clone()
    }
}

/// Takes out what was meant for one origin.
fn strip<P: Placement<Body>>(headers: &mut HeaderMap, placement: &P) {
    let stays = |name: &HeaderName, value: &HeaderValue| {
        let alone = HeaderMap::from_iter([(name.clone(), value.clone())]);
        let of_one_origin = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HOST].contains(name);
        !of_one_origin && !value.is_sensitive() && !placement.is_placed(&alone)
    };
    let leave = headers.iter().filter(|(name, value)| !stays(name, value));
    let leave: Vec<HeaderName> = leave.map(|(name, _)| name.clone()).collect();
    for name in leave {
        headers.remove(name);
    }
}

fn same_origin(a: &Uri, b: &Uri) -> bool {
    let of = |uri: &Uri| {
        let default = match uri.scheme_str() {
            Some("https") => Some(443),
            Some("http") => Some(80),
            _ => None,
        };
        let host = uri.host().map(str::to_ascii_lowercase);
        (uri.scheme().cloned(), host, uri.port_u16().or(default))
    };
    of(a) == of(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Authorization, TokenHeader};

    fn same(a: &str, b: &str) -> bool {
        same_origin(&a.parse().unwrap(), &b.parse().unwrap())
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert!(same("https://a.example/x", "https://A.example:443/y"));
        assert!(same("http://a.example:80", "http://a.example"));
        assert!(same("http://[::1]:9/x", "http://[::1]:9/y"));
        for other in [
            "http://a.example/",
            "https://b.example/",
            "https://a.example:8443/",
            "https://a.example.b.example/",
        ] {
            assert!(!same("https://a.example/", other), "{other}");
        }
    }

    fn stripped(placement: &impl Placement<Body>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in ["accept", "authorization", "cookie", "host", "x-api-key"] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        let mut sensitive = HeaderValue::from_static("x");
        sensitive.set_sensitive(true);
        headers.insert("x-signature", sensitive);
        strip(&mut headers, placement);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn credentials_stay_at_their_origin() {
        assert_eq!(stripped(&Authorization), ["accept", "x-api-key"]);
        let header = TokenHeader::new(HeaderName::from_static("x-api-key"));
        assert_eq!(stripped(&header), ["accept"]);
    }
}
