//! What reqwest's request builders learn.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::reqwest::{Body, RequestBuilder};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

/// Sends what a [`RequestBuilder`] has built by another client than its own.
///
/// ```
/// use tower_token::reqwest::{SendWith, TokenClient};
///
/// # async fn f(ada: TokenClient) -> Result<(), Box<dyn std::error::Error>> {
/// let response = ada
///     .client()
///     .post("https://api.example.com/notes")
///     .body("hello")
///     .send_with(&ada)
///     .await?;
/// # let _ = response;
/// # Ok(()) }
/// ```
pub trait SendWith: Sized {
    /// Sends the request by `service`: a [`TokenClient`](super::TokenClient), or a stack of
    /// Tower layers over one.
    ///
    /// It is that client which sends it. Of the one that the builder came from nothing counts:
    /// not its default headers, its time-outs, its proxies. And a plain
    /// [`send`](RequestBuilder::send) is that one's: it passes the token's layer by.
    ///
    /// # Errors
    ///
    /// What the service says; also a request that cannot be built, as reqwest's error.
    fn send_with<S, B>(self, service: S) -> SendWithFuture<S>
    where
        S: Service<Request<Body>, Response = Response<B>, Error: From<::reqwest::Error>>,
        B: Into<Body>;
}

impl SendWith for RequestBuilder {
    fn send_with<S, B>(self, service: S) -> SendWithFuture<S>
    where
        S: Service<Request<Body>, Response = Response<B>, Error: From<::reqwest::Error>>,
        B: Into<Body>,
    {
        let state = match self.build().and_then(Request::try_from) {
            Ok(request) => State::Waiting {
                service,
                request: Some(request),
            },
            Err(error) => State::Failed { error: Some(error) },
        };
        SendWithFuture { state }
    }
}

pin_project! {
    /// The response future of [`SendWith`].
    #[must_use = "futures do nothing unless polled"]
    pub struct SendWithFuture<S>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        state: State<S>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S>
    where
        S: Service<Request<Body>>,
    {
        /// It could not be built.
        Failed { error: Option<::reqwest::Error> },
        /// Until the service is ready.
        Waiting {
            service: S,
            request: Option<Request<Body>>,
        },
        Sent {
            #[pin]
            response: S::Future,
        },
    }
}

impl<S, B> Future for SendWithFuture<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: From<::reqwest::Error>>,
    B: Into<Body>,
{
    type Output = Result<::reqwest::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let response = match state.as_mut().project() {
                StateProj::Failed { error } => {
                    return match error.take() {
                        Some(error) => Poll::Ready(Err(error.into())),
                        None => Poll::Pending,
                    };
                }
                StateProj::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    match request.take() {
                        Some(request) => service.call(request),
                        None => return Poll::Pending,
                    }
                }
                StateProj::Sent { response } => return response.poll(cx).map_ok(Into::into),
            };
            state.set(State::Sent { response });
        }
    }
}

impl<S: Service<Request<Body>>> fmt::Debug for SendWithFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendWithFuture").finish_non_exhaustive()
    }
}
