//! A moka cache of users' tokens, as people write it by hand: `or_insert_with` of the cache for
//! threads cannot await, so that each who finds nothing asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::moka::Expiry;
use ::moka::sync::Cache;
use http::Request;

use super::bearer;
use super::by_hand::{Client, Token};
use crate::BoxError;
use crate::noop::{Body, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

/// As many users as the cache may hold.
const USERS: u64 = 100_000;

/// A `moka::sync::Cache`, which drops a token when it is no longer used.
#[derive(Clone)]
pub struct MokaByHand {
    client: Client,
    tokens: Cache<String, Arc<Token>>,
}

struct Until;

impl Expiry<String, Arc<Token>> for Until {
    fn expire_after_create(
        &self,
        _: &String,
        token: &Arc<Token>,
        now: Instant,
    ) -> Option<Duration> {
        Some(token.until.saturating_duration_since(now))
    }
}

impl MokaByHand {
    async fn token(&self) -> Result<Arc<Token>, BoxError> {
        let user = &self.client.user;
        if let Some(token) = self.tokens.get(user) {
            return Ok(token);
        }
        let token = Arc::new(Token::from(self.client.endpoint.exchange().await?));
        self.tokens.insert(user.clone(), Arc::clone(&token));
        Ok(token)
    }
}

impl HttpPeer for MokaByHand {
    const NAME: &'static str = "moka by hand";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let client = Client::new(service)?;
        let tokens = Cache::builder().max_capacity(USERS).expire_after(Until);
        let tokens = tokens.build();
        let this = Self { client, tokens };
        this.token().await?;
        Ok(this)
    }

    fn template(&self) -> &Template {
        &self.client.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        let token = self.token().await?;
        bearer::send(request, &token.text).await
    }
}
