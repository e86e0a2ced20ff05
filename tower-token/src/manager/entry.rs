//! What is served of one grant: its tokens, and what becomes of whoever asks for one.

use std::time::Duration;

use super::wanted::{Wanted, Which};
use crate::clock::Timestamp;
use crate::freshness::{Freshness, RefreshWindow};
use crate::grant::{AccessToken, Account, Grant, Serial};

/// The tokens of a grant, as a slot serves them. In the order in which a request looks at it: see
/// [`Offer`](super::offer::Offer).
#[derive(Debug, Clone)]
#[repr(C)]
pub(super) struct Entry {
    can_refresh: bool,
    /// Whether the newest token was.
    refused: bool,
    /// Most grants have none: they pay for a pointer, and not for a list.
    accounts: Option<Box<Accounts>>,
    /// The newest token. Where the grant has come to its end, or has yet to begin, there is only
    /// its serial.
    newest: Result<Issued, Serial>,
}

#[derive(Debug, Clone)]
struct Accounts(Vec<Held>);

#[derive(Debug, Clone)]
struct Held {
    account: Account,
    refused: bool,
    issued: Option<Issued>,
}

#[derive(Debug, Clone)]
#[repr(C)]
struct Issued {
    token: AccessToken,
    due_at: Timestamp,
}

/// A token as it is served.
#[derive(Clone, Copy)]
pub(super) struct Served<'a> {
    pub(super) token: &'a AccessToken,
    due_at: Timestamp,
    pub(super) refused: bool,
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
    /// It has to be found in the store once more.
    Doubted,
}

enum Selected<'a> {
    Token(Option<Served<'a>>),
    Several,
    NoAccount,
}

impl Issued {
    fn served(&self, refused: bool) -> Served<'_> {
        Served {
            token: &self.token,
            due_at: self.due_at,
            refused,
        }
    }
}

impl Held {
    fn served(&self) -> Option<Served<'_>> {
        let issued = self.issued.as_ref()?;
        Some(issued.served(self.refused))
    }
}

impl Served<'_> {
    fn at(&self, now: Timestamp, min_validity: Duration) -> Freshness {
        let (started, expires_at) = (self.token.started(), self.token.expires_at());
        RefreshWindow::due(self.due_at, started, expires_at).at(now, min_validity)
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        self.at(now, Duration::ZERO) == Freshness::Expired
    }

    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        !self.refused && !self.is_expired(now)
    }
}

