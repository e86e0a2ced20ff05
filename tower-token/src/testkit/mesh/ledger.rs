//! The books of the stand-in: who connected what, and which tokens stand for it.
//!
//! Nothing here reads a clock, draws a random number or knows of HTTP: the time and new
//! values come in as arguments.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::broker::MeshBroker;
use crate::clock::Timestamp;

/// On which terms tokens are issued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) access_ttl: Duration,
    pub(super) refresh_ttl: Duration,
    /// Whether every refresh brings a new refresh token. One that is asked for always comes.
    pub(super) rotates: bool,
}

/// An account within a connection.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) mesh_id: String,
    pub(super) token_id: String,
    pub(super) name: String,
    pub(super) fund: f64,
    pub(super) cash: f64,
    pub(super) reconnected: bool,
    removed: bool,
}

/// What a user connected at once: accounts with one refresh token.
#[derive(Serialize, Deserialize)]
struct Connection {
    user: String,
    broker: String,
    accounts: Vec<Account>,
    /// By a refresh token that came twice, by removal, or by a test.
    ended: bool,
}

#[derive(Serialize, Deserialize)]
struct Access {
    connection: usize,
    /// `None` for what an answer that asks for a code hands out.
    account: Option<usize>,
    #[serde(with = "super::state::millis")]
    expires: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Refresh {
    connection: usize,
    #[serde(with = "super::state::millis")]
    expires: Timestamp,
    spent: bool,
}

/// Connections and their tokens. Without `Debug`, since the keys are secrets.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    connections: Vec<Connection>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
}

/// A request to refresh.
pub(super) struct Asked<'a> {
    pub(super) broker: &'a str,
    pub(super) refresh: &'a str,
    pub(super) access: Option<&'a str>,
    pub(super) renew: bool,
    pub(super) code: Option<&'a str>,
}

/// Tokens on their way out. Without `Debug`, since they are secrets.
pub(super) struct Issued {
    pub(super) accounts: Vec<(Account, String)>,
    /// `None` where it stays the same.
    pub(super) refresh: Option<String>,
    pub(super) expires_in: Duration,
    pub(super) refresh_expires_in: Duration,
}

/// What a refresh comes to.
pub(super) enum Refreshed {
    Succeeded(Issued),
    /// The user's code is wanted, along with this access token.
    CodeWanted(String),
    /// The code, or what came with it, was wrong.
    CodeRefused,
}

/// Why a token was turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Unknown, too old, or its connection is over.
    Dead,
    /// A spent refresh token: one of the two who presented it stole it, so its connection
    /// is over now.
    Reused,
    /// It is of another institution.
    OtherType,
    /// The institution wants an access token of the same connection along with it.
    AccessTokenWanted,
}

impl Ledger {
    /// Enters a new connection of `user`, next to those there are.
    pub(super) fn connect(
        &mut self,
        user: &str,
        broker: MeshBroker,
        terms: &Terms,
        now: Timestamp,
        mint: &mut impl FnMut() -> String,
    ) -> Issued {
        let connection = self.enter(user, broker, mint);
        let refresh = self.issue_refresh(connection, now + terms.refresh_ttl, mint);
        Issued {
            accounts: self.issue_access(connection, now + terms.access_ttl, mint),
            refresh: Some(refresh),
            expires_in: terms.access_ttl,
            refresh_expires_in: terms.refresh_ttl,
        }
    }

    /// Enters a connection that has to be refreshed before it is used.
    pub(super) fn connect_later(
        &mut self,
        user: &str,
        broker: MeshBroker,
        terms: &Terms,
        now: Timestamp,
        mint: &mut impl FnMut() -> String,
    ) -> String {
        let connection = self.enter(user, broker, mint);
        self.issue_refresh(connection, now + terms.refresh_ttl, mint)
    }

