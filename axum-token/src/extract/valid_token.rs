//! One token, valid when the handler begins.

use std::fmt;
use std::marker::PhantomData;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use tower_token::{AccessToken, Error, GrantKey, TokenRequest};

use super::tokens::Asked;
use crate::rejection::{LoginReason, TokenRejection};
use crate::state::HasTokenState;
use crate::visitor::Visitor;

/// Names a provider in the type of a [`ValidToken`].
///
/// ```
/// use axum_token::ProviderName;
///
/// struct Google;
///
/// impl ProviderName for Google {
///     const NAME: &'static str = "google";
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name a provider",
    label = "`ValidToken<{Self}>` does not say which provider's token it is",
    note = "`impl ProviderName for {Self} {{ const NAME: &'static str = \"..\"; }}` with the name \
            that the provider has in the TokenManager; for a name that is known at run time \
            only, take `Tokens` and call `.valid(name).await`"
)]
pub trait ProviderName: 'static {
    /// The name under which the provider was registered with the manager.
    const NAME: &'static str;
}

/// The type of a [`ValidToken`] that [`Tokens`](crate::Tokens) were asked for by name.
#[derive(Debug, Clone, Copy)]
pub struct ByName(());

/// The signed-in user's token of a provider, valid when the handler begins: refreshed before,
/// if need be.
///
/// Without one the handler is not run: see [`TokenRejection`]. An `Option<ValidToken<P>>` is
/// `None` where the user can do something about it, that is, if nobody is signed in or the
/// provider is not connected (any more); it still is an error if the token cannot be had at
/// the moment.
///
/// ```
/// use axum_token::{ProviderName, ValidToken};
///
/// struct Google;
///
/// impl ProviderName for Google {
///     const NAME: &'static str = "google";
/// }
///
/// async fn calendar(token: ValidToken<Google>) -> String {
///     // For a client in a TokenLayer: a request with `.extension(token.request())`.
///     format!("valid until {:?}", token.access_token().expires_at())
/// }
/// ```
///
/// # Handlers that outlive their token
///
/// A WebSocket, or a stream of server-sent events, goes on when the token it began with has
/// expired and when its user has left. Ask the [`current`](Self::current) one each time.
pub struct ValidToken<P = ByName> {
    token: AccessToken,
    key: GrantKey,
    asked: Asked,
    provider: PhantomData<fn() -> P>,
}

impl<P> ValidToken<P> {
    /// The token that was valid when the handler began.
    pub fn access_token(&self) -> &AccessToken {
        &self.token
    }

    /// The token of now: another one, if the first has expired meanwhile.
    ///
    /// Fails when the user has disconnected the provider or signed out everywhere: then end
    /// what is going on. That one session has ended is not seen: see
    /// [`CurrentSubject::is_signed_in`](crate::CurrentSubject::is_signed_in). [`TemporarilyUnavailable`](TokenRejection::TemporarilyUnavailable)
    /// may pass.
    pub async fn current(&self) -> Result<AccessToken, TokenRejection> {
        let Asked { subject, state, .. } = &self.asked;
        if !subject.is_signed_in().await? {
            return Err(self.asked.login(LoginReason::Anonymous, None));
        }
        let token = state.manager().token_valid_for(&self.key, state.validity());
        token
            .await
            .map_err(|error| self.asked.reject(&error, &self.key))
    }

    /// What goes into the extensions of a request that is sent with this user's token. The
    /// request then has the token of when it is sent.
    pub fn request(&self) -> TokenRequest {
        TokenRequest::new(self.key.clone()).min_validity(self.asked.state.validity())
    }

    /// Whose token it is.
    pub fn key(&self) -> &GrantKey {
        &self.key
    }

    pub(super) async fn get(asked: Asked, key: GrantKey) -> Result<Self, TokenRejection> {
        let validity = asked.state.validity();
        match asked.state.manager().token_valid_for(&key, validity).await {
            Ok(token) => Ok(Self {
                token,
                key,
                asked,
                provider: PhantomData,
            }),
            Err(error) => Err(asked.reject(&error, &key)),
        }
    }
}

impl Asked {
    fn login(&self, reason: LoginReason, provider: Option<&str>) -> TokenRejection {
        self.state.login(reason, provider, self.reader).into()
    }

    fn reject(&self, error: &Error, key: &GrantKey) -> TokenRejection {
        TokenRejection::new(error, |reason| {
            self.state.login(reason, Some(key.provider()), self.reader)
        })
    }
}

impl<S: HasTokenState, P: ProviderName> FromRequestParts<S> for ValidToken<P> {
    type Rejection = TokenRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, TokenRejection> {
        let asked = Asked::from_request_parts(parts, state).await?;
        let key = asked.subject.grant_key(P::NAME);
        Self::get(asked, key).await
    }
}

impl<S: HasTokenState, P: ProviderName> OptionalFromRequestParts<S> for ValidToken<P> {
    type Rejection = TokenRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, TokenRejection> {
        if Visitor::of(parts)?.is_none() {
            return Ok(None);
        }
        let token = <Self as FromRequestParts<S>>::from_request_parts(parts, state).await;
        match token {
            Ok(token) => Ok(Some(token)),
            Err(TokenRejection::LoginRequired(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

impl<P> Clone for ValidToken<P> {
    fn clone(&self) -> Self {
        Self {
            token: self.token.clone(),
            key: self.key.clone(),
            asked: self.asked.clone(),
            provider: PhantomData,
        }
    }
}

impl<P> fmt::Debug for ValidToken<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidToken")
            .field("key", &self.key)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
