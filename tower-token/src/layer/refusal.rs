//! Refusals that are no 401.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// In a response's extensions: the API refused the token, whatever the status says.
///
/// [`TokenLayer`](crate::TokenLayer) takes it for a 401: the token is replaced, and the request
/// sent once more. A layer between it and the client puts it there: [`RefusalLayer`],
/// [`BodyRefusalLayer`](crate::BodyRefusalLayer), or one of your own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRefused;

/// Tells a [`TokenLayer`](crate::TokenLayer) outside of it which responses refuse the token,
/// for APIs that do not say so by a 401.
///
/// Mind that a 403 mostly means what it says: a new token would not help, and costs an
/// exchange each time. Be as narrow as the API lets you.
///
/// ```
/// use http::StatusCode;
/// use tower::ServiceBuilder;
/// use tower_token::{RefusalLayer, TokenLayer, TokenManager};
///
/// # fn f<S>(manager: &TokenManager, client: S) {
/// let client = ServiceBuilder::new()
///     .layer(TokenLayer::new(manager))
///     .layer(RefusalLayer::new(|status, headers| {
///         status == StatusCode::FORBIDDEN && headers.contains_key("x-token-expired")
///     }))
///     .service(client);
/// # let _ = client;
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct RefusalLayer<F = fn(StatusCode, &HeaderMap) -> bool> {
    is_refusal: F,
}

impl<F: Fn(StatusCode, &HeaderMap) -> bool> RefusalLayer<F> {
    /// A response is a refusal if `is_refusal` says so of its status and headers.
    pub fn new(is_refusal: F) -> Self {
        Self { is_refusal }
    }
}

impl RefusalLayer {
    /// For gRPC: a response whose headers say status 16, UNAUTHENTICATED, as every server does
    /// that refuses a call before it sends anything ("Trailers-Only").
    ///
    /// One that has begun its answer says so in trailers, and is not healed: grpc-go and gRPC's C
    /// core do if something, such as an interceptor, has set a header of its own before. To wait
    /// for trailers would hold every stream back until its first message.
    ///
    /// With tonic it stands over the channel, whose own body the request gets back there:
    ///
    /// ```text
    /// ServiceBuilder::new()
    ///     .map_err(TokenServiceError::into_boxed)
    ///     .layer(TokenLayer::new(&manager).buffered(64 * 1024))
    ///     .layer(RefusalLayer::grpc())
    ///     .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
    ///     .service(channel)
    /// ```
    ///
    /// * The generated client is made by `with_origin`: without it a call does not say where it
    ///   goes, and no token may go there.
    /// * A [`TokenRequest`](crate::TokenRequest) goes into `tonic::Request::extensions_mut`.
    /// * A call that got no token fails with a `Status` of code `Unknown`, whose `source` is our
    ///   [`Error`](crate::Error), thanks to the `map_err`.
    /// * The channel's own time-outs bound each attempt, without the wait for a token.
    pub fn grpc() -> Self {
        Self::new(|_, headers| {
            headers
                .get("grpc-status")
                .is_some_and(|status| status == "16")
        })
    }
}

impl<S, F: Clone> Layer<S> for RefusalLayer<F> {
    type Service = RefusalService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RefusalService {
            inner,
            is_refusal: self.is_refusal.clone(),
        }
    }
}

/// The service of a [`RefusalLayer`].
#[derive(Clone, Copy)]
pub struct RefusalService<S, F = fn(StatusCode, &HeaderMap) -> bool> {
    inner: S,
    is_refusal: F,
}

impl<S, F, B, A> Service<Request<B>> for RefusalService<S, F>
where
    S: Service<Request<B>, Response = Response<A>>,
    F: Fn(StatusCode, &HeaderMap) -> bool + Clone,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = RefusalFuture<S::Future, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        RefusalFuture {
            response: self.inner.call(request),
            is_refusal: self.is_refusal.clone(),
        }
    }
}

pin_project! {
    /// The response future of [`RefusalService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RefusalFuture<T, F> {
        #[pin]
        response: T,
        is_refusal: F,
    }
}

impl<T, F, A, E> Future for RefusalFuture<T, F>
where
    T: Future<Output = Result<Response<A>, E>>,
    F: Fn(StatusCode, &HeaderMap) -> bool,
{
    type Output = T::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T::Output> {
        let this = self.project();
        let mut response = ready!(this.response.poll(cx))?;
        if (this.is_refusal)(response.status(), response.headers()) {
            response.extensions_mut().insert(TokenRefused);
        }
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for RefusalLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for RefusalService<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<T, F> fmt::Debug for RefusalFuture<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalFuture").finish_non_exhaustive()
    }
}
