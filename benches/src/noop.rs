//! The service below every layer, which is ready at once and does nothing, and what it is sent.

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use tower_service::Service;

/// The body of every request.
pub type Body = Empty<Bytes>;

/// Where every request goes.
pub const API: &str = "https://api.example.com/v1/accounts?limit=50";

/// The origin of [`API`].
pub const ORIGIN: &str = "https://api.example.com";

/// Ready at once; what it is sent is dropped.
#[derive(Debug, Clone, Copy)]
pub struct Noop;

impl<B> Service<Request<B>> for Noop {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Looked at where it is: to move it would cost as much as to make it.
        black_box(&request);
        Answer
    }
}

/// As a client's does, it makes its answer when it is polled, and holds none before.
#[derive(Debug)]
pub struct Answer;

impl Future for Answer {
    type Output = Result<Response<()>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(Response::new(())))
    }
}

/// [`Noop`], which refuses what carries no more than the five headers: no token is in it. To count
/// them is next to nothing, and nobody is spared it.
#[derive(Debug, Clone, Copy)]
pub struct Guarded;

/// Whether there is a header beyond the five.
pub fn has_token(headers: &HeaderMap) -> bool {
    headers.len() > HEADERS.len()
}

impl<B> Service<Request<B>> for Guarded {
    type Response = Response<()>;
    type Error = NoToken;
    type Future = GuardedAnswer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoToken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        GuardedAnswer {
            has_token: has_token(black_box(&request).headers()),
        }
    }
}

/// The same, for [`Guarded`].
#[derive(Debug)]
pub struct GuardedAnswer {
    has_token: bool,
}

impl Future for GuardedAnswer {
    type Output = Result<Response<()>, NoToken>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.has_token {
            true => Ok(Response::new(())),
            false => Err(NoToken),
        })
    }
}

/// What is said where no token arrives.
#[derive(Debug, Clone, Copy)]
pub struct NoToken;

impl std::fmt::Display for NoToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no token arrived")
    }
}

impl std::error::Error for NoToken {}

/// The five headers that every request carries.
pub const HEADERS: [(&str, &str); 5] = [
    ("accept", "application/json"),
    ("accept-encoding", "gzip, br"),
    ("user-agent", "example/1.0"),
    ("x-request-id", "6f1c9f5e-2f9d-4b8e-9a4e-0d8f3f1f2b11"),
    ("content-type", "application/json"),
];

/// What requests are made from.
#[derive(Debug, Clone)]
pub struct Template {
    uri: Uri,
    headers: [(HeaderName, HeaderValue); 5],
    extensions: Extensions,
}

impl Template {
    /// Headers and address, and nothing in the extensions.
    pub fn new() -> Result<Self, http::Error> {
        let header = |(name, value)| {
            let (name, value) = (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            (name, value)
        };
        Ok(Self {
            uri: API.parse()?,
            headers: HEADERS.map(header),
            extensions: Extensions::new(),
        })
    }

    /// To another address.
    pub fn to(mut self, uri: Uri) -> Self {
        self.uri = uri;
        self
    }

    /// With something in the extensions.
    pub fn with(mut self, extension: impl Clone + Send + Sync + 'static) -> Self {
        self.extensions.insert(extension);
        self
    }

    /// One more request, its headers inserted one by one as a program does it: a map that is
    /// cloned has no room for another.
    pub fn request(&self) -> Request<Body> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        *request.extensions_mut() = self.extensions.clone();
        request
    }
}

/// What a future comes to that is ready at once, as every fresh hit is.
pub fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn a_request_without_a_token_is_refused_where_one_is_awaited() {
        let template = Template::new().unwrap();
        assert!(now(Noop.call(template.request())).unwrap().is_ok());
        assert!(now(Guarded.call(template.request())).unwrap().is_err());
        let mut request = template.request();
        let token = HeaderValue::from_static("Bearer t");
        request.headers_mut().insert(AUTHORIZATION, token);
        assert!(now(Guarded.call(request)).unwrap().is_ok());
    }
}
