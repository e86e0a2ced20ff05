//! What those written by hand have in common.

use std::time::{Duration, Instant};

use super::endpoint::{Answer, Endpoint};
use crate::BoxError;
use crate::noop::Template;
use crate::ours;
use crate::token_service::TokenService;

/// So long before it expires a token is not used any more.
pub const MARGIN: Duration = Duration::from_secs(30);

/// A token, and until when it is used.
#[derive(Clone)]
pub(super) struct Token {
    pub text: String,
    pub until: Instant,
}

impl From<Answer> for Token {
    fn from(answer: Answer) -> Self {
        Self {
            until: Instant::now() + answer.life().saturating_sub(MARGIN),
            text: answer.access_token,
        }
    }
}

impl Token {
    pub fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }
}

/// All but the map of users' tokens.
#[derive(Clone)]
pub(super) struct Client {
    pub endpoint: Endpoint,
    /// Whose token the requests are to carry.
    pub user: String,
    pub template: Template,
}

impl Client {
    pub fn new(service: &TokenService) -> Result<Self, BoxError> {
        Ok(Self {
            endpoint: Endpoint::new(service)?,
            user: ours::key(0).subject().to_owned(),
            template: Template::new()?,
        })
    }
}
