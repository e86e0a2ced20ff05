//! Leaving.

use std::fmt;

use tower_token::{Error, ErrorKind, GrantKey, TokenManager};

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
///     let logout = Logout::of(&user).disconnect("google").everywhere(sign_ins);
///     let outcome = logout.run(manager).await?;
///     axum_token::sessions::sign_out(&session).await?;
///     // A 500 if something is left that nobody can end here.
///     outcome.complete()
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
    /// After an error some of it may be done, and doing it again does the rest; their sessions
    /// go on, unless only the last step failed. What cannot be ended however often it is tried
    /// is no error: it is in the [`LogoutOutcome`] when everything else is done.
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
    pub async fn run(self, manager: &TokenManager) -> Result<LogoutOutcome, TokenRejection> {
        let disconnects = self.all || !self.providers.is_empty();
        let mut outcome = LogoutOutcome::default();
        if disconnects {
            outcome = self.disconnect_grants(manager).await?;
        }
        // After these: this session is over then, too, and could not try again.
        if let Some(sign_ins) = &self.sign_ins {
            sign_ins.sign_out_everywhere(self.subject.as_str()).await?;
            if disconnects {
                // A request that was let in before may have connected something meanwhile.
                // From here on such a one can see that the user has left.
                outcome = self.disconnect_grants(manager).await?;
            }
        }
        outcome.log();
        Ok(outcome)
    }

    /// Every one is tried, whatever becomes of the others.
    async fn disconnect_grants(&self, manager: &TokenManager) -> Result<LogoutOutcome, Error> {
        let subject = self.subject.as_str();
        let mut outcome = LogoutOutcome::default();
        let mut failed = None;
        for grant in manager.grants(subject).await? {
            let provider = grant.key().provider();
            if !self.ends(provider) {
                continue;
            }
            match manager.disconnect(grant.key()).await {
                Ok(()) => {}
                // Not registered any more: nothing can use it, and nobody should be kept from
                // leaving by it.
                Err(error) if error.kind() == ErrorKind::UnknownProvider => {
                    outcome.add(Some(provider), LeftReason::UnknownProvider, 1);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if manager.unreadable_grants(subject).await? > 0 {
            let ended = self.disconnect_unreadable(manager).await;
            failed = failed.or(ended.err());
            let unreadable = manager.unreadable_grants(subject).await?;
            outcome.add(None, LeftReason::Unreadable, unreadable);
        }
        failed.map_or(Ok(outcome), Err)
    }

    /// A row that does not open does not say its key. That of a provider's only connection is
    /// known without.
    async fn disconnect_unreadable(&self, manager: &TokenManager) -> Result<(), Error> {
        let mut failed = None;
        for provider in manager.providers().filter(|provider| self.ends(provider)) {
            let key = self.subject.grant_key(provider);
            if is_gone(manager, &key).await {
                continue;
            }
            if let Err(error) = manager.disconnect(&key).await {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn ends(&self, provider: &str) -> bool {
        let named = self.providers.iter().any(|name| **name == *provider);
        (self.all || named) && provider != SignIns::PROVIDER
    }
}

/// What a [`Logout`] has left behind because it cannot be ended here. Usually nothing.
///
/// Its user has left, and trying again does not help: sign them out, then look. What is left
/// has been logged, too (feature `tracing`), as it is for an operator to remove.
/// [`complete`](Self::complete) is the short way; who would rather say it to their user asks
/// [`left`](Self::left):
///
/// ```
/// use axum_token::{LeftGrants, LogoutOutcome};
///
/// fn farewell(outcome: &LogoutOutcome) -> String {
///     let providers = outcome.left().iter().filter_map(LeftGrants::provider);
///     match &*providers.collect::<Vec<_>>().join(", ") {
///         "" if outcome.left().is_empty() => "Good bye!".into(),
///         "" => "Good bye! Please also remove our access in your other accounts.".into(),
///         names => format!("Good bye! Please also remove our access at {names}."),
///     }
/// }
/// ```
#[must_use = "it may name grants that could not be ended: `complete()` makes that a 500"]
#[derive(Debug, Clone, Default)]
pub struct LogoutOutcome {
    left: Vec<LeftGrants>,
}

/// Grants that a [`Logout`] could not end, with their sealed tokens: those of one provider, or
/// those of which it cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftGrants {
    provider: Option<Box<str>>,
    reason: LeftReason,
    count: usize,
}

/// Why grants are left.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeftReason {
    /// The manager has no such provider (any more). Register it again, and they can be ended.
    UnknownProvider,
    /// Their rows do not open, or are older than before, and do not say which they are; when
    /// only some providers were to be disconnected they may be another's. Nothing can use
    /// them. A [`TokenManager::disconnect`] of their key removes them, or connecting anew.
    Unreadable,
}

impl LogoutOutcome {
    /// What is left.
    pub fn left(&self) -> &[LeftGrants] {
        &self.left
    }

    /// An error, answered with a 500, if anything is left. Call it after the user was signed
    /// out: they would be kept from leaving by it.
    pub fn complete(self) -> Result<(), TokenRejection> {
        let left: Vec<_> = self.left.iter().map(LeftGrants::to_string).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(Misconfigured::unlogged(left.join("; ")).into())
    }

    fn add(&mut self, provider: Option<&str>, reason: LeftReason, count: usize) {
        let same =
            |left: &&mut LeftGrants| left.provider.as_deref() == provider && left.reason == reason;
        match self.left.iter_mut().find(same) {
            Some(left) => left.count += count,
            None if count == 0 => {}
            None => self.left.push(LeftGrants {
                provider: provider.map(Box::from),
                reason,
                count,
            }),
        }
    }

    fn log(&self) {
        for left in &self.left {
            let _logged = Misconfigured::new(left.to_string());
        }
    }
}

impl LeftGrants {
    /// Whose they are, if that can be told.
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    /// Why they are left.
    pub fn reason(&self) -> LeftReason {
        self.reason
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for LeftGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the grants of a user who left ", self.count)?;
        match (self.reason, self.provider()) {
            (LeftReason::UnknownProvider, provider) => {
                let provider = provider.unwrap_or_default();
                write!(
                    f,
                    "could not be ended: no provider {provider:?} is registered"
                )
            }
            (LeftReason::Unreadable, _) => f.write_str("could not be read, and so not ended"),
        }
    }
}

/// Whether there is nothing under this key that could be ended.
async fn is_gone(manager: &TokenManager, key: &GrantKey) -> bool {
    let token = manager.token(key).await;
    token.is_err_and(|error| error.kind() == ErrorKind::NotConnected)
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
