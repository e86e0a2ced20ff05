//! Token services: how a grant is turned into new tokens, and where they may go.

mod back_channel;
mod client_auth;
mod code_exchange;
mod mesh;
mod metadata;
mod oauth2;
mod policy;
#[cfg(feature = "oauth2-http")]
mod reqwest;
mod rotation;
mod transport;
mod verdict;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use self::client_auth::{AssertionClaims, ClientAssertion};
pub use self::code_exchange::{CodeExchange, CodeRequest};
#[cfg(fuzzing)]
pub(crate) use self::mesh::fuzzing;
pub use self::mesh::{
    InvalidMeshPayload, LinkTokenRequest, Mesh, MeshGrant, MeshLink, MeshPayload,
};
pub use self::metadata::MetadataClient;
pub use self::oauth2::OAuth2;
pub(crate) use self::policy::Policy;
use self::policy::policy_setters;
pub use self::rotation::Rotation;
pub use self::transport::NotSent;
pub use self::verdict::{RefreshError, Verdict, VerdictRule};
use crate::error::{Error, ErrorKind};
use crate::grant::{Grant, TokenResponse};
use crate::secret::Secret;

/// Turns a refresh token into new tokens, at one token service.
///
/// Implement it for a service that is not plain OAuth; [`OAuth2`] is one. Here is a service
/// that gives out tokens of ten minutes for an API key, which each user has one of. The key
/// takes the place of the refresh token: it stays sealed in the store, and nobody else sees
/// it.
///
/// ```
/// use std::time::Duration;
/// use tower_token::*;
///
/// struct ApiKeys;
///
/// impl Refresher for ApiKeys {
///     async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
///         let api_key = request.refresh_token().expose();
///         match exchange(api_key).await {
///             Ok(token) => Ok(TokenResponse::new(token).expires_in(Duration::from_secs(600))),
///             // What an answer means decides what becomes of the grant.
///             Err(403) => Err(RefreshError::new(Verdict::Dead, "the API key was withdrawn")),
///             Err(429) => {
///                 let verdict = Verdict::Transient { retry_after: None };
///                 Err(RefreshError::new(verdict, "too many requests"))
///             }
///             Err(_) => Err(RefreshError::new(Verdict::Ambiguous, "the answer was lost")),
///         }
///     }
/// }
/// # async fn exchange(_: &str) -> Result<String, u16> { Ok("token".into()) }
///
/// # #[tokio::main] async fn main() -> Result<(), Error> {
/// let provider = Provider::new("keys", ApiKeys)
///     // A key is not changed by its use, so a lost answer costs nothing.
///     .rotation(Rotation::Reusable)
///     .allow_origin("https://api.example.com");
/// let manager = TokenManager::builder()
///     .store(SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?)
///     .provider(provider)
///     .build()
///     .await?;
///
/// // Once, when a user has entered their key, which shows that it is good:
/// let user = GrantKey::new("keys", "user-17");
/// let api_key = Secret::from("the-api-key");
/// let token = exchange(api_key.expose()).await.expect("a good key");
/// let response = TokenResponse::new(token)
///     .refresh_token(api_key)
///     .expires_in(Duration::from_secs(600));
/// manager.connect(&user, response).await?;
///
/// // Every time after, refreshed with the key:
/// assert_eq!(manager.token(&user).await?.expose(), "token");
/// # Ok(()) }
/// ```
pub trait Refresher: Send + Sync + 'static {
    /// Spends the refresh token of `request` once.
    ///
    /// One manager calls this on a task of its own, never twice at once for one
    /// grant, and stops waiting after the provider's exchange time-out. An error's
    /// [`Verdict`] decides what becomes of the grant: when in doubt whether the
    /// service saw the request, say [`Verdict::Ambiguous`].
    fn refresh(
        &self,
        request: RefreshRequest<'_>,
    ) -> impl Future<Output = Result<TokenResponse, RefreshError>> + Send;
}

/// What a [`Refresher`] is given.
#[derive(Debug, Clone, Copy)]
pub struct RefreshRequest<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) refresh_token: &'a Secret,
    pub(crate) renew_refresh_token: bool,
    pub(crate) user_code: Option<&'a Secret>,
}

impl<'a> RefreshRequest<'a> {
    /// The grant that is refreshed.
    pub fn grant(&self) -> &'a Grant {
        self.grant
    }

    /// Whether the refresh token is near its own end: where a service issues a new one only
    /// if it is asked to, ask.
    pub fn renew_refresh_token(&self) -> bool {
        self.renew_refresh_token
    }

    /// What the user answered to what the service asked for, such as the code of a second
    /// factor: see [`TokenManager::refresh_with_code`](crate::TokenManager::refresh_with_code).
    pub fn user_code(&self) -> Option<&'a Secret> {
        self.user_code
    }

    /// What the service's last answer, which asked the user for something, wants back: see
    /// [`RefreshError::continuation`].
    pub fn continuation(&self) -> Option<&'a Secret> {
        self.grant.continuation.as_ref()
    }

    /// Its refresh token.
    pub fn refresh_token(&self) -> &'a Secret {
        self.refresh_token
    }
}

