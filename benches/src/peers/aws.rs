//! The identity cache below all clients of the AWS SDK, with a bearer token. To resolve an identity
//! is all that is taken of it: its clients sign requests of a type of their own, after a dozen
//! other steps, and what its signer does here is done to a request of `http`.

use std::sync::Arc;
use std::time::SystemTime;

use aws_credential_types::Token;
use aws_credential_types::provider::error::TokenError;
use aws_credential_types::provider::token::{ProvideToken, SharedTokenProvider};
use aws_credential_types::provider::{future, token};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use aws_smithy_runtime::client::auth::http::BearerAuthScheme;
use aws_smithy_runtime::client::identity::IdentityCache;
use aws_smithy_runtime::client::orchestrator::endpoints::StaticUriEndpointResolver;
use aws_smithy_runtime::client::retries::strategy::NeverRetryStrategy;
use aws_smithy_runtime_api::client::auth::http::HTTP_BEARER_AUTH_SCHEME_ID;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::identity::{
    ResolveCachedIdentity as _, SharedIdentityCache, SharedIdentityResolver,
};
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;
use http::Request;

use super::bearer;
use super::endpoint::Endpoint;
use crate::BoxError;
use crate::noop::{API, Body, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

#[derive(Debug)]
struct Provider(Endpoint);

impl Provider {
    async fn token(&self) -> token::Result {
        let answer = self.0.exchange().await;
        let answer = answer.map_err(TokenError::provider_error)?;
        let until = SystemTime::now() + answer.life();
        Ok(Token::new(answer.access_token, Some(until)))
    }
}

impl ProvideToken for Provider {
    fn provide_token<'a>(&'a self) -> future::ProvideToken<'a>
    where
        Self: 'a,
    {
        future::ProvideToken::new(self.token())
    }
}

/// The lazy cache as clients have it by default. A token is due 5 s to 10 s before it expires.
#[derive(Clone)]
pub struct Aws {
    cache: SharedIdentityCache,
    resolver: SharedIdentityResolver,
    components: Arc<RuntimeComponents>,
    config: Arc<ConfigBag>,
    template: Template,
}

impl HttpPeer for Aws {
    const NAME: &'static str = "aws-smithy";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let cache = IdentityCache::lazy().build();
        let provider = SharedTokenProvider::new(Provider(Endpoint::new(service)?));
        let resolver = SharedIdentityResolver::new(provider);
        let scheme = HTTP_BEARER_AUTH_SCHEME_ID;
        let schemes = StaticAuthSchemeOptionResolver::new(vec![scheme.clone()]);
        let components = RuntimeComponentsBuilder::new("example")
            .with_auth_scheme_option_resolver(Some(schemes))
            .with_endpoint_resolver(Some(StaticUriEndpointResolver::uri(API)))
            .with_auth_scheme(BearerAuthScheme::new())
            .with_identity_cache(Some(cache.clone()))
            .with_identity_resolver(scheme, resolver.clone())
            .with_retry_strategy(Some(NeverRetryStrategy::new()))
            .with_time_source(Some(SystemTimeSource::new()))
            .with_sleep_impl(Some(TokioSleep::new()));
        let mut this = Self {
            cache,
            resolver,
            components: Arc::new(components.build()?),
            config: Arc::new(ConfigBag::base()),
            template: Template::new()?,
        };
        let request = this.template.request();
        this.send(request).await?;
        Ok(this)
    }

    fn template(&self) -> &Template {
        &self.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        let resolver = self.resolver.clone();
        let (components, config) = (&self.components, &self.config);
        let identity = self
            .cache
            .resolve_cached_identity(resolver, components, config);
        let identity = identity.await?;
        let token: &Token = identity.data().ok_or("it is no bearer token")?;
        bearer::send(request, token.token()).await
    }
}
