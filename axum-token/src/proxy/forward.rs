//! One request of a page, and what it is answered.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum_core::BoxError;
use axum_core::body::Body;
use axum_core::response::Response;
use bytes::Bytes;
use http::{HeaderName, Method, StatusCode};
use http_body::Body as _;
use tokio::time::{timeout, timeout_at};
use tower_service::Service;
use tower_token::{
    Buffered, ReplayBody, TokenManager, TokenRequest, TokenService, TokenServiceError,
};

use super::body::{Cut, Download, Progress, Upload};
use super::refusal::Refusal;
use super::upstream::Upstream;
use super::{request, response};
use crate::rejection::reader::Reader;
use crate::rejection::{LoginReason, TokenRejection};
use crate::state::TokenState;
use crate::visitor::{Believed, Visitor};

/// The way to one API.
pub(super) struct Forward<C> {
    pub(super) upstream: Upstream,
    pub(super) client: TokenService<C, Buffered>,
    pub(super) manager: TokenManager,
    pub(super) stripped: Arc<[HeaderName]>,
}

type Outcome<C, B> = Result<
    http::Response<B>,
    TokenServiceError<<C as Service<http::Request<ReplayBody<Body>>>>::Error>,
>;

impl<C, B> Forward<C>
where
    C: Service<http::Request<ReplayBody<Body>>, Response = http::Response<B>> + Clone,
    C::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    pub(super) async fn serve(
        &self,
        state: &TokenState,
        request: Request,
    ) -> Result<Response, Refusal> {
        // Nobody here goes to a page: a navigation does not come this far.
        let login = |reason, provider: Option<&str>| state.login(reason, provider, Reader::Program);
        let upstream = &self.upstream;
        let (mut parts, body) = request.into_parts();
        if request::is_upgrade(&parts) {
            return Err(Refusal::UPGRADE);
        }
        let user = Visitor::of(&parts)?
            .ok_or_else(|| TokenRejection::from(login(LoginReason::Anonymous, None)))?;
        if !upstream.methods.contains(&parts.method) {
            return Err(Refusal::Method(upstream.methods.clone()));
        }
        if request::is_ambiguous(&parts.headers) {
            return Err(Refusal::INVALID_LENGTH);
        }
        let target = upstream.target(self.rest(parts.uri.path()), parts.uri.query())?;
        if body.size_hint().lower() > upstream.max_body {
            return Err(Cut::TooLarge.into());
        }
        let believed = parts.extensions.get::<Believed>();
        let believed = believed.map_or(&[][..], |believed| &believed.0);
        request::strip(&mut parts.headers, &[&*self.stripped, believed]);

        let (upload, progress) = Upload::new(body, upstream.max_body);
        // A new one: nothing of the page's but what is put in here.
        let mut outbound = http::Request::new(Body::new(upload));
        *outbound.method_mut() = parts.method.clone();
        *outbound.uri_mut() = target;
        *outbound.headers_mut() = parts.headers;
        let key = user.grant_key(&upstream.provider);
        let token = TokenRequest::new(key.clone()).min_validity(state.validity());
        outbound.extensions_mut().insert(token);

        let no_token = |error: &tower_token::Error| {
            let login = |reason| login(reason, Some(&*upstream.provider));
            Refusal::from(TokenRejection::new(error, login))
        };
        let call = call(self.client.clone(), outbound);
        match while_it_moves(call, upstream.timeout, &progress).await {
            Some(Ok(response)) if response::is_refusal_of_ours(response.status()) => {
                let left = upstream.timeout.saturating_sub(progress.moved().elapsed());
                drop((response, progress));
                // What could not be renewed is the user's to renew.
                match timeout(left, self.manager.token(&key)).await {
                    Ok(Err(error)) => Err(no_token(&error)),
                    _ => Err(Refusal::REFUSED),
                }
            }
            Some(Ok(response)) => {
                progress.answered();
                Ok(answer(upstream, &parts.method, response))
            }
            Some(Err(TokenServiceError::Token(error))) => Err(no_token(&error)),
            Some(Err(TokenServiceError::Inner(error))) => match progress.cut() {
                Some(cut) => Err(cut.into()),
                None => Err(unreachable(upstream, &*error.into())),
            },
            None => Err(Refusal::TIMEOUT),
        }
    }

    /// What stands behind the route's own segment, as it was sent.
    fn rest<'a>(&self, path: &'a str) -> &'a str {
        let path = path.strip_prefix('/').unwrap_or(path);
        path.strip_prefix(&*self.upstream.name).unwrap_or_default()
    }
}

async fn call<C, B>(
    mut client: TokenService<C, Buffered>,
    request: http::Request<Body>,
) -> Outcome<C, B>
where
    C: Service<http::Request<ReplayBody<Body>>, Response = http::Response<B>> + Clone,
{
    poll_fn(|cx| client.poll_ready(cx)).await?;
    client.call(request).await
}

/// Nothing, if `span` went by in which neither an answer came nor a piece of the page's body
/// went on.
async fn while_it_moves<T>(
    call: impl Future<Output = T>,
    span: Duration,
    progress: &Progress,
) -> Option<T> {
    let mut call = pin!(call);
    loop {
        let moved = progress.moved();
        let Some(due) = moved.checked_add(span) else {
            return Some(call.await);
        };
        if let Ok(done) = timeout_at(due, call.as_mut()).await {
            return Some(done);
        }
        if progress.moved() == moved {
            return None;
        }
    }
}

fn answer<B>(upstream: &Upstream, method: &Method, response: http::Response<B>) -> Response
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let (parts, body) = response.into_parts();
    let bodiless = method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
    let mut headers = parts.headers;
    response::strip(parts.status, &mut headers, &upstream.passed);
    if !bodiless {
        response::check_length(&mut headers, body.size_hint().exact());
    }
    let mut response = Response::new(Body::new(Download::new(body, !bodiless)));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers;
    response
}

/// The page is told nothing of why; the log is told the cause, which names no URL.
fn unreachable(upstream: &Upstream, error: &(dyn std::error::Error + 'static)) -> Refusal {
    #[cfg(feature = "tracing")]
    {
        let mut cause = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let name = &upstream.name;
        tracing::warn!(target: "axum_token", "the upstream `{name}` cannot be reached: {cause}");
    }
    #[cfg(not(feature = "tracing"))]
    let _ = (upstream, error);
    Refusal::UNREACHABLE
}
