//! The service of the layer.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::future::ResponseFuture;
use super::identify::Settings;
use crate::source::SubjectSource;

/// The service of [`SessionTokenLayer`](super::SessionTokenLayer).
#[derive(Debug, Clone)]
pub struct SessionTokenService<S, Q> {
    pub(super) inner: S,
    pub(super) settings: Settings<Q>,
}

impl<S, Q, B, A> Service<Request<B>> for SessionTokenService<S, Q>
where
    S: Service<Request<B>, Response = Response<A>> + Clone,
    Q: SubjectSource,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Q, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was polled ready is called; its clone takes its place.
        let next = self.inner.clone();
        let service = std::mem::replace(&mut self.inner, next);
        ResponseFuture::new(service, self.settings.clone(), request)
    }
}
