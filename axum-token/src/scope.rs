//! In whose name a task runs, and outbound requests by that.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;
use tower_token::{GrantKey, TokenRequest};

use crate::visitor::CurrentSubject;

tokio::task_local! {
    /// Nobody where the visitor is anonymous, so that a scope further out is not used.
    static CURRENT: Option<CurrentSubject>;
}

pub(crate) fn current() -> Option<CurrentSubject> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

pub(crate) fn run<F: Future>(
    subject: Option<CurrentSubject>,
    work: F,
) -> impl Future<Output = F::Output> {
    CURRENT.scope(subject, work)
}

/// What `f` comes to in the scope of `subject`.
pub(crate) fn enter<T>(subject: Option<CurrentSubject>, f: impl FnOnce() -> T) -> T {
    CURRENT.sync_scope(subject, f)
}

/// For outbound clients: a request that says nothing about whose token it needs gets that of
/// the user in whose scope it is sent. It goes outside of the
/// [`TokenLayer`](tower_token::TokenLayer).
///
/// The scope is [`SessionTokenLayer::task_local_scope`]. **Where there is none nothing is
/// added**, and the `TokenLayer` refuses the request
/// ([`MissingKey`](tower_token::ErrorKind::MissingKey)), unless it was told to
/// [`pass_without_key`](tower_token::TokenLayer::pass_without_key). There is none in
///
/// * a task that was spawned, also on behalf of a request: give it one by
///   [`CurrentSubject::scope`];
/// * the body of an answer that is still being written when the handler has returned, such
///   as server-sent events, and a WebSocket after its upgrade;
/// * a worker that sends for others: `tower::buffer`, a pool's own tasks. Put this layer
///   outside of those, where the handler calls.
///
/// Where this is too much to keep in mind, put a [`TokenRequest`] into requests yourself:
/// that is never overruled.
///
/// ```
/// use axum_token::CurrentUserLayer;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower::{ServiceBuilder, service_fn};
/// use tower_token::{TokenLayer, TokenManager};
///
/// # fn f(manager: TokenManager) {
/// # let http = service_fn(|_: http::Request<Full<Bytes>>| async {
/// #     Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::default()))
/// # });
/// let client = ServiceBuilder::new()
///     .layer(CurrentUserLayer::new("google"))
///     .layer(TokenLayer::new(&manager))
///     .service(http);
/// # }
/// ```
///
/// [`SessionTokenLayer::task_local_scope`]: crate::SessionTokenLayer::task_local_scope
#[derive(Debug, Clone)]
pub struct CurrentUserLayer {
    provider: Arc<str>,
}

impl CurrentUserLayer {
    /// Tokens of this provider.
    pub fn new(provider: impl Into<Arc<str>>) -> Self {
        let provider = provider.into();
        Self { provider }
    }
}

impl<S> Layer<S> for CurrentUserLayer {
    type Service = CurrentUser<S>;

    fn layer(&self, inner: S) -> CurrentUser<S> {
        let provider = Arc::clone(&self.provider);
        CurrentUser { inner, provider }
    }
}

/// The service of [`CurrentUserLayer`].
#[derive(Debug, Clone)]
pub struct CurrentUser<S> {
    inner: S,
    provider: Arc<str>,
}

impl<S, B> Service<Request<B>> for CurrentUser<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if request.extensions().get::<TokenRequest>().is_none()
            && let Some(subject) = current()
        {
            let key = GrantKey::new(&*self.provider, subject.as_str());
            request.extensions_mut().insert(TokenRequest::new(key));
        }
        self.inner.call(request)
    }
}
