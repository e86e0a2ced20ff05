//! A provider of OpenID Connect: what it publishes, and the tokens that it signs.

mod error;
mod id_token;
mod identity;
mod jws;
mod keys;
mod logout_token;
mod metadata;
#[cfg(test)]
mod testing;

use std::fmt;
use std::sync::Arc;

use openidconnect::IssuerUrl;
use tower_token::{Clock, MetadataClient, OAuth2, SystemClock, Timestamp};

pub use self::error::{OpenIdError, OpenIdErrorKind};
pub use self::identity::Identity;
use self::jws::{Expected, Refusal};
use self::keys::{KeySet, Keys};
pub(crate) use self::logout_token::LogoutToken;
use self::metadata::Metadata;

/// Tokens beyond this are refused unread, in bytes.
const MAX_TOKEN: usize = 64 << 10;

/// A provider of OpenID Connect, as it describes itself (OpenID Connect Discovery 1.0). Cheap
/// to clone.
///
/// Its keys are asked for again when a token is not signed by one that is known, at most once a
/// minute, and after a day.
///
/// ```
/// use axum_token::OpenId;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let openid = OpenId::discover("https://accounts.google.com").await?;
/// // For the manager: its tokens are refreshed where the provider says.
/// let google = openid
///     .provider("google")
///     .client_secret_basic("client-id", "client-secret")
///     .allow_origin("https://www.googleapis.com");
/// # let _ = google;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenId(Arc<Inner>);

struct Inner {
    issuer: IssuerUrl,
    metadata: Metadata,
    keys: Arc<Keys>,
}

impl OpenId {
    /// Asks the issuer what it is, and for its keys. `issuer` is a URL, exactly as the provider
    /// names itself: `https`, or `http` on loopback.
    ///
    /// Over [`MetadataClient::new`], which wants the feature `oauth2-http` of tower-token.
    pub async fn discover(issuer: &str) -> Result<Self, OpenIdError> {
        let client = MetadataClient::new().map_err(|error| {
            let message = "there is no client for the provider's documents: enable the feature \
                \"oauth2-http\" of tower-token, or use OpenId::discover_with";
            OpenIdError::misconfigured(message).because(error)
        })?;
        Self::discover_with(issuer, client).await
    }

    /// The same by a client of yours.
    pub async fn discover_with(issuer: &str, client: MetadataClient) -> Result<Self, OpenIdError> {
        let (issuer, metadata) = metadata::get(issuer, &client).await?;
        let keys = Keys::get(&metadata.jwks_uri, client).await?;
        Ok(Self(Arc::new(Inner {
            issuer,
            metadata,
            keys: Arc::new(keys),
        })))
    }

    /// The token service that it is, which grant keys call `name`: its token endpoint is set,
    /// and its revocation endpoint, if there is one. Name the client, and the origins that may
    /// have the tokens.
    pub fn provider(&self, name: impl Into<Arc<str>>) -> OAuth2 {
        let metadata = &self.0.metadata;
        let provider = OAuth2::new(name, metadata.token_endpoint.as_str());
        match &metadata.revocation_endpoint {
            Some(url) => provider.revocation_endpoint(url),
            None => provider,
        }
    }

    /// What the provider calls itself.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }
}

impl OpenId {
    pub(crate) fn authorization_endpoint(&self) -> &str {
        &self.0.metadata.authorization_endpoint
    }

    /// Where a browser is sent to sign out at the provider (RP-Initiated Logout 1.0).
    pub(crate) fn end_session_endpoint(&self) -> Option<&str> {
        self.0.metadata.end_session_endpoint.as_deref()
    }

    /// Whether its authorization responses have an `iss` (RFC 9207).
    pub(crate) fn sends_iss(&self) -> bool {
        self.0.metadata.sends_iss
    }

    /// Who an id token says signed in (OpenID Connect Core 1.0 section 3.1.3.7).
    pub(crate) async fn check_id_token(
        &self,
        client_id: &str,
        token: &str,
        nonce: &str,
    ) -> Result<Identity, OpenIdError> {
        let now = SystemClock::new().now();
        let check = |expected: &Expected<'_>| id_token::check(expected, token, nonce);
        self.checked("id token", client_id, token, now, check).await
    }

    /// What a logout token ends (OpenID Connect Back-Channel Logout 1.0 section 2.6). Whether
    /// its `jti` was seen before is for the caller.
    pub(crate) async fn check_logout_token(
        &self,
        client_id: &str,
        token: &str,
        now: Timestamp,
    ) -> Result<LogoutToken, OpenIdError> {
        let check = |expected: &Expected<'_>| logout_token::check(expected, token);
        self.checked("logout token", client_id, token, now, check)
            .await
    }

    async fn checked<T>(
        &self,
        what: &str,
        client_id: &str,
        token: &str,
        now: Timestamp,
        check: impl Fn(&Expected<'_>) -> Result<T, Refusal>,
    ) -> Result<T, OpenIdError> {
        let refused = |why| OpenIdError::refused(format!("the {what} is refused: {why}"));
        if token.len() > MAX_TOKEN {
            return Err(refused("it is too long"));
        }
        let with = |keys: &KeySet| {
            check(&Expected {
                issuer: &self.0.issuer,
                client_id,
                algorithms: &self.0.metadata.algorithms,
                keys,
                now,
            })
        };
        let keys = self.0.keys.current().await;
        let mut checked = with(&keys);
        if let Err(Refusal::Signature) = checked
            && let Some(newer) = self.0.keys.newer_than(&keys).await?
        {
            checked = with(&newer);
        }
        checked.map_err(|refusal| refused(refusal.why()))
    }
}

impl fmt::Debug for OpenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenId")
            .field("issuer", &self.issuer())
            .finish_non_exhaustive()
    }
}
