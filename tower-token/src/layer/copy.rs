//! What is kept of a request, so that it can be sent once more.

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use super::replay::Replay;
use super::request::TokenRequest;

/// All of a request, the user's extensions included, before a token went in. Nearly none is ever
/// used: it is made of as few allocations as it can be, and a request only when it is sent.
pub(super) struct Copy<K> {
    pub(super) body: K,
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<(HeaderName, HeaderValue)>,
    extensions: Kept,
}

enum Kept {
    All(Extensions),
    /// There was nothing else.
    Ours(TokenRequest),
}

/// The request for the first send, and what a second would need: copied before the token goes in,
/// so that a retry starts from what was given.
#[inline]
pub(super) fn begin<R: Replay<B>, B>(
    replay: &R,
    request: Request<B>,
    retry: bool,
) -> (Request<R::Body>, Option<Copy<R::Again>>) {
    let mut again = None;
    let request = request.map(|whole| {
        let body;
        (body, again) = replay.begin(whole, retry);
        body
    });
    let copy = again.map(|body| Copy::of(&request, body));
    (request, copy)
}

impl<K> Copy<K> {
    /// Of `request`, with what `body` needs to be sent again.
    fn of<B>(request: &Request<B>, body: K) -> Self {
        let headers = request.headers().iter();
        let extensions = request.extensions();
        Self {
            body,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            extensions: match extensions.get::<TokenRequest>() {
                Some(ours) if extensions.len() == 1 => Kept::Ours(ours.clone()),
                _ => Kept::All(extensions.clone()),
            },
        }
    }

    /// The request, with what `body` makes of the body.
    pub(super) fn into_request<B>(self, body: impl FnOnce(K) -> Option<B>) -> Option<Request<B>> {
        let mut request = Request::new(body(self.body)?);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        // One more for the token.
        let mut headers = HeaderMap::try_with_capacity(self.headers.len() + 1).unwrap_or_default();
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        *request.headers_mut() = headers;
        match self.extensions {
            Kept::All(extensions) => *request.extensions_mut() = extensions,
            Kept::Ours(ours) => {
                request.extensions_mut().insert(ours);
            }
        }
        Some(request)
    }
}
