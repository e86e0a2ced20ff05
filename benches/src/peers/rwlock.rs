//! The lock for reading that people write by hand: nobody waits for those who read, and all who
//! find the token expired ask for another, each for themselves.

use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use tokio::sync::RwLock;

use super::bearer;
use super::by_hand::{Client, Token};
use crate::BoxError;
use crate::noop::{Body, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

/// A `tokio::sync::RwLock` of a map.
#[derive(Clone)]
pub struct RwLockByHand {
    client: Client,
    tokens: Arc<RwLock<HashMap<String, Token>>>,
}

impl RwLockByHand {
    async fn token(&self) -> Result<String, BoxError> {
        let user = &self.client.user;
        if let Some(token) = self.tokens.read().await.get(user)
            && token.is_fresh()
        {
            return Ok(token.text.clone());
        }
        let token = Token::from(self.client.endpoint.exchange().await?);
        let text = token.text.clone();
        self.tokens.write().await.insert(user.clone(), token);
        Ok(text)
    }
}

impl HttpPeer for RwLockByHand {
    const NAME: &'static str = "rwlock by hand";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let client = Client::new(service)?;
        let tokens = Arc::default();
        let this = Self { client, tokens };
        this.token().await?;
        Ok(this)
    }

    fn template(&self) -> &Template {
        &self.client.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        let token = self.token().await?;
        bearer::send(request, &token).await
    }
}
