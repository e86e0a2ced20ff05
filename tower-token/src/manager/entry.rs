//! What is served of one grant: its tokens, and what becomes of whoever asks for one.

use std::time::Duration;

use super::wanted::{Wanted, Which};
use crate::clock::Timestamp;
use crate::freshness::{Freshness, RefreshWindow};
use crate::grant::{AccessToken, Account, Grant, Serial};

/// The tokens of a grant, as a slot serves them.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    serial: Serial,
    can_refresh: bool,
    /// The newest token; none if the grant has come to its end, or has yet to begin.
    token: Option<Served>,
    accounts: Vec<Held>,
}

#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) token: AccessToken,
    window: RefreshWindow,
    pub(super) refused: bool,
}

#[derive(Debug, Clone)]
struct Held {
    account: Account,
    served: Option<Served>,
}

/// What a caller finds in a slot.
#[derive(Debug)]
pub(super) enum Look {
    /// A token to use; `due` says that a refresh should start behind.
    Usable { token: AccessToken, due: bool },
    /// The token of `serial` has to be replaced first. `usable` is there if only the
    /// caller's minimum validity asks for that.
    Replace {
        serial: Serial,
        usable: Option<AccessToken>,
    },
    /// It has to be replaced, and there is no refresh token.
    Spent,
    /// It has run out, and the token service brings no other for this account.
    Absent,
    /// There are several accounts, and none was named.
    Several,
    /// There is no such account: the store may know it.
    NoAccount,
    /// Nothing known, or disconnected: the store may know more.
    Unknown,
}

enum Selected<'a> {
    Token(Option<&'a Served>),
    Several,
    NoAccount,
}

impl Served {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.window.at(now, Duration::ZERO) == Freshness::Expired
    }

    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        !self.refused && !self.is_expired(now)
    }
}

