//! What is wrong with a provider of OpenID Connect, or with a token of it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Why a provider cannot be used, or a token of it is not accepted. Holds no token, and nothing
/// of what a token says.
///
/// ```
/// use axum_token::{OpenIdError, OpenIdErrorKind};
///
/// fn try_again(error: &OpenIdError) -> bool {
///     error.kind() == OpenIdErrorKind::Unavailable
/// }
/// ```
#[derive(Debug, Clone)]
pub struct OpenIdError {
    kind: OpenIdErrorKind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What to do about an [`OpenIdError`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenIdErrorKind {
    /// Try again: the provider's documents cannot be had now.
    Unavailable,
    /// Have somebody look at the set-up, or at the provider's.
    Misconfigured,
    /// Begin anew: the token is not one of this provider, for this client, now.
    Refused,
}

impl OpenIdError {
    pub(super) fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(OpenIdErrorKind::Unavailable, message)
    }

    pub(super) fn misconfigured(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(OpenIdErrorKind::Misconfigured, message)
    }

    pub(super) fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(OpenIdErrorKind::Refused, message)
    }

    fn new(kind: OpenIdErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same, with what caused it, which must not quote a token.
    pub(super) fn because(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> OpenIdErrorKind {
        self.kind
    }
}

impl fmt::Display for OpenIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for OpenIdError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
