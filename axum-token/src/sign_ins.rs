//! Signing out everywhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_token::{
    Error, ErrorKind, GrantKey, Provider, RefreshError, RefreshRequest, Refresher, Rotation,
    Secret, TokenManager, TokenResponse,
};

use crate::random;
use crate::rejection::{Misconfigured, TokenRejection};
use crate::source::SignIn;
use crate::turns::Turns;

/// Lets a user sign out everywhere: each session carries the stamp that the user had when it
/// began, and is over when the user has another one.
///
/// Stamps are grants of a provider of their own in the manager's store, sealed like any
/// other, and served from the manager's memory: a check is a look-up in a map. A check that
/// cannot be made, because the store cannot be reached, is a 503 and ends no session.
///
/// ```
/// use axum_token::{SessionTokenLayer, SignIns, TrustedHeader};
/// use tower_token::{KeyRing, MemoryStore, SealedStore, TokenManager};
///
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = TokenManager::builder()
///     .store(SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?)
///     .provider(SignIns::provider())
///     .build()
///     .await?;
/// let sign_ins = SignIns::new(&manager);
///
/// // At sign-in, what sessions::sign_in or PrivateCookies::sign_in takes:
/// let who = sign_ins.admit("user-17").await?;
///
/// // On every request, before it is believed:
/// # #[cfg(feature = "tower-sessions")]
/// let layer = SessionTokenLayer::new(axum_token::sessions::Sessions).sign_ins(&sign_ins);
///
/// // "Sign out everywhere":
/// sign_ins.sign_out_everywhere("user-17").await?;
/// # Ok(()) }
/// ```
///
/// # What happens at the same time
///
/// When [`sign_out_everywhere`](Self::sign_out_everywhere) returns, the new stamp is as
/// durable as the store makes it. A sign-in that overlaps it has either stamp; with the old
/// one it is over at the next request. Nothing brings an old stamp back: a stamp is random,
/// and also one that is lost, or disconnected like any grant, only ever ends sessions. A
/// request that was let in before goes on to its end; what outlives its request asks
/// [`CurrentSubject::is_signed_in`](crate::CurrentSubject::is_signed_in), as
/// [`ValidToken::current`](crate::ValidToken::current) does by itself, and so does what
/// connects a grant, once it has: see [`Logout::run`](crate::Logout::run).
///
/// # Several instances on one store
///
/// An instance that has a stamp in its memory does not see that another one wrote a new one.
/// [`provider_checked_every`](Self::provider_checked_every) bounds how long that lasts, at
/// the price of a write for each active user in that time. Within it such an instance also
/// takes a user for signed in who connects a grant, after they have left. Two instances that both sign a
/// user in for the very first time, at the same moment, may end one of the two sessions.
#[derive(Clone)]
pub struct SignIns {
    manager: TokenManager,
    first: Arc<Turns>,
}

impl SignIns {
    /// The name of the provider whose grants are the stamps. A user's list of grants has one
    /// of it.
    pub const PROVIDER: &'static str = "axum-token.sign-ins";

    /// The provider to register with the manager, if this process alone uses the store.
    pub fn provider() -> Provider {
        Provider::new(
            Self::PROVIDER,
            Stamps {
                checked_every: None,
            },
        )
    }

    /// The same where several instances share the store: each of them looks at a stamp that
    /// it uses once in `span`, at least. This holds for stamps that were made with it.
    pub fn provider_checked_every(span: Duration) -> Provider {
        let checked_every = Some(span);
        Provider::new(Self::PROVIDER, Stamps { checked_every })
            .rotation(Rotation::Reusable)
            .default_lifetime(span)
    }

    /// The stamps in the store of `manager`, which has [`provider`](Self::provider).
    pub fn new(manager: &TokenManager) -> Self {
        Self {
            manager: manager.clone(),
            first: Arc::new(Turns::new()),
        }
    }

    /// The user with their stamp, for a session that begins now.
    ///
    /// A stamp that cannot be read, as its row was damaged or is older than before, is
    /// replaced by a new one, which ends the sessions that had it: nobody but the user who
    /// signs in could do anything about it.
    pub async fn admit(&self, subject: &str) -> Result<SignIn, TokenRejection> {
        let who = SignIn::new(subject);
        who.check()?;
        let stamp = match self.readable_stamp(subject).await? {
            Some(stamp) => stamp,
            None => self.first_stamp(subject).await?,
        };
        Ok(who.with_stamp(Some(stamp)))
    }

    /// Ends every session of the user that began before.
    pub async fn sign_out_everywhere(&self, subject: &str) -> Result<(), TokenRejection> {
        self.renew(subject).await
    }

    pub(crate) async fn admits(&self, subject: &str, shown: &Secret) -> Result<bool, Error> {
        Ok(self.stamp(subject).await?.as_ref() == Some(shown))
    }

    async fn stamp(&self, subject: &str) -> Result<Option<Secret>, Error> {
        match self.manager.token(&key(subject)).await {
            Ok(stamp) => Ok(Some(Secret::from(stamp.expose()))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// For whoever has just said who they are: to them a stamp that cannot be read is none.
    async fn readable_stamp(&self, subject: &str) -> Result<Option<Secret>, Error> {
        match self.stamp(subject).await {
            Err(error) if is_unreadable(&error) => Ok(None),
            found => found,
        }
    }

    /// Two first sign-ins at once must not end each other.
    async fn first_stamp(&self, subject: &str) -> Result<Secret, TokenRejection> {
        let _turn = self.first.take(subject).await;
        if let Some(stamp) = self.readable_stamp(subject).await? {
            return Ok(stamp);
        }
        self.renew(subject).await?;
        let stamp = self.stamp(subject).await?;
        stamp.ok_or_else(|| Misconfigured::new("a stamp is gone as soon as it was made").into())
    }

    async fn renew(&self, subject: &str) -> Result<(), TokenRejection> {
        let stamp = Secret::from(random::text()?);
        let response = TokenResponse::new(stamp.clone()).refresh_token(stamp);
        Ok(self.manager.connect(&key(subject), response).await?)
    }
}

fn key(subject: &str) -> GrantKey {
    GrantKey::new(SignIns::PROVIDER, subject)
}

/// Nobody has a stamp that was never made, or was disconnected.
fn is_absent(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotConnected | ErrorKind::NeedsReauth
    )
}

/// Nobody's check may pass by this, and none may end a session by it.
fn is_unreadable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::RolledBack)
}

/// Refreshing a stamp is looking at it again: the store may hold a newer one.
struct Stamps {
    checked_every: Option<Duration>,
}

impl Refresher for Stamps {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let same = TokenResponse::new(request.refresh_token().clone());
        Ok(match self.checked_every {
            Some(span) => same.expires_in(span),
            None => same,
        })
    }
}

impl fmt::Debug for SignIns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIns").finish_non_exhaustive()
    }
}
