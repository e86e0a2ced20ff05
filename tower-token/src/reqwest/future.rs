//! The way of one request, over all its hops.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::reqwest::Body;
use http::Response;
use pin_project_lite::pin_project;
use tower_http_06::follow_redirect::ResponseFuture;

use super::body::{Payload, ReplayPayload};
use super::redirect::Hops;
use super::service::{ReqwestService, WentByItself};
use crate::error::{Error, ErrorKind};
use crate::layer::{Authorization, Placement, TokenService, TokenServiceError};

type Followed<P> = ResponseFuture<TokenService<ReqwestService, ReplayPayload, P>, Payload, Hops<P>>;

pin_project! {
    /// The response future of [`TokenClient`](super::TokenClient).
    #[must_use = "futures do nothing unless polled"]
    pub struct TokenClientFuture<P = Authorization>
    where
        P: Placement<Body>,
        P: Clone,
    {
        #[pin]
        followed: Followed<P>,
    }
}

impl<P: Placement<Body> + Clone> TokenClientFuture<P> {
    pub(super) fn new(followed: Followed<P>) -> Self {
        Self { followed }
    }
}

impl<P: Placement<Body> + Clone> Future for TokenClientFuture<P> {
    type Output = Result<Response<Body>, TokenServiceError<::reqwest::Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().followed.poll(cx))?;
        if response.extensions().get::<WentByItself>().is_some() {
            return Poll::Ready(Err(TokenServiceError::Token(Error::new(
                ErrorKind::Config,
                "the client follows redirects by itself, where nobody checks what it sends, and \
                 the token may have been disclosed: give TokenClient::new its builder, or build it \
                 with .redirect(Policy::none())",
            ))));
        }
        Poll::Ready(Ok(response))
    }
}

impl<P: Placement<Body> + Clone> fmt::Debug for TokenClientFuture<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClientFuture").finish_non_exhaustive()
    }
}
