//! The books of the token service: who granted what, and which tokens stand for it.
//!
//! Nothing here reads a clock, draws a random number or knows of HTTP: the time and the next pair
//! of tokens come in as arguments.

use std::{collections::HashMap, fmt, time::Duration};

/// The one scope this service knows; every grant is for it.
pub(super) const SCOPE: &str = "profile";

/// What the service issues, at the user's consent and again at every refresh.
///
/// `Debug` shows everything but the tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The bearer token for the API.
    pub access_token: String,
    /// The token for the next refresh, which it survives once.
    pub refresh_token: String,
    /// How long the access token lasts from now.
    pub expires_in: Duration,
    /// The scope that was granted.
    pub scope: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("access_token", &"[redacted]")
            .field("refresh_token", &"[redacted]")
            .field("expires_in", &self.expires_in)
            .field("scope", &self.scope)
            .finish()
    }
}

/// Two fresh token values, not yet entered anywhere.
pub(super) struct Pair {
    pub(super) access: String,
    pub(super) refresh: String,
}

/// How long tokens last from the moment of their issue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) access: Duration,
    pub(super) refresh: Duration,
}

/// Why a refresh token was turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Never issued, or its grant has been revoked.
    Unknown,
    /// Too old.
    Expired,
    /// Already exchanged. One of the two who presented it stole it, so its grant is now revoked.
    Reused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct GrantId(u64);

struct AccessToken {
    grant: GrantId,
    expires: Duration,
}

struct RefreshToken {
    grant: GrantId,
    expires: Duration,
    spent: bool,
}

/// Grants and their tokens. A token whose grant is gone is void, so revoking removes the grant
/// alone. Without `Debug`, since the keys are secrets.
pub(super) struct Ledger {
    lifetimes: Lifetimes,
    granted: u64,
    /// The user behind each standing grant.
    grants: HashMap<GrantId, String>,
    access: HashMap<String, AccessToken>,
    refresh: HashMap<String, RefreshToken>,
}

impl Ledger {
    pub(super) fn new(lifetimes: Lifetimes) -> Self {
        Self {
            lifetimes,
            granted: 0,
            grants: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
        }
    }

    /// Enters a new grant by `user`, next to those the user has already.
    pub(super) fn connect(&mut self, user: &str, pair: Pair, now: Duration) -> Issued {
        let grant = GrantId(self.granted);
        self.granted += 1;
        self.grants.insert(grant, user.to_owned());
        self.issue(grant, pair, now)
    }

    /// Exchanges a refresh token for the pair `next`. A token that was exchanged before costs the
    /// grant.
    pub(super) fn refresh(
        &mut self,
        presented: &str,
        next: Pair,
        now: Duration,
    ) -> Result<Issued, Refused> {
        let token = self.refresh.get_mut(presented).ok_or(Refused::Unknown)?;
        let grant = token.grant;
        if !self.grants.contains_key(&grant) {
            return Err(Refused::Unknown);
        }
        if token.spent {
            self.grants.remove(&grant);
            return Err(Refused::Reused);
        }
        if token.expires <= now {
            return Err(Refused::Expired);
        }
        token.spent = true;
        Ok(self.issue(grant, next, now))
    }

    /// The user an access token speaks for, while it is good.
    pub(super) fn user_of(&self, access: &str, now: Duration) -> Option<&str> {
        let token = self.access.get(access)?;
        if token.expires <= now {
            return None;
        }
        self.grants.get(&token.grant).map(String::as_str)
    }

    /// Makes every access token expire no later than `now`.
    pub(super) fn expire_access(&mut self, now: Duration) {
        for token in self.access.values_mut() {
            token.expires = token.expires.min(now);
        }
    }

    /// Revokes the user's access tokens, but no grant.
    pub(super) fn kill_access(&mut self, user: &str) {
        let grants = &self.grants;
        self.access
            .retain(|_, token| grants.get(&token.grant).is_some_and(|owner| owner != user));
    }

    /// Revokes every grant of the user.
    pub(super) fn revoke_user(&mut self, user: &str) {
        self.grants.retain(|_, owner| owner != user);
    }

    /// Revokes the grant behind a token of either kind, good or not; an unknown one is no matter.
    pub(super) fn revoke_token(&mut self, token: &str) {
        let access = self.access.get(token).map(|token| token.grant);
        let refresh = self.refresh.get(token).map(|token| token.grant);
        if let Some(grant) = access.or(refresh) {
            self.grants.remove(&grant);
        }
    }

