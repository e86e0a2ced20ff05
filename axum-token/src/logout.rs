//! Leaving.

use std::fmt;

use tower_token::{ErrorKind, Grant, TokenManager};

use crate::rejection::{Misconfigured, TokenRejection};
use crate::sign_ins::SignIns;
use crate::visitor::CurrentSubject;

/// What is left behind when a user signs out: grants that end, and other sessions.
///
/// End the session itself last, by `sessions::sign_out` or `PrivateCookies::sign_out`: if
/// something fails before, the user still is signed in, and can try again.
///
/// ```
/// use axum_token::{CurrentSubject, Logout, SignIns, TokenRejection};
/// use tower_token::TokenManager;
///
/// # #[cfg(feature = "tower-sessions")]
/// async fn logout(
///     manager: &TokenManager,
///     sign_ins: &SignIns,
///     user: CurrentSubject,
///     session: tower_sessions::Session,
/// ) -> Result<(), TokenRejection> {
///     Logout::of(&user).disconnect("google").everywhere(sign_ins).run(manager).await?;
///     axum_token::sessions::sign_out(&session).await?;
///     Ok(())
/// }
/// ```
#[must_use = "nothing is done before `run`"]
pub struct Logout {
    subject: CurrentSubject,
    all: bool,
    providers: Vec<Box<str>>,
    sign_ins: Option<SignIns>,
}

impl Logout {
    /// Of this user. By itself it leaves everything as it is: whoever signs in again finds
    /// their grants connected.
    pub fn of(subject: &CurrentSubject) -> Self {
        Self {
            subject: subject.clone(),
            all: false,
            providers: Vec::new(),
            sign_ins: None,
        }
    }

    /// Disconnects every connection of theirs to `provider`.
    pub fn disconnect(mut self, provider: impl Into<Box<str>>) -> Self {
        self.providers.push(provider.into());
        self
    }

    /// Disconnects every grant of theirs.
    pub fn disconnect_all(mut self) -> Self {
        self.all = true;
        self
    }

    /// Ends all of their sessions, this one included.
    pub fn everywhere(mut self, sign_ins: &SignIns) -> Self {
        self.sign_ins = Some(sign_ins.clone());
        self
    }

    /// Does it. When this returns, it is as durable as the store makes it; token services are
    /// told behind.
    ///
    /// After an error some of it may be done, and doing it again does the rest.
    ///
    /// With [`everywhere`](Self::everywhere) it also ends what a request of theirs connected
    /// that was let in before. One that connects later than that asks afterwards:
    ///
    /// ```
    /// # use axum_token::{CurrentSubject, TokenRejection};
    /// # use tower_token::{TokenManager, TokenResponse};
    /// async fn connect(
    ///     manager: &TokenManager,
    ///     user: CurrentSubject,
    ///     tokens: TokenResponse,
    /// ) -> Result<bool, TokenRejection> {
    ///     let key = user.grant_key("google");
    ///     manager.connect(&key, tokens).await?;
    ///     if !user.is_signed_in().await? {
    ///         // They left while this went on, and wanted it gone.
    ///         manager.disconnect(&key).await?;
    ///         return Ok(false);
    ///     }
    ///     Ok(true)
    /// }
    /// ```
    pub async fn run(self, manager: &TokenManager) -> Result<(), TokenRejection> {
        let disconnects = self.all || !self.providers.is_empty();
        if disconnects {
            self.disconnect_grants(manager).await?;
        }
        // After these: this session is over then, too, and could not try again.
        if let Some(sign_ins) = &self.sign_ins {
            sign_ins.sign_out_everywhere(self.subject.as_str()).await?;
            if disconnects {
                // A request that was let in before may have connected something meanwhile.
                // From here on such a one can see that the user has left.
                self.disconnect_grants(manager).await?;
            }
        }
        Ok(())
    }

    /// Every one is tried, whatever becomes of the others.
    async fn disconnect_grants(&self, manager: &TokenManager) -> Result<(), TokenRejection> {
        let mut failed = None;
        for grant in manager.grants(self.subject.as_str()).await? {
            if !self.ends(&grant) {
                continue;
            }
            match manager.disconnect(grant.key()).await {
                Ok(()) => {}
                // Of a provider that is not registered any more: nothing can use it, and
                // nobody should be kept from leaving by it.
                Err(error) if error.kind() == ErrorKind::UnknownProvider => {
                    let _logged = Misconfigured::new(error.to_string());
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn ends(&self, grant: &Grant) -> bool {
        let provider = grant.key().provider();
        let named = self.providers.iter().any(|name| **name == *provider);
        (self.all || named) && provider != SignIns::PROVIDER
    }
}

impl fmt::Debug for Logout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logout")
            .field("all", &self.all)
            .field("providers", &self.providers)
            .field("everywhere", &self.sign_ins.is_some())
            .finish_non_exhaustive()
    }
}