    /// Exchanges a refresh token. `code` is what the user has to say, if anything.
    pub(super) fn refresh(
        &mut self,
        asked: &Asked<'_>,
        code: Option<&str>,
        terms: &Terms,
        now: Timestamp,
        mint: &mut impl FnMut() -> String,
    ) -> Result<Refreshed, Refused> {
        let token = self.refresh.get(asked.refresh).ok_or(Refused::Dead)?;
        let (id, expires, spent) = (token.connection, token.expires, token.spent);
        let connection = &mut self.connections[id];
        if connection.ended {
            return Err(Refused::Dead);
        }
        if connection.broker != asked.broker {
            return Err(Refused::OtherType);
        }
        if spent {
            connection.ended = true;
            return Err(Refused::Reused);
        }
        if expires <= now {
            return Err(Refused::Dead);
        }
        let companion = self.companion(id, asked)?;
        if let Some(code) = code {
            let Some(said) = asked.code else {
                let interim = self.issue(id, None, now + terms.access_ttl, mint);
                return Ok(Refreshed::CodeWanted(interim));
            };
            if companion != Companion::Interim || said != code {
                return Ok(Refreshed::CodeRefused);
            }
        }

        // A life of its own has only the token that was asked for.
        let end = if asked.renew {
            now + terms.refresh_ttl
        } else {
            expires
        };
        let refresh = (asked.renew || terms.rotates).then(|| self.issue_refresh(id, end, mint));
        if refresh.is_some()
            && let Some(token) = self.refresh.get_mut(asked.refresh)
        {
            token.spent = true;
        }
        let mut accounts = self.issue_access(id, now + terms.access_ttl, mint);
        // Nobody may go by the order.
        accounts.reverse();
        Ok(Refreshed::Succeeded(Issued {
            accounts,
            refresh,
            expires_in: terms.access_ttl,
            refresh_expires_in: end.since(now),
        }))
    }

    /// The account that a good access token of this institution opens, and whose it is.
    pub(super) fn open(
        &self,
        access: &str,
        broker: &str,
        now: Timestamp,
    ) -> Result<(&str, &Account), Refused> {
        let token = self.access.get(access).ok_or(Refused::Dead)?;
        let connection = &self.connections[token.connection];
        let account = token
            .account
            .map(|at| &connection.accounts[at])
            .filter(|account| !connection.ended && !account.removed && now < token.expires)
            .ok_or(Refused::Dead)?;
        if connection.broker != broker {
            return Err(Refused::OtherType);
        }
        Ok((&connection.user, account))
    }

    /// Removes the account behind an access token; with the last one its connection ends.
    pub(super) fn remove(
        &mut self,
        access: &str,
        broker: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        self.open(access, broker, now)?;
        let token = &self.access[access];
        let connection = &mut self.connections[token.connection];
        if let Some(at) = token.account {
            connection.accounts[at].removed = true;
        }
        connection.ended = connection.accounts.iter().all(|account| account.removed);
        Ok(())
    }

    /// Whose token it is or was, of either kind.
    pub(super) fn owner_of(&self, token: &str) -> Option<&str> {
        let access = self.access.get(token).map(|token| token.connection);
        let found = access.or_else(|| self.refresh.get(token).map(|token| token.connection))?;
        Some(&self.connections[found].user)
    }

    /// How many connections of the user a refresh token would still be exchanged for.
    pub(super) fn connections(&self, user: &str, broker: &str, now: Timestamp) -> usize {
        let live = self.refresh.values().filter(|token| {
            let connection = &self.connections[token.connection];
            !token.spent
                && now < token.expires
                && !connection.ended
                && connection.user == user
                && connection.broker == broker
        });
        live.count()
    }

    /// Makes every access token expire no later than `now`.
    pub(super) fn expire_access(&mut self, now: Timestamp) {
        for token in self.access.values_mut() {
            token.expires = token.expires.min(now);
        }
    }

    /// Ends every connection of the user.
    pub(super) fn end(&mut self, user: &str) {
        for connection in &mut self.connections {
            connection.ended |= connection.user == user;
        }
    }

