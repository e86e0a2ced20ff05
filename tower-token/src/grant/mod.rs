//! What is kept of one user's authorization at one provider.

mod access_token;
mod account;
mod record;
mod response;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

pub(crate) use self::access_token::jwt_expiry;
pub use self::access_token::{AccessToken, Serial};
pub use self::account::{Account, AccountToken};
pub(crate) use self::record::{ExchangeId, Intent, Owner, Record, Revocation};
pub use self::response::{InvalidTokenResponse, TokenResponse};
pub(crate) use self::response::{seconds, take_text};
pub use self::state::{GrantState, ReauthReason};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::key::GrantKey;
use crate::secret::Secret;

/// One user's authorization at one provider, as it is stored.
///
/// A grant has one refresh token. `Debug` shows times and states, no secret and no
/// user id.
#[derive(Clone)]
pub struct Grant {
    pub(crate) key: GrantKey,
    pub(crate) epoch: u64,
    pub(crate) state: GrantState,
    /// How many access tokens were issued in this epoch.
    pub(crate) issues: u64,
    /// The newest. Where there are accounts it is that of one of them.
    pub(crate) access_token: Option<AccessToken>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) refresh_token: Option<Secret>,
    /// Whether an answer of this epoch brought another refresh token than it was asked with.
    pub(crate) was_rotated: bool,
    pub(crate) refresh_expires_at: Option<Timestamp>,
    /// When the refresh token ends for good: renewing it does not put that off.
    pub(crate) reconnect_by: Option<Timestamp>,
    pub(crate) id_token: Option<Secret>,
    /// What the service wants back when its user has done what it asked for.
    pub(crate) continuation: Option<Secret>,
    pub(crate) scope: Option<String>,
    pub(crate) connected_at: Timestamp,
    pub(crate) refreshed_at: Timestamp,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, Secret>,
}

/// A lifetime outside of these is taken for a slip of the token service.
const LIFETIME: (Duration, Duration) = (
    Duration::from_secs(1),
    Duration::from_secs(10 * 365 * 24 * 3_600),
);

/// More accounts than this are not kept in one grant.
const MAX_ACCOUNTS: usize = 64;

impl Grant {
    /// A grant as it is when its user has just connected.
    pub(crate) fn connected(
        key: GrantKey,
        epoch: u64,
        response: TokenResponse,
        now: Timestamp,
        default_lifetime: Option<Duration>,
    ) -> Result<Self, Error> {
        // What the caller says of the time can only make the token older.
        let started = response.obtained_at.map_or(now, |at| at.min(now));
        let accounts = &response.accounts;
        if accounts.len() > MAX_ACCOUNTS || !accounts.iter().all(AccountToken::is_bounded) {
            return Err(Error::new(
                ErrorKind::InvalidResponse,
                "the token response has more accounts than one grant can keep, or an id or name \
                 that is too long: 64 of each 1024 bytes are the limit",
            ));
        }
        let brings_token = response.access_token.is_some() || !response.accounts.is_empty();
        let brings_refresh_token = response.refresh_token.is_some();
        let mut grant = Self::empty(key, epoch, GrantState::Active, now);
        match grant.apply(response, started, default_lifetime) {
            // Its first access token is asked for when it is needed.
            Err(_) if !brings_token && brings_refresh_token => Ok(grant),
            applied => applied.map(|()| grant),
        }
    }

    /// Takes over what a token service answered to an exchange begun at `started`,
    /// and carries forward what it left out (RFC 6749 section 6).
    ///
    /// An error says that the access token cannot be used. All else is taken over then,
    /// too: the old refresh token may be spent.
    pub(crate) fn apply(
        &mut self,
        response: TokenResponse,
        started: Timestamp,
        default_lifetime: Option<Duration>,
    ) -> Result<(), Error> {
        let clamp = |life: Duration| started + life.clamp(LIFETIME.0, LIFETIME.1);
        let mut serial = self.serial();
        serial.issue += 1;
        let issue = |token: &Secret| {
            let from_jwt = || jwt_expiry(token.expose()).map(|exp| exp.since(started));
            let life = response.expires_in.or_else(from_jwt).or(default_lifetime);
            AccessToken::new(token.expose(), serial, started, life.map(clamp))
        };
        let mut access_token = response.access_token.as_ref().map(issue);
        for answer in &response.accounts {
            let token = issue(&answer.access_token);
            if let Ok(token) = &token
                && !self.take_account(answer, token.clone())
            {
                continue;
            }
            // The first that can be used stands for all.
            access_token = match access_token {
                Some(Ok(first)) => Some(Ok(first)),
                _ => Some(token),
            };
        }
        if let Some(life) = response.refresh_token_expires_in {
            self.refresh_expires_at = Some(clamp(life));
        } else if response.refresh_token.is_some() && response.refresh_token != self.refresh_token {
            // A new refresh token of unstated life: the old one's end does not hold for it.
            self.refresh_expires_at = None;
        }
        let old = self.refresh_token.as_ref();
        self.was_rotated |= old.is_some()
            && response
                .refresh_token
                .as_ref()
                .is_some_and(|new| Some(new) != old);
        self.refresh_token = response.refresh_token.or_else(|| self.refresh_token.take());
        self.id_token = response.id_token.or_else(|| self.id_token.take());
        self.scope = response.scope.or_else(|| self.scope.take());
        self.metadata.extend(response.metadata);
        self.secrets.extend(response.secrets);
        let access_token = access_token.unwrap_or_else(|| Err(no_access_token()));
        self.access_token = Some(access_token?);
        self.continuation = None;
        self.issues = serial.issue;
        self.refreshed_at = started;
        Ok(())
    }

