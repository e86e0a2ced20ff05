//! Which token a caller wants, and for how long.

use std::time::Duration;

/// Which of a grant's tokens is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which<'a> {
    /// The only one: a grant of several accounts has none.
    Only,
    /// That of the account of this id.
    Account(&'a str),
    /// Whichever was issued last.
    Newest,
}

/// What a caller wants of a grant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) which: Which<'a>,
    /// How long the token has to stay valid.
    pub(crate) min_validity: Duration,
}

impl<'a> Wanted<'a> {
    /// The token of this account, or the only one there is.
    pub(crate) fn of(account: Option<&'a str>) -> Self {
        Self {
            which: account.map_or(Which::Only, Which::Account),
            min_validity: Duration::ZERO,
        }
    }

    pub(crate) fn valid_for(self, min_validity: Duration) -> Self {
        Self {
            min_validity,
            ..self
        }
    }
}

impl Wanted<'static> {
    pub(crate) const NEWEST: Self = Self {
        which: Which::Newest,
        min_validity: Duration::ZERO,
    };
}