    fn companion(&self, connection: usize, asked: &Asked<'_>) -> Result<Companion, Refused> {
        match asked.access.map(|access| self.access.get(access)) {
            Some(Some(token)) if token.connection == connection => Ok(if token.account.is_some() {
                Companion::Token
            } else {
                Companion::Interim
            }),
            Some(_) => Err(Refused::AccessTokenWanted),
            None => {
                let wanted = MeshBroker::of_type(&self.connections[connection].broker)
                    .is_some_and(MeshBroker::wants_access_token);
                // One that was connected to be used later has none yet.
                let has_one = || {
                    let mut tokens = self.access.values();
                    tokens.any(|token| token.connection == connection)
                };
                if wanted && has_one() {
                    return Err(Refused::AccessTokenWanted);
                }
                Ok(Companion::None)
            }
        }
    }

    fn enter(
        &mut self,
        user: &str,
        broker: MeshBroker,
        mint: &mut impl FnMut() -> String,
    ) -> usize {
        let of_type = broker.broker_type();
        let before = self
            .connections
            .iter()
            .rev()
            .find(|connection| connection.user == user && connection.broker == of_type);
        let ids: Vec<_> = before.map_or_else(Vec::new, |before| {
            let ids = before.accounts.iter();
            ids.map(|account| (account.id.clone(), account.mesh_id.clone()))
                .collect()
        });
        let accounts = broker.accounts().iter().enumerate().map(|(at, shown)| {
            let known = ids.get(at).cloned();
            let reconnected = known.is_some();
            let (id, mesh_id) = known.unwrap_or_else(|| (mint(), uuid(&mint())));
            Account {
                id,
                mesh_id,
                token_id: uuid(&mint()),
                name: shown.name.to_owned(),
                fund: shown.fund,
                cash: shown.cash,
                reconnected,
                removed: false,
            }
        });
        let accounts = accounts.collect();
        self.connections.push(Connection {
            user: user.to_owned(),
            broker: of_type.to_owned(),
            accounts,
            ended: false,
        });
        self.connections.len() - 1
    }

    fn issue_refresh(
        &mut self,
        connection: usize,
        expires: Timestamp,
        mint: &mut impl FnMut() -> String,
    ) -> String {
        let value = mint();
        let token = Refresh {
            connection,
            expires,
            spent: false,
        };
        self.refresh.insert(value.clone(), token);
        value
    }

    /// One for each account that is left.
    fn issue_access(
        &mut self,
        connection: usize,
        expires: Timestamp,
        mint: &mut impl FnMut() -> String,
    ) -> Vec<(Account, String)> {
        let accounts = self.connections[connection].accounts.clone();
        let left = accounts.into_iter().enumerate();
        left.filter(|(_, account)| !account.removed)
            .map(|(at, account)| (account, self.issue(connection, Some(at), expires, mint)))
            .collect()
    }

    fn issue(
        &mut self,
        connection: usize,
        account: Option<usize>,
        expires: Timestamp,
        mint: &mut impl FnMut() -> String,
    ) -> String {
        let value = mint();
        let token = Access {
            connection,
            account,
            expires,
        };
        self.access.insert(value.clone(), token);
        value
    }
}

/// What kind of access token came along with a refresh token.
#[derive(PartialEq, Eq)]
enum Companion {
    None,
    Token,
    /// Of the answer that asked for a code.
    Interim,
}