pub(crate) type RefreshFuture<'a> =
    Pin<Box<dyn Future<Output = Result<TokenResponse, RefreshError>> + Send + 'a>>;

/// The one place where refreshers are erased.
pub(crate) trait DynRefresher: Send + Sync {
    fn refresh<'a>(&'a self, request: RefreshRequest<'a>) -> RefreshFuture<'a>;
}

impl<R: Refresher> DynRefresher for R {
    fn refresh<'a>(&'a self, request: RefreshRequest<'a>) -> RefreshFuture<'a> {
        Box::pin(Refresher::refresh(self, request))
    }
}

/// Makes a token service forget a token, when its user disconnects (RFC 7009).
///
/// ```
/// use tower_token::{Provider, RefreshError, Revoker, Secret};
/// # use tower_token::{RefreshRequest, Refresher, TokenResponse, Verdict};
/// # struct Keys;
/// # impl Refresher for Keys {
/// #     async fn refresh(&self, _: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
/// #         Err(RefreshError::new(Verdict::Ambiguous, "lost"))
/// #     }
/// # }
///
/// struct Forget;
///
/// impl Revoker for Forget {
///     async fn revoke(&self, token: &Secret) -> Result<(), RefreshError> {
///         tell_the_service(token.expose()).await;
///         Ok(())
///     }
/// }
/// # async fn tell_the_service(_: &str) {}
///
/// let provider = Provider::new("keys", Keys).revoker(Forget);
/// # let _ = provider;
/// ```
pub trait Revoker: Send + Sync + 'static {
    /// Asks for `token` to be revoked, with all that was issued for it. It is the grant's
    /// refresh token, or its access token where there is none.
    ///
    /// After an error it is asked again, for a week; a [`Verdict::Dead`] says that the token
    /// is no good any more, which will do. A [`RefreshError::continuation`] takes the token's
    /// place for the next time.
    fn revoke(&self, token: &Secret) -> impl Future<Output = Result<(), RefreshError>> + Send;

    /// What [`revoke`](Self::revoke) is to be given for `grant`, each of them once: it is kept
    /// sealed in the mark of the disconnect. By default the refresh token, or the access token
    /// where there is none. A service that wants more than a token gets a text that holds all.
    fn revocable(&self, grant: &Grant) -> Vec<Secret> {
        grant.revocable().into_iter().collect()
    }
}

type RevokeFuture<'a> = Pin<Box<dyn Future<Output = Result<(), RefreshError>> + Send + 'a>>;

/// The one place where revokers are erased.
pub(crate) trait DynRevoker: Send + Sync {
    fn revoke<'a>(&'a self, token: &'a Secret) -> RevokeFuture<'a>;
    fn revocable(&self, grant: &Grant) -> Vec<Secret>;
}

impl<R: Revoker> DynRevoker for R {
    fn revoke<'a>(&'a self, token: &'a Secret) -> RevokeFuture<'a> {
        Box::pin(Revoker::revoke(self, token))
    }

    fn revocable(&self, grant: &Grant) -> Vec<Secret> {
        Revoker::revocable(self, grant)
    }
}

/// One token service, as the manager knows it: a name, a [`Refresher`], and policies.
pub struct Provider {
    pub(crate) name: Arc<str>,
    pub(crate) policy: Policy,
    pub(crate) refresher: Arc<dyn DynRefresher>,
    pub(crate) revoker: Option<Arc<dyn DynRevoker>>,
}

impl Provider {
    /// A provider that grant keys call `name`.
    pub fn new(name: impl Into<Arc<str>>, refresher: impl Refresher) -> Self {
        Self {
            name: name.into(),
            policy: Policy::default(),
            refresher: Arc::new(refresher),
            revoker: None,
        }
    }

    /// How a token is revoked when its user disconnects. By default it is not.
    #[must_use]
    pub fn revoker(mut self, revoker: impl Revoker) -> Self {
        self.revoker = Some(Arc::new(revoker));
        self
    }

    policy_setters!();

    /// What was configured wrongly, if anything.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let name = &*self.name;
        if name.is_empty() || name.len() > 255 {
            return Err(config(name, "a provider's name has 1 to 255 bytes"));
        }
        self.policy
            .check()
            .map_err(|problem| config(name, &problem))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// What [`TokenManagerBuilder::provider`](crate::TokenManagerBuilder::provider) takes.
pub trait IntoProvider {
    /// The provider, or what is wrong with its configuration.
    fn into_provider(self) -> Result<Provider, Error>;
}

impl IntoProvider for Provider {
    fn into_provider(self) -> Result<Provider, Error> {
        self.check()?;
        Ok(self)
    }
}

fn config(provider: &str, problem: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("provider {provider:?}: {problem}"),
    )
}
