//! Tokens by the name of their provider.

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use tower_token::GrantKey;

use super::valid_token::{ByName, ValidToken};
use crate::rejection::TokenRejection;
use crate::rejection::reader::Reader;
use crate::state::{HasTokenState, TokenState};
use crate::visitor::CurrentSubject;

/// The signed-in user's tokens, for handlers that learn by themselves which they need.
///
/// ```
/// use axum_token::{TokenRejection, Tokens};
///
/// async fn calendars(tokens: Tokens) -> Result<String, TokenRejection> {
///     let google = tokens.valid("google").await?;
///     let work = tokens.valid_connection("google", "work").await?;
///     Ok(format!("{:?} {:?}", google, work))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Tokens {
    asked: Asked,
}

/// Who asks for a token, and how they are answered.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) subject: CurrentSubject,
    pub(super) state: TokenState,
    pub(super) reader: Reader,
}

impl Tokens {
    /// The user's token of `provider`, refreshed first if need be.
    pub async fn valid(&self, provider: &str) -> Result<ValidToken<ByName>, TokenRejection> {
        self.get(self.asked.subject.grant_key(provider)).await
    }

    /// The same for one of several connections to it.
    pub async fn valid_connection(
        &self,
        provider: &str,
        connection: &str,
    ) -> Result<ValidToken<ByName>, TokenRejection> {
        let key = self.asked.subject.grant_key(provider);
        self.get(key.with_connection(connection)).await
    }

    /// Whose tokens these are.
    pub fn subject(&self) -> &CurrentSubject {
        &self.asked.subject
    }

    async fn get(&self, key: GrantKey) -> Result<ValidToken<ByName>, TokenRejection> {
        ValidToken::get(self.asked.clone(), key).await
    }
}

impl<S: HasTokenState> FromRequestParts<S> for Tokens {
    type Rejection = TokenRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, TokenRejection> {
        let asked = Asked::from_request_parts(parts, state).await?;
        Ok(Self { asked })
    }
}

impl<S: HasTokenState> FromRequestParts<S> for Asked {
    type Rejection = TokenRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, TokenRejection> {
        Ok(Self {
            subject: CurrentSubject::from_request_parts(parts, state).await?,
            state: state.token_state(),
            reader: Reader::of(&parts.headers),
        })
    }
}