    fn issue(&mut self, grant: GrantId, pair: Pair, now: Duration) -> Issued {
        let issued = Issued {
            access_token: pair.access.clone(),
            refresh_token: pair.refresh.clone(),
            expires_in: self.lifetimes.access,
            scope: SCOPE.to_owned(),
        };
        self.access.insert(
            pair.access,
            AccessToken {
                grant,
                expires: now.saturating_add(self.lifetimes.access),
            },
        );
        self.refresh.insert(
            pair.refresh,
            RefreshToken {
                grant,
                expires: now.saturating_add(self.lifetimes.refresh),
                spent: false,
            },
        );
        issued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    fn ledger() -> Ledger {
        Ledger::new(Lifetimes {
            access: MINUTE,
            refresh: DAY,
        })
    }

    fn pair(n: u32) -> Pair {
        Pair {
            access: format!("a{n}"),
            refresh: format!("r{n}"),
        }
    }

    #[test]
    fn consent_yields_a_working_pair() {
        let mut ledger = ledger();
        let issued = ledger.connect("ada", pair(1), START);
        assert_eq!(issued.access_token, "a1");
        assert_eq!(issued.refresh_token, "r1");
        assert_eq!(issued.expires_in, MINUTE);
        assert_eq!(ledger.user_of("a1", START), Some("ada"));
        assert_eq!(ledger.user_of("r1", START), None);
    }

    #[test]
    fn a_refresh_rotates_and_leaves_the_old_access_token_alone() {
        let mut ledger = ledger();
        ledger.connect("ada", pair(1), START);
        let issued = ledger.refresh("r1", pair(2), START).unwrap();
        assert_eq!(issued.refresh_token, "r2");
        assert_eq!(ledger.user_of("a1", START), Some("ada"));
        assert_eq!(ledger.user_of("a2", START), Some("ada"));
        ledger.refresh("r2", pair(3), START).unwrap();
    }

    #[test]
    fn reuse_revokes_the_whole_grant_and_no_other() {
        let mut ledger = ledger();
        ledger.connect("ada", pair(1), START);
        ledger.connect("bob", pair(10), START);
        ledger.refresh("r1", pair(2), START).unwrap();

        assert_eq!(
            ledger.refresh("r1", pair(3), START).unwrap_err(),
            Refused::Reused
        );
        for dead in ["a1", "a2", "a3"] {
            assert_eq!(ledger.user_of(dead, START), None);
        }
        for dead in ["r1", "r2", "r3"] {
            assert_eq!(
                ledger.refresh(dead, pair(4), START).unwrap_err(),
                Refused::Unknown
            );
        }
        assert_eq!(ledger.user_of("a10", START), Some("bob"));
        ledger.refresh("r10", pair(11), START).unwrap();
    }

    #[test]
    fn tokens_expire_at_the_end_of_their_lifetime() {
        let mut ledger = ledger();
        ledger.connect("ada", pair(1), START);
        let eve = Duration::from_nanos(1);
        assert_eq!(ledger.user_of("a1", MINUTE - eve), Some("ada"));
        assert_eq!(ledger.user_of("a1", MINUTE), None);
        assert_eq!(
            ledger.refresh("r1", pair(2), DAY).unwrap_err(),
            Refused::Expired
        );
        ledger.refresh("r1", pair(2), DAY - eve).unwrap();
    }

    #[test]
    fn expiring_spares_the_grants_and_later_tokens() {
        let mut ledger = ledger();
        ledger.connect("ada", pair(1), START);
        ledger.expire_access(START);
        assert_eq!(ledger.user_of("a1", START), None);
        ledger.refresh("r1", pair(2), START).unwrap();
        assert_eq!(ledger.user_of("a2", START), Some("ada"));
    }

    #[test]
    fn killing_access_is_for_one_user_and_spares_the_grant() {
        let mut ledger = ledger();
        ledger.connect("ada", pair(1), START);
        ledger.connect("bob", pair(10), START);
        ledger.kill_access("ada");
        assert_eq!(ledger.user_of("a1", START), None);
        assert_eq!(ledger.user_of("a10", START), Some("bob"));
        ledger.refresh("r1", pair(2), START).unwrap();
    }

    #[test]
    fn revoking_a_user_takes_all_of_their_grants() {
        let mut ledger = ledger();
        ledger.connect("ada", pair(1), START);
        ledger.connect("ada", pair(2), START);
        ledger.connect("bob", pair(10), START);
        ledger.revoke_user("ada");
        assert_eq!(ledger.user_of("a1", START), None);
        assert_eq!(
            ledger.refresh("r2", pair(3), START).unwrap_err(),
            Refused::Unknown
        );
        assert_eq!(ledger.user_of("a10", START), Some("bob"));
    }

    #[test]
    fn either_token_revokes_its_grant_even_a_spent_one() {
        for token in ["a1", "r1", "a2", "r2"] {
            let mut ledger = ledger();
            ledger.connect("ada", pair(1), START);
            ledger.connect("ada", pair(10), START);
            ledger.refresh("r1", pair(2), START).unwrap();
            ledger.revoke_token("nobody's");
            assert_eq!(ledger.user_of("a2", START), Some("ada"));
            ledger.revoke_token(token);
            assert_eq!(ledger.user_of("a2", START), None);
            assert_eq!(ledger.user_of("a10", START), Some("ada"));
        }
    }

    #[test]
    fn an_endless_lifetime_does_not_overflow() {
        let mut ledger = Ledger::new(Lifetimes {
            access: Duration::MAX,
            refresh: Duration::MAX,
        });
        ledger.connect("ada", pair(1), DAY);
        assert_eq!(ledger.user_of("a1", DAY + DAY), Some("ada"));
    }

    #[test]
    fn debug_shows_no_token() {
        let shown = format!("{:?}", ledger().connect("ada", pair(1), START));
        assert!(!shown.contains("a1") && !shown.contains("r1"), "{shown}");
    }
}
