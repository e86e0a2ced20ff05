//! Answers that nobody keeps.

use std::task::{Context, Poll};

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::answer::EditedResponse;

/// Marks every answer `Cache-Control: no-store` (RFC 9111 section 5.2.2.5), whatever the
/// handler says: no cache, and no "back" after signing out, shows a user's page.
///
/// ```
/// use axum::{Router, routing::get};
/// use axum_token::NoStoreLayer;
///
/// # let _: Router =
/// Router::new().route("/account", get(|| async { ".." })).layer(NoStoreLayer);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStoreLayer;

impl<S> Layer<S> for NoStoreLayer {
    type Service = NoStore<S>;

    fn layer(&self, inner: S) -> NoStore<S> {
        NoStore { inner }
    }
}

/// The service of [`NoStoreLayer`].
#[derive(Debug, Clone)]
pub struct NoStore<S> {
    inner: S,
}

impl<S, B, A> Service<Request<B>> for NoStore<S>
where
    S: Service<Request<B>, Response = Response<A>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = EditedResponse<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        EditedResponse::new(self.inner.call(request), no_store)
    }
}

fn no_store(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