impl Entry {
    /// What there is to serve of `grant`, whose tokens fall due as `due_at` says. A token that
    /// was refused is no less so when it is read once more.
    pub(super) fn new(
        grant: &Grant,
        due_at: impl Fn(&AccessToken) -> Timestamp,
        before: Option<&Entry>,
    ) -> Self {
        let issue = |token: &AccessToken| Issued {
            token: token.clone(),
            due_at: due_at(token),
        };
        let is_refused = |token: Option<&AccessToken>, which: Which<'_>| {
            let before = before.and_then(|before| before.served(which));
            before
                .filter(|before| before.refused)
                .is_some_and(|before| {
                    token.is_some_and(|token| before.token.serial() == token.serial())
                })
        };
        let newest = grant.access_token.as_ref();
        let accounts = grant.accounts.iter().map(|account| Held {
            account: account.clone(),
            refused: is_refused(account.access_token(), Which::Account(account.id())),
            issued: account.access_token().map(issue),
        });
        Self {
            can_refresh: grant.can_refresh(),
            refused: is_refused(newest, Which::Newest),
            newest: newest.map(issue).ok_or(grant.serial()),
            accounts: (accounts.len() > 0).then(|| Box::new(Accounts(accounts.collect()))),
        }
    }

    /// Until when nothing has to be done about the token of `which`.
    pub(super) fn fresh_until(&self, which: Which<'_>) -> Option<Timestamp> {
        let served = self.served(which).filter(|served| !served.refused)?;
        Some(served.due_at)
    }

    pub(super) fn serial(&self) -> Serial {
        match &self.newest {
            Ok(issued) => issued.token.serial(),
            Err(serial) => *serial,
        }
    }

    fn accounts(&self) -> &[Held] {
        self.accounts.as_ref().map_or(&[], |accounts| &accounts.0)
    }

    fn newest(&self) -> Option<Served<'_>> {
        let issued = self.newest.as_ref().ok()?;
        Some(issued.served(self.refused))
    }

    #[inline]
    fn select(&self, which: Which<'_>) -> Selected<'_> {
        match which {
            Which::Only if self.accounts().len() > 1 => Selected::Several,
            Which::Only | Which::Newest => Selected::Token(self.newest()),
            Which::Account(id) => match self.accounts().iter().find(|held| held.account.id() == id)
            {
                Some(held) => Selected::Token(held.served()),
                // Its accounts are known only when the first tokens are there.
                None if self.newest.is_err() && self.can_refresh => Selected::Token(None),
                None => Selected::NoAccount,
            },
        }
    }

    /// What is served as `which`.
    #[inline]
    pub(super) fn served(&self, which: Which<'_>) -> Option<Served<'_>> {
        match self.select(which) {
            Selected::Token(served) => served,
            Selected::Several | Selected::NoAccount => None,
        }
    }

    fn all(&self) -> impl Iterator<Item = Served<'_>> {
        let accounts = self.accounts().iter().filter_map(Held::served);
        self.newest().into_iter().chain(accounts)
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
        let lone = entry.accounts().len() == 1;
        for held in entry
            .accounts
            .iter_mut()
            .flat_map(|accounts| &mut accounts.0)
        {
            held.refused |= lone || which == Which::Account(held.account.id());
        }
        entry.refused |= lone || !matches!(which, Which::Account(_));
        entry
    }

    /// Whether nothing has to be done about the token of `wanted`.
    pub(super) fn is_fresh(&self, now: Timestamp, wanted: Wanted<'_>) -> bool {
        self.served(wanted.which).is_some_and(|served| {
            !served.refused && served.at(now, wanted.min_validity) == Freshness::Fresh
        })
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
                    serial: self.serial(),
                    usable: None,
                };
            }
            Selected::Token(None) => return Look::Spent,
            Selected::Token(Some(served)) => served,
        };
        let token = served.token.clone();
        if token.serial() < self.serial() {
            return self.look_at_absent(now, served);
        }
        let freshness = served.at(now, wanted.min_validity);
        if !served.refused && freshness != Freshness::Expired {
            let due = freshness == Freshness::Due && self.can_refresh;
            return Look::Usable { token, due };
        }
        match (self.can_refresh, served.is_usable(now)) {
            (true, usable) => Look::Replace {
                serial: self.serial(),
                usable: usable.then_some(token),
            },
            // It cannot get better than this.
            (false, true) => Look::Usable { token, due: false },
            (false, false) => Look::Spent,
        }
    }

    /// The last answer brought no token for this account: the one it has is used to its end.
    /// Then no exchange is made for its sake alone.
    fn look_at_absent(&self, now: Timestamp, served: Served<'_>) -> Look {
        if served.is_usable(now) {
            let token = served.token.clone();
            return Look::Usable { token, due: false };
        }
        match (self.can_refresh, self.newest_is_fresh(now)) {
            (true, false) => Look::Replace {
                serial: self.serial(),
                usable: None,
            },
            (true, true) => Look::Absent,
            (false, _) => Look::Spent,
        }
    }

    fn newest_is_fresh(&self, now: Timestamp) -> bool {
        self.newest().is_some_and(|newest| {
            !newest.refused && newest.at(now, Duration::ZERO) == Freshness::Fresh
        })
    }

    /// The accounts whose tokens can be used.
    pub(super) fn usable_accounts(&self, now: Timestamp) -> Vec<Account> {
        let usable = |held: &&Held| {
            let served = held.served();
            served.is_some_and(|served| served.is_usable(now))
        };
        let accounts = self.accounts().iter().filter(usable);
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
        let due_at = |token: &AccessToken| token.expires_at().unwrap_or(Timestamp::FAR_FUTURE);
        Entry::new(grant, due_at, None)
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