    /// The account that an answer names gets its token. An absent one keeps what it has. False
    /// if there is no room for one more.
    fn take_account(&mut self, answer: &AccountToken, token: AccessToken) -> bool {
        let known = self
            .accounts
            .iter()
            .position(|account| account.id() == answer.id);
        if let Some(known) = known {
            self.accounts[known].update(answer, token);
            return true;
        }
        if self.accounts.len() >= MAX_ACCOUNTS {
            // One that answers have left out for long enough makes room.
            let now = token.started();
            let spent = self
                .accounts
                .iter()
                .position(|account| account.is_spent(now));
            spent.map(|spent| self.accounts.remove(spent));
        }
        let fits = answer.is_bounded() && self.accounts.len() < MAX_ACCOUNTS;
        if fits {
            self.accounts.push(Account::new(
                answer.id.clone(),
                answer.name.clone(),
                answer.token_id.clone(),
                Some(token),
            ));
        }
        fits
    }

    /// Wipes every secret and leaves the mark of a disconnect.
    pub(crate) fn disconnected(key: GrantKey, epoch: u64, now: Timestamp) -> Self {
        Self::empty(key, epoch, GrantState::Disconnected { since: now }, now)
    }

    fn empty(key: GrantKey, epoch: u64, state: GrantState, now: Timestamp) -> Self {
        Self {
            key,
            epoch,
            state,
            issues: 0,
            access_token: None,
            accounts: Vec::new(),
            refresh_token: None,
            was_rotated: false,
            refresh_expires_at: None,
            reconnect_by: None,
            id_token: None,
            continuation: None,
            scope: None,
            connected_at: now,
            refreshed_at: now,
            metadata: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// Marks a grant that can no longer be refreshed: refresh and id token are wiped, the
    /// access token serves on, metadata stays.
    pub(crate) fn give_up(&mut self, reason: ReauthReason, now: Timestamp) {
        self.state = GrantState::NeedsReauth { since: now, reason };
        self.refresh_token = None;
        self.refresh_expires_at = None;
        self.reconnect_by = None;
        self.id_token = None;
        self.continuation = None;
        self.secrets.clear();
    }

    /// Wipes the access tokens, too.
    pub(crate) fn wipe_access_tokens(&mut self) {
        self.access_token = None;
        for account in &mut self.accounts {
            account.wipe();
        }
    }

    /// The order of this grant's newest token; a disconnect orders after every
    /// token of the epochs before it.
    pub(crate) fn serial(&self) -> Serial {
        Serial {
            epoch: self.epoch,
            issue: self.issues,
        }
    }

    /// The token to revoke when the user leaves: the one that the most depends on.
    pub(crate) fn revocable(&self) -> Option<Secret> {
        let access = || Some(Secret::from(self.access_token.as_ref()?.expose()));
        self.refresh_token.clone().or_else(access)
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        matches!(self.state, GrantState::Disconnected { .. })
    }

    /// Whose authorization this is.
    pub fn key(&self) -> &GrantKey {
        &self.key
    }

    /// Whether it can be used.
    pub fn state(&self) -> GrantState {
        self.state
    }

    /// When the user connected.
    pub fn connected_at(&self) -> Timestamp {
        self.connected_at
    }

    /// When a token was last issued.
    pub fn refreshed_at(&self) -> Timestamp {
        self.refreshed_at
    }

    /// The accounts that it gives access to, where its service tells them apart.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The newest access token as it stands in the store, perhaps expired, for a
    /// [`Refresher`](crate::Refresher) whose service wants it back. To use one ask
    /// [`TokenManager::token`](crate::TokenManager::token).
    pub fn access_token(&self) -> Option<&AccessToken> {
        self.access_token.as_ref()
    }

    /// The refresh token, for a [`Revoker`](crate::Revoker) that needs it.
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    /// When the access token expires, if that is known.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.access_token.as_ref().and_then(AccessToken::expires_at)
    }

    /// When the refresh token expires, if the provider said so.
    pub fn refresh_expires_at(&self) -> Option<Timestamp> {
        self.refresh_expires_at
    }

    /// When the user has to connect again at the latest: the refresh token ends then, and
    /// its service does not put that off.
    pub fn reconnect_by(&self) -> Option<Timestamp> {
        self.reconnect_by
    }

    /// Whether there is a refresh token.
    pub fn can_refresh(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// The scope that was granted, if the provider said so (RFC 6749 section 3.3).
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// The id token of the sign-in (OpenID Connect), if there was one.
    pub fn id_token(&self) -> Option<&Secret> {
        self.id_token.as_ref()
    }

    /// What was given as [`TokenResponse::secret`] under this name.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }

    /// What the provider or you added, such as the name of the connected account.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

fn no_access_token() -> Error {
    Error::new(
        ErrorKind::InvalidResponse,
        "the token response has no access token",
    )
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("key", &self.key)
            .field("epoch", &self.epoch)
            .field("state", &self.state)
            .field("access_token", &self.access_token)
            .field("accounts", &self.accounts)
            .field("refresh_token", &self.refresh_token)
            .field("refresh_expires_at", &self.refresh_expires_at)
            .field("reconnect_by", &self.reconnect_by)
            .field("id_token", &self.id_token)
            .field("connected_at", &self.connected_at)
            .field("refreshed_at", &self.refreshed_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn connect(response: TokenResponse, default: Option<Duration>) -> Grant {
        Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, default).unwrap()
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn expiry_is_stated_else_read_from_a_jwt_else_the_providers_else_none() {
        // {"exp":2000}
        let jwt = "e30.eyJleHAiOjIwMDB9.c2ln";
        let expiry = |response, default| connect(response, default).expires_at();
        let ms = |ms| Some(Timestamp::from_unix_millis(ms));
        assert_eq!(
            expiry(TokenResponse::new(jwt).expires_in(secs(60)), None),
            ms(1_060_000)
        );
        assert_eq!(
            expiry(TokenResponse::new(jwt), Some(secs(9))),
            ms(2_000_000)
        );
        assert_eq!(
            expiry(TokenResponse::new("opaque"), Some(secs(9))),
            ms(1_009_000)
        );
        assert_eq!(expiry(TokenResponse::new("opaque"), None), None);
    }

    #[test]
    fn lifetimes_are_clamped() {
        let life = |life| {
            connect(TokenResponse::new("t").expires_in(life), None)
                .expires_at()
                .unwrap()
                .since(NOW)
        };
        assert_eq!(life(Duration::from_millis(1)), secs(1));
        assert_eq!(life(Duration::MAX), LIFETIME.1);
    }

    #[test]
    fn obtained_at_can_only_shorten() {
        let life = |at| {
            let response = TokenResponse::new("t").expires_in(secs(60)).obtained_at(at);
            connect(response, None).expires_at().unwrap().since(NOW)
        };
        assert_eq!(life(NOW - secs(20)), secs(40));
        assert_eq!(life(NOW + secs(20)), secs(60));
    }

    #[test]
    fn what_an_answer_leaves_out_is_carried_forward() {
        let mut grant = connect(
            TokenResponse::new("t1")
                .refresh_token("r1")
                .scope("a b")
                .id_token("i1")
                .refresh_token_expires_in(secs(900)),
            None,
        );
        grant
            .apply(TokenResponse::new("t2"), NOW + secs(5), None)
            .unwrap();
        assert_eq!(grant.refresh_token, Some(Secret::from("r1")));
        assert_eq!(grant.id_token, Some(Secret::from("i1")));
        assert_eq!(grant.scope(), Some("a b"));
        assert_eq!(grant.refresh_expires_at(), Some(NOW + secs(900)));
        assert_eq!(grant.serial(), Serial { epoch: 1, issue: 2 });

        grant
            .apply(
                TokenResponse::new("t3").refresh_token("r2"),
                NOW + secs(9),
                None,
            )
            .unwrap();
        assert_eq!(grant.refresh_token, Some(Secret::from("r2")));
        assert_eq!(grant.refresh_expires_at(), None);
    }

    fn token_of(grant: &Grant, id: &str) -> Option<(String, u64)> {
        let account = grant.accounts().iter().find(|account| account.id() == id)?;
        let token = account.access_token()?;
        Some((token.expose().to_owned(), token.serial().issue))
    }

    #[test]
    fn an_absent_account_keeps_its_token_and_a_new_one_joins() {
        let of = |id: &str, token: &str| AccountToken::new(id, token);
        let mut grant = connect(
            TokenResponse::for_accounts([of("a", "a1").name("Savings"), of("b", "b1")])
                .refresh_token("r1"),
            None,
        );
        let answer = TokenResponse::for_accounts([of("c", "c2"), of("a", "a2")]);
        grant.apply(answer, NOW + secs(5), None).unwrap();
        let has = |text: &str, issue| Some((text.to_owned(), issue));
        assert_eq!(token_of(&grant, "a"), has("a2", 2));
        assert_eq!(token_of(&grant, "b"), has("b1", 1));
        assert_eq!(token_of(&grant, "c"), has("c2", 2));
        assert_eq!(grant.accounts()[0].name(), Some("Savings"));
        assert_eq!(grant.serial().issue, 2);
        assert_eq!(grant.access_token().unwrap().expose(), "c2");
    }

    #[test]
    fn the_end_of_a_refresh_token_that_is_answered_unchanged_still_holds() {
        let first = TokenResponse::new("t1").refresh_token("r1");
        let mut grant = connect(first.refresh_token_expires_in(secs(900)), None);
        let same = TokenResponse::new("t2").refresh_token("r1");
        grant.apply(same, NOW, None).unwrap();
        assert_eq!(grant.refresh_expires_at(), Some(NOW + secs(900)));
    }

    #[test]
    fn what_a_service_wanted_back_is_forgotten_with_its_answer() {
        let mut grant = connect(TokenResponse::new("t1").refresh_token("r1"), None);
        grant.continuation = Some(Secret::from("half"));
        grant.apply(TokenResponse::new("t2"), NOW, None).unwrap();
        assert_eq!(grant.continuation, None);
    }

    #[test]
    fn wiping_takes_the_tokens_of_all_accounts_and_leaves_their_names() {
        let account = AccountToken::new("a", "a1").name("Savings");
        let mut grant = connect(TokenResponse::for_accounts([account]), None);
        grant.wipe_access_tokens();
        assert!(grant.access_token().is_none());
        assert!(grant.accounts()[0].access_token().is_none());
        assert_eq!(grant.accounts()[0].name(), Some("Savings"));
    }

    #[test]
    fn an_unusable_token_of_one_account_costs_no_other() {
        let mut grant = connect(
            TokenResponse::for_accounts([
                AccountToken::new("a", "a1"),
                AccountToken::new("b", "b1"),
            ]),
            None,
        );
        let answer = TokenResponse::for_accounts([
            AccountToken::new("a", "a 2"),
            AccountToken::new("b", "b2"),
        ]);
        grant.apply(answer, NOW, None).unwrap();
        assert_eq!(token_of(&grant, "a").unwrap().0, "a1");
        assert_eq!(token_of(&grant, "b").unwrap().0, "b2");
    }

    #[test]
    fn a_grant_can_begin_without_an_access_token_and_a_refresh_cannot_end_so() {
        let mut grant = connect(TokenResponse::refresh_token_only("r1"), None);
        assert!(grant.access_token().is_none() && grant.can_refresh());
        assert_eq!(grant.serial(), Serial { epoch: 1, issue: 0 });
        grant.apply(TokenResponse::new("t1"), NOW, None).unwrap();

        let answer = TokenResponse::refresh_token_only("r2");
        assert!(grant.apply(answer, NOW, None).is_err());
        assert_eq!(grant.refresh_token, Some(Secret::from("r2")));
        assert_eq!(grant.access_token().unwrap().expose(), "t1");
        assert_eq!(grant.serial(), Serial { epoch: 1, issue: 1 });
    }

    #[test]
    fn a_grant_keeps_no_more_accounts_than_it_may() {
        let many = |n: usize| {
            let account = |n| AccountToken::new(format!("a{n}"), "t");
            TokenResponse::for_accounts((0..n).map(account))
        };
        let key = || GrantKey::new("p", "s");
        assert!(Grant::connected(key(), 1, many(MAX_ACCOUNTS + 1), NOW, None).is_err());
        let mut grant = connect(many(MAX_ACCOUNTS), None);
        grant.apply(many(MAX_ACCOUNTS + 1), NOW, None).unwrap();
        assert_eq!(grant.accounts().len(), MAX_ACCOUNTS);
        // One whose token has run out makes room.
        let mut grant = connect(many(MAX_ACCOUNTS).expires_in(secs(60)), None);
        let new = || TokenResponse::for_accounts([AccountToken::new("new", "n")]);
        grant.apply(new(), NOW + secs(59), None).unwrap_err();
        grant.apply(new(), NOW + secs(60), None).unwrap();
        assert_eq!(grant.accounts().len(), MAX_ACCOUNTS);
        assert_eq!(token_of(&grant, "new").unwrap().0, "n");
        let long = AccountToken::new("x".repeat(1_025), "t");
        assert!(
            Grant::connected(key(), 1, TokenResponse::for_accounts([long]), NOW, None).is_err()
        );
    }
}