/// Formats the hash of a value as a UUID (RFC 9562 section 5.8).
fn uuid(value: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(value);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = u128::from_be_bytes(bytes);
    let hex = format!("{hex:032x}");
    let part = |from, to| &hex[from..to];
    [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);
    const TERMS: Terms = Terms {
        access_ttl: MINUTE,
        refresh_ttl: DAY,
        rotates: true,
    };

    /// A ledger, and values that count up.
    struct Desk {
        ledger: Ledger,
        terms: Terms,
        code: Option<&'static str>,
        minted: u32,
        now: Timestamp,
    }

    impl Desk {
        fn new() -> Self {
            Self {
                ledger: Ledger::default(),
                terms: TERMS,
                code: None,
                minted: 0,
                now: START,
            }
        }

        fn connect(&mut self, broker: MeshBroker) -> Issued {
            let Self {
                ledger,
                terms,
                minted,
                now,
                ..
            } = self;
            ledger.connect("ada", broker, terms, *now, &mut count(minted))
        }

        fn ask(&mut self, asked: &Asked<'_>) -> Result<Refreshed, Refused> {
            let Self {
                ledger,
                terms,
                code,
                minted,
                now,
            } = self;
            ledger.refresh(asked, *code, terms, *now, &mut count(minted))
        }

        fn refresh(&mut self, refresh: &str) -> Result<Issued, Refused> {
            match self.ask(&asked(refresh))? {
                Refreshed::Succeeded(issued) => Ok(issued),
                _ => panic!("a code is wanted"),
            }
        }

        fn opens(&self, access: &str) -> bool {
            self.ledger.open(access, "sandbox", self.now).is_ok()
        }
    }

    fn count(minted: &mut u32) -> impl FnMut() -> String {
        move || {
            *minted += 1;
            format!("v{minted}")
        }
    }

    fn asked(refresh: &str) -> Asked<'_> {
        Asked {
            broker: "sandbox",
            refresh,
            access: None,
            renew: false,
            code: None,
        }
    }

    #[test]
    fn a_refresh_token_that_comes_twice_ends_its_connection_and_no_other() {
        let mut desk = Desk::new();
        let other = desk.connect(MeshBroker::Northwind);
        let first = desk.connect(MeshBroker::Northwind);
        let old = first.refresh.unwrap();
        let second = desk.refresh(&old).unwrap();
        let ids = |issued: &Issued| -> Vec<_> {
            issued
                .accounts
                .iter()
                .map(|(account, _)| account.id.clone())
                .collect()
        };
        let mut order = ids(&second);
        assert_ne!(order, ids(&other), "nobody may go by the order");
        order.reverse();
        assert_eq!(order, ids(&other), "the same accounts");
        assert!(desk.opens(&second.accounts[0].1));

        assert_eq!(desk.refresh(&old).err(), Some(Refused::Reused));
        assert!(!desk.opens(&second.accounts[0].1));
        assert_eq!(
            desk.refresh(&second.refresh.unwrap()).err(),
            Some(Refused::Dead)
        );
        assert_eq!(desk.refresh(&old).err(), Some(Refused::Dead));
        assert!(desk.opens(&other.accounts[0].1));
        assert_eq!(desk.ledger.connections("ada", "sandbox", desk.now), 1);
    }

    #[test]
    fn only_a_renewal_puts_the_end_off() {
        for rotates in [true, false] {
            let mut desk = Desk::new();
            desk.terms.rotates = rotates;
            let token = desk.connect(MeshBroker::Northwind).refresh.unwrap();
            desk.now = START + MINUTE;
            let plain = desk.refresh(&token).unwrap();
            assert_eq!(plain.refresh_expires_in, DAY - MINUTE);
            assert_eq!(plain.refresh.is_some(), rotates);
            let token = plain.refresh.unwrap_or(token);
            let renewal = Asked {
                renew: true,
                ..asked(&token)
            };
            let Ok(Refreshed::Succeeded(renewed)) = desk.ask(&renewal) else {
                panic!("not renewed");
            };
            assert_eq!(renewed.refresh_expires_in, DAY);
            let renewed = renewed.refresh.unwrap();
            assert_eq!(desk.refresh(&token).err(), Some(Refused::Reused));

            let mut desk = Desk::new();
            let token = desk.connect(MeshBroker::Northwind).refresh.unwrap();
            desk.now = START + DAY;
            assert_eq!(desk.refresh(&token).err(), Some(Refused::Dead));
            assert_ne!(renewed, token);
        }
    }

    #[test]
    fn an_access_token_opens_its_account_until_it_expires() {
        let mut desk = Desk::new();
        let issued = desk.connect(MeshBroker::Northwind);
        for (account, token) in &issued.accounts {
            let (user, opened) = desk.ledger.open(token, "sandbox", START).unwrap();
            assert_eq!((user, &opened.id), ("ada", &account.id));
        }
        let token = &issued.accounts[0].1;
        let refused = |at, of_type| desk.ledger.open(token, of_type, at).err();
        assert_eq!(refused(START, "lakeside"), Some(Refused::OtherType));
        assert_eq!(refused(START + MINUTE, "sandbox"), Some(Refused::Dead));
        assert_eq!(
            desk.ledger.open("?", "sandbox", START).err(),
            Some(Refused::Dead)
        );
        desk.ledger.expire_access(START);
        assert!(!desk.opens(token));
    }

    #[test]
    fn the_last_account_to_be_removed_ends_the_connection() {
        let mut desk = Desk::new();
        let issued = desk.connect(MeshBroker::Northwind);
        let refresh = issued.refresh.unwrap();
        let [(_, one), (_, two)] = &issued.accounts[..] else {
            panic!("not two accounts");
        };
        desk.ledger.remove(one, "sandbox", START).unwrap();
        assert!(!desk.opens(one) && desk.opens(two));
        assert_eq!(
            desk.ledger.remove(one, "sandbox", START),
            Err(Refused::Dead)
        );
        let next = desk.refresh(&refresh).unwrap();
        assert_eq!(next.accounts.len(), 1);

        desk.ledger.remove(two, "sandbox", START).unwrap();
        assert_eq!(
            desk.refresh(&next.refresh.unwrap()).err(),
            Some(Refused::Dead)
        );
    }

    #[test]
    fn a_broker_may_want_the_access_token_too() {
        let mut desk = Desk::new();
        let of_other = desk.connect(MeshBroker::Lakeside).accounts.remove(0).1;
        let issued = desk.connect(MeshBroker::Lakeside);
        let (refresh, access) = (issued.refresh.unwrap(), &issued.accounts[0].1);
        let lakeside = |access| Asked {
            broker: "lakeside",
            access,
            ..asked(&refresh)
        };
        for (access, taken) in [
            (None, Err(Refused::AccessTokenWanted)),
            (Some("?"), Err(Refused::AccessTokenWanted)),
            (Some(&*of_other), Err(Refused::AccessTokenWanted)),
            (Some(&**access), Ok(())),
        ] {
            assert_eq!(desk.ask(&lakeside(access)).map(drop), taken);
        }
        assert_eq!(desk.ask(&asked(&refresh)).err(), Some(Refused::OtherType));

        // One that was connected for later has no access token to bring along.
        let Desk {
            ledger,
            terms,
            minted,
            ..
        } = &mut desk;
        let broker = MeshBroker::Lakeside;
        let refresh = ledger.connect_later("ada", broker, terms, START, &mut count(minted));
        let first = Asked {
            broker: "lakeside",
            ..asked(&refresh)
        };
        assert!(matches!(desk.ask(&first), Ok(Refreshed::Succeeded(_))));
    }

    #[test]
    fn a_code_comes_with_the_token_of_the_answer_that_asked() {
        let mut desk = Desk::new();
        desk.code = Some("314159");
        let issued = desk.connect(MeshBroker::Northwind);
        let (refresh, access) = (issued.refresh.unwrap(), issued.accounts[0].1.clone());
        let Ok(Refreshed::CodeWanted(interim)) = desk.ask(&asked(&refresh)) else {
            panic!("no code is wanted");
        };
        assert!(!desk.opens(&interim));
        for (access, code) in [
            (None, "314159"),
            (Some(&*access), "314159"),
            (Some(&*interim), "271828"),
        ] {
            let second = Asked {
                access,
                code: Some(code),
                ..asked(&refresh)
            };
            assert!(matches!(desk.ask(&second), Ok(Refreshed::CodeRefused)));
        }
        let second = Asked {
            access: Some(&interim),
            code: Some("314159"),
            ..asked(&refresh)
        };
        assert!(matches!(desk.ask(&second), Ok(Refreshed::Succeeded(_))));
    }

    #[test]
    fn a_value_is_hashed_into_a_uuid() {
        let uuid = uuid("x");
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "8");
        assert!(["8", "9", "a", "b"].contains(&&uuid[19..20]));
    }
}
