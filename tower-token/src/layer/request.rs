//! What a request says of the token it wants.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::key::GrantKey;
use crate::manager::{Wanted, Which};

/// Put into a request's extensions: whose token it gets, and how.
///
/// ```
/// use std::time::Duration;
/// use tower_token::{GrantKey, TokenRequest};
///
/// let wanted = TokenRequest::new(GrantKey::new("google", "user-17"))
///     .min_validity(Duration::from_secs(120));
/// let request = http::Request::get("https://www.googleapis.com/calendar/v3/users/me")
///     .extension(wanted)
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone)]
pub struct TokenRequest {
    pub(super) key: GrantKey,
    pub(super) account: Option<Arc<str>>,
    pub(super) min_validity: Duration,
    pub(super) retry: bool,
    pub(super) route: Option<&'static str>,
}

impl TokenRequest {
    /// The token of this grant, with one retry on a 401.
    pub fn new(key: GrantKey) -> Self {
        Self {
            key,
            account: None,
            min_validity: Duration::ZERO,
            retry: true,
            route: None,
        }
    }

    /// The token of this account, for a grant that has several.
    #[must_use]
    pub fn account(mut self, id: impl Into<Arc<str>>) -> Self {
        self.account = Some(id.into());
        self
    }

    /// Waits for a new token if the present one is valid for less than this; for
    /// requests that take long.
    #[must_use]
    pub fn min_validity(mut self, span: Duration) -> Self {
        self.min_validity = span;
        self
    }

    /// Takes a 401 for an answer. The token is refreshed behind all the same, for the
    /// next request.
    #[must_use]
    pub fn without_retry(mut self) -> Self {
        self.retry = false;
        self
    }

    /// What the API's answer is counted under, with the feature `metrics`: a template such
    /// as `/users/{id}`, never the path itself, whose number has no bound.
    #[must_use]
    pub fn route(mut self, template: &'static str) -> Self {
        self.route = Some(template);
        self
    }

    /// Whose token it is.
    pub fn key(&self) -> &GrantKey {
        &self.key
    }

    /// Whether it asks for the grant's only token, for no time in particular.
    pub(super) fn is_plain(&self) -> bool {
        self.account.is_none() && self.min_validity.is_zero()
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted::of(self.account.as_deref()).valid_for(self.min_validity)
    }

    pub(super) fn which(&self) -> Which<'_> {
        self.wanted().which
    }
}

impl From<GrantKey> for TokenRequest {
    fn from(key: GrantKey) -> Self {
        Self::new(key)
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.account.as_ref().map(|_| "[redacted]");
        f.debug_struct("TokenRequest")
            .field("key", &self.key)
            .field("account", &account)
            .field("min_validity", &self.min_validity)
            .field("retry", &self.retry)
            .field("route", &self.route)
            .finish()
    }
}
