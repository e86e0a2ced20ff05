//! Accounts that one grant gives access to, each with a token of its own.

use std::fmt;
use std::sync::Arc;

use super::AccessToken;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// No id or name is longer, in bytes.
const MAX_TEXT: usize = 1_024;

/// One of the accounts that a user connected with one consent, as at services that link
/// several brokerage accounts at once. Cheap to clone.
///
/// They share the grant's refresh token, so they are refreshed together; each has an access
/// token of its own. `Debug` shows neither tokens nor ids.
#[derive(Clone)]
pub struct Account(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    id: String,
    name: Option<String>,
    token_id: Option<String>,
    access_token: Option<AccessToken>,
}

impl Account {
    pub(crate) fn new(
        id: String,
        name: Option<String>,
        token_id: Option<String>,
        access_token: Option<AccessToken>,
    ) -> Self {
        Self(Arc::new(Inner {
            id,
            name,
            token_id,
            access_token,
        }))
    }

    /// The service's id of the account.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// What its owner calls it.
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The service's id of the token, where that is another one.
    pub fn token_id(&self) -> Option<&str> {
        self.0.token_id.as_deref()
    }

    /// Its access token. There is none any more if it was wiped when the grant ended.
    pub fn access_token(&self) -> Option<&AccessToken> {
        self.0.access_token.as_ref()
    }

    /// Takes over what an answer says of this account.
    pub(super) fn update(&mut self, answer: &AccountToken, token: AccessToken) {
        let inner = Arc::make_mut(&mut self.0);
        inner.access_token = Some(token);
        for (mine, new) in [
            (&mut inner.name, &answer.name),
            (&mut inner.token_id, &answer.token_id),
        ] {
            if new.is_some() {
                mine.clone_from(new);
            }
        }
    }

    /// Whether it has no token that is still good.
    pub(super) fn is_spent(&self, now: Timestamp) -> bool {
        let token = self.0.access_token.as_ref();
        token.is_none_or(|token| token.expires_at().is_some_and(|end| end <= now))
    }

    pub(super) fn wipe(&mut self) {
        Arc::make_mut(&mut self.0).access_token = None;
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("access_token", &self.0.access_token)
            .finish_non_exhaustive()
    }
}

/// The token of one account in a [`TokenResponse`](super::TokenResponse).
///
/// ```
/// use tower_token::{AccountToken, TokenResponse};
///
/// let response = TokenResponse::for_accounts([
///     AccountToken::new("acc-1", "access-1").name("Savings"),
///     AccountToken::new("acc-2", "access-2"),
/// ])
/// .refresh_token("refresh");
/// # let _ = response;
/// ```
#[derive(Clone)]
pub struct AccountToken {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) token_id: Option<String>,
    pub(super) access_token: Secret,
}

impl AccountToken {
    /// The access token of the account that the service calls `id`.
    pub fn new(id: impl Into<String>, access_token: impl Into<Secret>) -> Self {
        Self {
            id: id.into(),
            name: None,
            token_id: None,
            access_token: access_token.into(),
        }
    }

    /// What its owner calls the account.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The service's id of the token, where that is another one than the account's.
    #[must_use]
    pub fn token_id(mut self, id: impl Into<String>) -> Self {
        self.token_id = Some(id.into());
        self
    }

    /// Whether its texts are of a sane length.
    pub(super) fn is_bounded(&self) -> bool {
        let texts = [Some(&self.id), self.name.as_ref(), self.token_id.as_ref()];
        let mut texts = texts.into_iter().flatten();
        texts.all(|text| text.len() <= MAX_TEXT)
    }

    /// How many bytes there are to keep.
    pub(super) fn len(&self) -> usize {
        let texts = [Some(&self.id), self.name.as_ref(), self.token_id.as_ref()];
        let texts = texts.into_iter().flatten().map(String::len);
        texts.sum::<usize>() + self.access_token.as_bytes().len()
    }
}

impl fmt::Debug for AccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountToken")
            .field("access_token", &self.access_token)
            .finish_non_exhaustive()
    }
}
