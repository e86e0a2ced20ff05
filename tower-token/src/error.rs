//! One error for the crate: what happened, and what to do about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no usable token, or why something could not be stored.
///
/// [`kind`](Error::kind) says what happened, [`recovery`](Error::recovery) what to
/// do. No error carries a secret, an answer of a token service, or a user's id.
///
/// ```
/// use tower_token::{Error, Recovery};
///
/// fn answer(error: &Error) -> u16 {
///     match error.recovery() {
///         Recovery::Reauthenticate => 401,
///         Recovery::Retry { .. } => 503,
///         _ => 500,
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What happened.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nobody connected under this key, or the user was disconnected.
    NotConnected,
    /// The grant can no longer be refreshed: the user has to connect again.
    NeedsReauth,
    /// The token service asks the user for something first, such as a second factor.
    UserAction,
    /// The authorization code is no good: used before, too old, or meant for another redirect
    /// URI. The user has to begin anew.
    CodeRefused,
    /// A request reached the layer without a grant key.
    MissingKey,
    /// A request names another grant than the one its client is bound to.
    KeyMismatch,
    /// A grant of several accounts was asked for a token without naming one, or has no account
    /// of this id.
    UnknownAccount,
    /// The token cannot be put where it belongs in this request, such as into its body.
    Placement,
    /// A request goes to an origin its provider does not allow.
    ForeignOrigin,
    /// The key names a provider that was not registered.
    UnknownProvider,
    /// Something was set up wrongly; the message says what.
    Config,
    /// The token service refused this service itself: its client id, secret or key.
    ClientRefused,
    /// The token service could not be reached, or did not answer usefully.
    TokenService,
    /// The caller's deadline passed before a token was there. The refresh goes on.
    Timeout,
    /// A token response that cannot be kept: a token in it is unusable, or it is too large.
    InvalidResponse,
    /// The store could not do its work.
    Store,
    /// The store cannot do this at all, such as list its rows: it is a
    /// [custom one](crate::store::custom) without an index.
    Unsupported,
    /// Another process has the embedded store open.
    StoreInUse,
    /// The outer key is missing, malformed, or not the one the store was made with; or the
    /// store's own keys, which it wraps, are gone, damaged, or older than they were.
    Key,
    /// A data key cannot become active, or be destroyed, yet. [`Error::recovery`] says how long
    /// to wait.
    TooSoon,
    /// A data key cannot be destroyed: there are records that only it opens.
    KeyInUse,
    /// A stored record does not open: it was damaged, moved or forged.
    Damaged,
    /// An export is cut off, damaged, changed, made of several, or of a format that this version
    /// does not know.
    InvalidExport,
    /// A stored record is older than one this process has already seen.
    RolledBack,
    /// The manager was shut down.
    ShutDown,
}

/// What to do about an [`Error`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Try again, not before `after` if that is known.
    Retry {
        /// How long to wait.
        after: Option<Duration>,
    },
    /// Send the user through the provider's consent again.
    Reauthenticate,
    /// Have an operator look at the set-up; trying again will not help.
    Misconfigured,
    /// This request cannot succeed as it is.
    Fail,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            retry_after: None,
            source: None,
        }))
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            retry_after: None,
            source: Some(Arc::from(source.into())),
        }))
    }

    /// The same failure, told to a caller who can try again after `after`.
    pub(crate) fn retry_after(&self, after: Duration) -> Self {
        Self(Arc::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            retry_after: Some(after),
            source: self.0.source.clone(),
        }))
    }

    /// For a [`Placement`](crate::Placement) that cannot put the token into a request, and why.
    pub fn cannot_place(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Placement, why)
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What to do about it.
    pub fn recovery(&self) -> Recovery {
        match self.0.kind {
            ErrorKind::NotConnected
            | ErrorKind::NeedsReauth
            | ErrorKind::UserAction
            | ErrorKind::CodeRefused => Recovery::Reauthenticate,
            ErrorKind::TokenService
            | ErrorKind::Timeout
            | ErrorKind::Store
            | ErrorKind::TooSoon => Recovery::Retry {
                after: self.0.retry_after,
            },
            ErrorKind::UnknownProvider
            | ErrorKind::Config
            | ErrorKind::ClientRefused
            | ErrorKind::StoreInUse
            | ErrorKind::Key => Recovery::Misconfigured,
            ErrorKind::MissingKey
            | ErrorKind::KeyMismatch
            | ErrorKind::UnknownAccount
            | ErrorKind::Placement
            | ErrorKind::ForeignOrigin
            | ErrorKind::InvalidResponse
            | ErrorKind::Unsupported
            | ErrorKind::KeyInUse
            | ErrorKind::Damaged
            | ErrorKind::InvalidExport
            | ErrorKind::RolledBack
            | ErrorKind::ShutDown => Recovery::Fail,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Error");
        shown.field("kind", &self.0.kind);
        shown.field("message", &self.0.message);
        if let Some(after) = &self.0.retry_after {
            shown.field("retry_after", after);
        }
        if let Some(source) = &self.0.source {
            shown.field("source", source);
        }
        shown.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
