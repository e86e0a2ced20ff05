//! The mutex that people write by hand: it is held while a token is asked for, so that one asks and
//! all others wait, whoever their user is.

use std::collections::HashMap;
use std::sync::Arc;

use http::Request;
use tokio::sync::Mutex;

use super::bearer;
use super::by_hand::{Client, Token};
use super::endpoint::Endpoint;
use crate::BoxError;
use crate::noop::{Body, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

/// Users and their tokens.
#[derive(Clone, Default)]
pub(super) struct Tokens(Arc<Mutex<HashMap<String, Token>>>);

impl Tokens {
    pub async fn of(&self, user: &str, endpoint: &Endpoint) -> Result<String, BoxError> {
        let mut tokens = self.0.lock().await;
        if let Some(token) = tokens.get(user).filter(|token| token.is_fresh()) {
            return Ok(token.text.clone());
        }
        let token = Token::from(endpoint.exchange().await?);
        let text = token.text.clone();
        tokens.insert(user.to_owned(), token);
        Ok(text)
    }

    /// The service would have none of this one.
    pub async fn forget(&self, user: &str, refused: &str) {
        let mut tokens = self.0.lock().await;
        // Another may have been got meanwhile.
        if tokens.get(user).is_some_and(|token| token.text == refused) {
            tokens.remove(user);
        }
    }
}

/// A `tokio::sync::Mutex` of a map.
#[derive(Clone)]
pub struct MutexByHand {
    client: Client,
    tokens: Tokens,
}

impl HttpPeer for MutexByHand {
    const NAME: &'static str = "mutex by hand";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let client = Client::new(service)?;
        let tokens = Tokens::default();
        tokens.of(&client.user, &client.endpoint).await?;
        Ok(Self { client, tokens })
    }

    fn template(&self) -> &Template {
        &self.client.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        let Client { user, endpoint, .. } = &self.client;
        let token = self.tokens.of(user, endpoint).await?;
        bearer::send(request, &token).await
    }
}
