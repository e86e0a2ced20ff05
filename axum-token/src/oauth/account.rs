//! An account at a provider.

use std::fmt;

/// An account that somebody signs in by: what never changes of it (OpenID Connect Core section
/// 5.7). E-mail addresses and names do change, and some providers let their users choose them.
///
/// `Debug` hides the subject; `Display` is the default id of its user, `provider|sub`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Account<'a> {
    pub(super) provider: &'a str,
    pub(super) issuer: &'a str,
    pub(super) subject: &'a str,
}

impl<'a> Account<'a> {
    /// The provider, as the manager calls it.
    pub fn provider(&self) -> &'a str {
        self.provider
    }

    /// The provider's own name (`iss`).
    pub fn issuer(&self) -> &'a str {
        self.issuer
    }

    /// The account (`sub`).
    pub fn subject(&self) -> &'a str {
        self.subject
    }
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.provider, self.subject)
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("provider", &self.provider)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