impl Entry {
    /// What there is to serve of `grant`. A token that was refused is no less so when it is
    /// read once more.
    pub(super) fn new(
        grant: &Grant,
        window: impl Fn(&AccessToken) -> RefreshWindow,
        before: Option<&Entry>,
    ) -> Self {
        let serve = |token: &AccessToken, which: Which<'_>| Served {
            token: token.clone(),
            window: window(token),
            refused: before
                .and_then(|before| before.served(which))
                .is_some_and(|served| served.refused && served.token.serial() == token.serial()),
        };
        let token = grant.access_token.as_ref();
        let accounts = grant.accounts.iter().map(|account| Held {
            served: account
                .access_token()
                .map(|token| serve(token, Which::Account(account.id()))),
            account: account.clone(),
        });
        Self {
            serial: grant.serial(),
            can_refresh: grant.can_refresh(),
            token: token.map(|token| serve(token, Which::Newest)),
            accounts: accounts.collect(),
        }
    }

    pub(super) fn serial(&self) -> Serial {
        self.serial
    }

    fn select(&self, which: Which<'_>) -> Selected<'_> {
        match which {
            Which::Only if self.accounts.len() > 1 => Selected::Several,
            Which::Only | Which::Newest => Selected::Token(self.token.as_ref()),
            Which::Account(id) => match self.accounts.iter().find(|held| held.account.id() == id) {
                Some(held) => Selected::Token(held.served.as_ref()),
                // Its accounts are known only when the first tokens are there.
                None if self.token.is_none() && self.can_refresh => Selected::Token(None),
                None => Selected::NoAccount,
            },
        }
    }

    /// What is served as `which`.
    pub(super) fn served(&self, which: Which<'_>) -> Option<&Served> {
        match self.select(which) {
            Selected::Token(served) => served,
            Selected::Several | Selected::NoAccount => None,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Served> {
        let accounts = self.accounts.iter().filter_map(|held| held.served.as_ref());
        self.token.iter().chain(accounts)
    }

    /// Whether a token of `serial` was refused.
    pub(super) fn is_refused(&self, serial: Serial) -> bool {
        self.all()
            .any(|served| served.refused && served.token.serial() == serial)
    }

    /// Whether a token of `serial` has run out.
    pub(super) fn is_expired(&self, serial: Serial, now: Timestamp) -> bool {
        self.all()
            .any(|served| served.token.serial() == serial && served.is_expired(now))
    }

    /// The same, with the token of `which` refused; that of a lone account is both.
    pub(super) fn with_refused(&self, which: Which<'_>) -> Self {
        let mut entry = self.clone();
        let lone = entry.accounts.len() == 1;
        for held in &mut entry.accounts {
            let meant = lone || which == Which::Account(held.account.id());
            if let Some(served) = held.served.as_mut().filter(|_| meant) {
                served.refused = true;
            }
        }
        let only = lone || !matches!(which, Which::Account(_));
        if let Some(served) = entry.token.as_mut().filter(|_| only) {
            served.refused = true;
        }
        entry
    }

    /// The token of `wanted`, if nothing has to be done about it.
    pub(super) fn fresh(&self, now: Timestamp, wanted: Wanted<'_>) -> Option<&AccessToken> {
        let served = self.served(wanted.which)?;
        let fresh =
            !served.refused && served.window.at(now, wanted.min_validity) == Freshness::Fresh;
        fresh.then_some(&served.token)
    }

    pub(super) fn look(&self, now: Timestamp, wanted: Wanted<'_>) -> Look {
        let served = match self.select(wanted.which) {
            Selected::Several => return Look::Several,
            Selected::NoAccount => return Look::NoAccount,
            // An account whose token was wiped, and that answers leave out.
            Selected::Token(None) if self.can_refresh && self.newest_is_fresh(now) => {
                return Look::Absent;
            }
            Selected::Token(None) if self.can_refresh => {
                return Look::Replace {
                    serial: self.serial,
                    usable: None,
                };
            }
            Selected::Token(None) => return Look::Spent,
            Selected::Token(Some(served)) => served,
        };
        let token = served.token.clone();
        if token.serial() < self.serial {
            return self.look_at_absent(now, served);
        }
        let freshness = served.window.at(now, wanted.min_validity);
        if !served.refused && freshness != Freshness::Expired {
            let due = freshness == Freshness::Due && self.can_refresh;
            return Look::Usable { token, due };
        }
        match (self.can_refresh, served.is_usable(now)) {
            (true, usable) => Look::Replace {
                serial: self.serial,
                usable: usable.then_some(token),
            },
            // It cannot get better than this.
            (false, true) => Look::Usable { token, due: false },
            (false, false) => Look::Spent,
        }
    }

    /// The last answer brought no token for this account: the one it has is used to its end.
    /// Then no exchange is made for its sake alone.
    fn look_at_absent(&self, now: Timestamp, served: &Served) -> Look {
        if served.is_usable(now) {
            let token = served.token.clone();
            return Look::Usable { token, due: false };
        }
        match (self.can_refresh, self.newest_is_fresh(now)) {
            (true, false) => Look::Replace {
                serial: self.serial,
                usable: None,
            },
            (true, true) => Look::Absent,
            (false, _) => Look::Spent,
        }
    }

    fn newest_is_fresh(&self, now: Timestamp) -> bool {
        self.token.as_ref().is_some_and(|newest| {
            !newest.refused && newest.window.at(now, Duration::ZERO) == Freshness::Fresh
        })
    }

    /// The accounts whose tokens can be used.
    pub(super) fn usable_accounts(&self, now: Timestamp) -> Vec<Account> {
        let usable = |held: &&Held| {
            let served = held.served.as_ref();
            served.is_some_and(|served| served.is_usable(now))
        };
        let accounts = self.accounts.iter().filter(usable);
        accounts.map(|held| held.account.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{AccountToken, TokenResponse};
    use crate::key::GrantKey;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const LIFE: Duration = Duration::from_secs(60);

    fn tokens<const N: usize>(of: [&str; N]) -> TokenResponse {
        TokenResponse::for_accounts(of.map(|id| AccountToken::new(id, format!("t-{id}"))))
            .refresh_token("r")
            .expires_in(LIFE)
    }

    fn grant<const N: usize>(of: [&str; N]) -> Grant {
        Grant::connected(GrantKey::new("p", "s"), 1, tokens(of), NOW, None).unwrap()
    }

    fn entry(grant: &Grant) -> Entry {
        let window = |token: &AccessToken| {
            RefreshWindow::new(token.started(), token.expires_at(), Duration::ZERO, 0)
        };
        Entry::new(grant, window, None)
    }

    fn seen(entry: &Entry, now: Timestamp, which: Which<'_>) -> String {
        let min_validity = Duration::ZERO;
        let wanted = Wanted {
            which,
            min_validity,
        };
        match entry.look(now, wanted) {
            Look::Usable { token, .. } => token.expose().to_owned(),
            other => format!("{other:?}").split(' ').next().unwrap().to_owned(),
        }
    }

    #[test]
    fn an_account_is_named_where_there_are_several() {
        let two = entry(&grant(["a", "b"]));
        assert_eq!(seen(&two, NOW, Which::Only), "Several");
        assert_eq!(seen(&two, NOW, Which::Account("b")), "t-b");
        assert_eq!(seen(&two, NOW, Which::Account("c")), "NoAccount");
        let one = entry(&grant(["a"]));
        assert_eq!(seen(&one, NOW, Which::Only), "t-a");
        let mut not_begun = grant(["a"]);
        (not_begun.access_token, not_begun.accounts) = (None, Vec::new());
        assert_eq!(
            seen(&entry(&not_begun), NOW, Which::Account("a")),
            "Replace"
        );
    }

    #[test]
    fn no_exchange_is_made_for_an_account_that_answers_leave_out() {
        let mut grant = grant(["a", "b"]);
        let later = NOW + LIFE / 2;
        grant.apply(tokens(["a"]), later, None).unwrap();
        let entry = entry(&grant);
        assert_eq!(seen(&entry, later, Which::Account("b")), "t-b");
        // Its own token has run out; the grant's has not.
        let later = NOW + LIFE;
        assert_eq!(seen(&entry, later, Which::Account("b")), "Absent");
        assert_eq!(seen(&entry, later, Which::Account("a")), "t-a");
        assert_eq!(entry.usable_accounts(later).len(), 1);
        // Nor for one whose token was wiped.
        let mut wiped = grant.clone();
        wiped.wipe_access_tokens();
        wiped.apply(tokens(["a"]), later, None).unwrap();
        assert_eq!(
            seen(&self::entry(&wiped), later, Which::Account("b")),
            "Absent"
        );
        // What is to be refreshed anyway may bring it back.
        let later = NOW + LIFE * 2;
        assert_eq!(seen(&entry, later, Which::Account("b")), "Replace");
    }

    #[test]
    fn a_refusal_is_of_one_account() {
        let two = entry(&grant(["a", "b"])).with_refused(Which::Account("a"));
        assert_eq!(seen(&two, NOW, Which::Account("a")), "Replace");
        assert_eq!(seen(&two, NOW, Which::Account("b")), "t-b");
        assert!(two.is_refused(two.serial()));
        let one = entry(&grant(["a"])).with_refused(Which::Only);
        assert_eq!(seen(&one, NOW, Which::Account("a")), "Replace");
        assert_eq!(seen(&one, NOW, Which::Only), "Replace");
    }
}
