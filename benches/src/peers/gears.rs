//! cf-gears-toolkit-auth with client credentials: its plain layer, and the one that sends again
//! after a 401. It asks for another token behind the requests.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use http::{Request, Response};

use toolkit_auth::{
    BearerAuthAutoRefreshLayer, BearerAuthLayer, OAuthClientConfig, SecretString, TokenProvider,
};
use toolkit_http::HttpError;
use tower_layer::Layer;
use tower_service::Service;

use crate::BoxError;
use crate::noop::{Body, NoToken, Template, has_token};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

/// [`Guarded`](crate::noop::Guarded) with the only error that its layers pass on.
#[derive(Clone)]
struct Inner;

impl<B> Service<Request<B>> for Inner {
    type Response = Response<()>;
    type Error = HttpError;
    type Future = Ready<Result<Response<()>, HttpError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(match has_token(black_box(request).headers()) {
            true => Ok(Response::new(())),
            false => Err(HttpError::Transport(NoToken.into())),
        })
    }
}

async fn provider(service: &TokenService) -> Result<TokenProvider, BoxError> {
    let provider = TokenProvider::new(OAuthClientConfig {
        token_endpoint: Some(service.url().parse()?),
        client_id: "example".into(),
        client_secret: SecretString::new("s"),
        ..OAuthClientConfig::default()
    })?;
    provider.get().await?;
    Ok(provider)
}

/// The plain layer. A token is due 30 to 35 min before it expires, a shorter-lived one after half
/// its life.
#[derive(Clone)]
pub struct Gears {
    service: <BearerAuthLayer as Layer<Inner>>::Service,
    template: Template,
}

impl HttpPeer for Gears {
    const NAME: &'static str = "cf-gears BearerAuth";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        Ok(Self {
            service: BearerAuthLayer::new(provider(service).await?).layer(Inner),
            template: Template::new()?,
        })
    }

    fn template(&self) -> &Template {
        &self.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        self.service.call(request).await?;
        Ok(())
    }
}

/// The layer that sends again after a 401; nothing else here does.
#[derive(Clone)]
pub struct GearsAutoRefresh {
    service: <BearerAuthAutoRefreshLayer as Layer<Inner>>::Service,
    template: Template,
}

impl HttpPeer for GearsAutoRefresh {
    const NAME: &'static str = "cf-gears AutoRefresh";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        Ok(Self {
            service: BearerAuthAutoRefreshLayer::new(provider(service).await?).layer(Inner),
            template: Template::new()?,
        })
    }

    fn template(&self) -> &Template {
        &self.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        self.service.call(request).await?;
        Ok(())
    }
}
