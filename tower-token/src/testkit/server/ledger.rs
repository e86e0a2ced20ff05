//! The books of the server: who granted what, and which tokens stand for it.
//!
//! Nothing here reads a clock, draws a random number or knows of HTTP: the time and the next
//! pair of tokens come in as arguments.

use std::collections::HashMap;
use std::time::Duration;

use super::issued::Issued;
use super::jwt::jwt;
use crate::clock::Timestamp;
use crate::provider::Rotation;

/// The one scope this server knows; every grant is for it.
pub(super) const SCOPE: &str = "profile";

/// On which terms tokens are issued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) access_ttl: Duration,
    /// From each issue on.
    pub(super) refresh_ttl: Duration,
    /// From the connect on, whatever is issued later.
    pub(super) absolute_ttl: Option<Duration>,
    pub(super) tell_refresh_ttl: bool,
    pub(super) rotation: Rotation,
    pub(super) jwt: bool,
}

/// Two fresh token values. Without `Debug`, since they are secrets.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) access: String,
    pub(super) refresh: String,
}

/// How a refresh token was taken.
pub(super) struct Taken {
    pub(super) issued: Issued,
    /// It had been exchanged before, and brought the same again.
    pub(super) repeated: bool,
}

/// Why a refresh token was turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Never issued, or its grant has been revoked.
    Unknown,
    /// Too old.
    Expired,
    /// Already exchanged. One of the two who presented it stole it, so its grant is now
    /// revoked (RFC 9700 section 4.14.2).
    Reused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct GrantId(usize);

struct Standing {
    user: String,
    connected: Timestamp,
    revoked: bool,
}

struct AccessToken {
    grant: GrantId,
    expires: Timestamp,
}

struct RefreshToken {
    grant: GrantId,
    expires: Timestamp,
    spent: Option<Spent>,
}

struct Spent {
    at: Timestamp,
    successor: Pair,
}

/// Grants and their tokens. Without `Debug`, since the keys are secrets.
pub(super) struct Ledger {
    terms: Terms,
    grants: Vec<Standing>,
    access: HashMap<String, AccessToken>,
    refresh: HashMap<String, RefreshToken>,
}

impl Ledger {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            grants: Vec::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
        }
    }

    /// Enters a new grant by `user`, next to those the user has already.
    pub(super) fn connect(&mut self, user: &str, pair: Pair, now: Timestamp) -> Issued {
        let grant = GrantId(self.grants.len());
        self.grants.push(Standing {
            user: user.to_owned(),
            connected: now,
            revoked: false,
        });
        let pair = self.enter(grant, pair, now);
        self.issued(&pair, now)
    }

    /// Exchanges a refresh token for the pair `next`. What happens to one that was exchanged
    /// before is the rotation's affair.
    pub(super) fn refresh(
        &mut self,
        presented: &str,
        next: Pair,
        now: Timestamp,
    ) -> Result<Taken, Refused> {
        let token = self.refresh.get(presented).ok_or(Refused::Unknown)?;
        let grant = token.grant;
        if self.grants[grant.0].revoked {
            return Err(Refused::Unknown);
        }
        if let Some(spent) = &token.spent {
            if !self.terms.rotation.allows_again(spent.at, now) {
                self.grants[grant.0].revoked = true;
                return Err(Refused::Reused);
            }
            let mut pair = spent.successor.clone();
            if self.user_of(&pair.access, now).is_none() {
                pair.access = self.enter_access(grant, next.access, now);
            }
            return Ok(Taken {
                issued: self.issued(&pair, now),
                repeated: true,
            });
        }
        if token.expires <= now {
            return Err(Refused::Expired);
        }
        let pair = if self.terms.rotation == Rotation::Reusable {
            let access = next.access;
            let refresh = presented.to_owned();
            self.enter(grant, Pair { access, refresh }, now)
        } else {
            let successor = self.enter(grant, next, now);
            if let Some(token) = self.refresh.get_mut(presented) {
                token.spent = Some(Spent {
                    at: now,
                    successor: successor.clone(),
                });
            }
            successor
        };
        Ok(Taken {
            issued: self.issued(&pair, now),
            repeated: false,
        })
    }

    /// The user an access token speaks for, while it is good.
    pub(super) fn user_of(&self, access: &str, now: Timestamp) -> Option<&str> {
        let token = self
            .access
            .get(access)
            .filter(|token| now < token.expires)?;
        let grant = &self.grants[token.grant.0];
        (!grant.revoked).then_some(&*grant.user)
    }

    /// Whose token it is or was, of either kind.
    pub(super) fn owner_of(&self, token: &str) -> Option<&str> {
        let grant = self.grant_of(token)?;
        Some(&self.grants[grant.0].user)
    }

    /// Whether one of the user's refresh tokens would be exchanged now.
    pub(super) fn is_connected(&self, user: &str, now: Timestamp) -> bool {
        self.refresh.values().any(|token| {
            let grant = &self.grants[token.grant.0];
            grant.user == user && !grant.revoked && token.spent.is_none() && now < token.expires
        })
    }

    /// Makes every access token expire no later than `now`.
    pub(super) fn expire_access(&mut self, now: Timestamp) {
        for token in self.access.values_mut() {
            token.expires = token.expires.min(now);
        }
    }

    /// Makes the user's access tokens void, but no grant.
    pub(super) fn kill_access(&mut self, user: &str) {
        for token in self.access.values_mut() {
            if self.grants[token.grant.0].user == user {
                token.expires = Timestamp::from_unix_millis(0);
            }
        }
    }

    /// Revokes every grant of the user.
    pub(super) fn revoke_user(&mut self, user: &str) {
        for grant in &mut self.grants {
            grant.revoked |= grant.user == user;
        }
    }

    /// Revokes the grant behind a token of either kind, good or not; an unknown one is no
    /// matter.
    pub(super) fn revoke_token(&mut self, token: &str) {
        if let Some(grant) = self.grant_of(token) {
            self.grants[grant.0].revoked = true;
        }
    }

    fn grant_of(&self, token: &str) -> Option<GrantId> {
        let access = self.access.get(token).map(|token| token.grant);
        access.or_else(|| self.refresh.get(token).map(|token| token.grant))
    }

    /// Enters both tokens; a refresh token that is there already begins a new life.
    fn enter(&mut self, grant: GrantId, pair: Pair, now: Timestamp) -> Pair {
        let connected = self.grants[grant.0].connected;
        let end = self.terms.absolute_ttl.map(|ttl| connected + ttl);
        let expires = now + self.terms.refresh_ttl;
        let token = RefreshToken {
            grant,
            expires: end.map_or(expires, |end| expires.min(end)),
            spent: None,
        };
        self.refresh.insert(pair.refresh.clone(), token);
        Pair {
            access: self.enter_access(grant, pair.access, now),
            refresh: pair.refresh,
        }
    }

    fn enter_access(&mut self, grant: GrantId, random: String, now: Timestamp) -> String {
        let expires = now + self.terms.access_ttl;
        let token = if self.terms.jwt {
            jwt(&self.grants[grant.0].user, expires, &random)
        } else {
            random
        };
        self.access
            .insert(token.clone(), AccessToken { grant, expires });
        token
    }

    fn issued(&self, pair: &Pair, now: Timestamp) -> Issued {
        let access = self.access.get(&pair.access);
        let refresh = self.refresh.get(&pair.refresh);
        let left = |expires: Option<Timestamp>| expires.unwrap_or(now).since(now);
        Issued {
            expires_in: left(access.map(|token| token.expires)),
            refresh_token_expires_in: self
                .terms
                .tell_refresh_ttl
                .then(|| left(refresh.map(|token| token.expires))),
            access_token: pair.access.clone(),
            refresh_token: pair.refresh.clone(),
            scope: SCOPE.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);
    const EVE: Duration = Duration::from_millis(1);

    fn terms() -> Terms {
        Terms {
            access_ttl: MINUTE,
            refresh_ttl: DAY,
            absolute_ttl: None,
            tell_refresh_ttl: false,
            rotation: Rotation::Strict,
            jwt: false,
        }
    }

    /// With `ada` connected by `a1` and `r1`.
    fn ledger(terms: Terms) -> Ledger {
        let mut ledger = Ledger::new(terms);
        ledger.connect("ada", pair(1), START);
        ledger
    }

    fn pair(n: u32) -> Pair {
        Pair {
            access: format!("a{n}"),
            refresh: format!("r{n}"),
        }
    }

    /// What the refresh token `r{n}` is answered with; the next pair is `a{next}`, `r{next}`.
    fn refresh(
        ledger: &mut Ledger,
        n: u32,
        next: u32,
        now: Timestamp,
    ) -> Result<(String, String), Refused> {
        let taken = ledger.refresh(&format!("r{n}"), pair(next), now)?;
        Ok((taken.issued.access_token, taken.issued.refresh_token))
    }

    fn answer(access: u32, refresh: u32) -> Result<(String, String), Refused> {
        Ok((format!("a{access}"), format!("r{refresh}")))
    }

    #[test]
    fn consent_yields_a_working_pair() {
        let mut ledger = Ledger::new(terms());
        let issued = ledger.connect("ada", pair(1), START);
        assert_eq!(
            (&*issued.access_token, &*issued.refresh_token),
            ("a1", "r1")
        );
        assert_eq!(issued.expires_in, MINUTE);
        assert_eq!(ledger.user_of("a1", START), Some("ada"));
        assert_eq!(ledger.user_of("r1", START), None);
        assert!(ledger.is_connected("ada", START) && !ledger.is_connected("bob", START));
    }

    #[test]
    fn a_refresh_rotates_and_leaves_the_old_access_token_alone() {
        let mut ledger = ledger(terms());
        assert_eq!(refresh(&mut ledger, 1, 2, START), answer(2, 2));
        assert_eq!(ledger.user_of("a1", START), Some("ada"));
        assert_eq!(ledger.user_of("a2", START), Some("ada"));
        assert_eq!(refresh(&mut ledger, 2, 3, START), answer(3, 3));
    }

    #[test]
    fn reuse_revokes_the_whole_grant_and_no_other() {
        let mut ledger = ledger(terms());
        ledger.connect("bob", pair(10), START);
        refresh(&mut ledger, 1, 2, START).unwrap();

        assert_eq!(refresh(&mut ledger, 1, 3, START), Err(Refused::Reused));
        assert!(!ledger.is_connected("ada", START));
        for n in [1, 2, 3] {
            assert_eq!(ledger.user_of(&format!("a{n}"), START), None);
            assert_eq!(refresh(&mut ledger, n, 4, START), Err(Refused::Unknown));
        }
        assert_eq!(ledger.owner_of("r1"), Some("ada"));
        assert_eq!(ledger.user_of("a10", START), Some("bob"));
        refresh(&mut ledger, 10, 11, START).unwrap();
    }

    #[test]
    fn within_the_grace_period_the_same_is_answered_again() {
        let mut ledger = ledger(Terms {
            rotation: Rotation::Grace(DAY),
            ..terms()
        });
        refresh(&mut ledger, 1, 2, START).unwrap();
        let again = ledger.refresh("r1", pair(3), START + MINUTE - EVE).unwrap();
        assert!(again.repeated);
        assert_eq!(again.issued.access_token, "a2");
        assert_eq!(again.issued.expires_in, EVE);
        // An access token that has expired meanwhile would be of no use to anyone.
        assert_eq!(refresh(&mut ledger, 1, 4, START + MINUTE), answer(4, 2));
        assert!(ledger.is_connected("ada", START + MINUTE));
        assert_eq!(
            refresh(&mut ledger, 1, 5, START + DAY),
            Err(Refused::Reused)
        );
    }

    #[test]
    fn a_reusable_token_stays_and_lives_on() {
        let mut ledger = ledger(Terms {
            rotation: Rotation::Reusable,
            ..terms()
        });
        for n in 2..5 {
            let now = START + (DAY - EVE) * (n - 1);
            assert_eq!(refresh(&mut ledger, 1, n, now), answer(n, 1));
        }
    }

    #[test]
    fn tokens_expire_at_the_end_of_their_lives() {
        let mut ledger = ledger(terms());
        assert_eq!(ledger.user_of("a1", START + MINUTE - EVE), Some("ada"));
        assert_eq!(ledger.user_of("a1", START + MINUTE), None);
        assert_eq!(
            refresh(&mut ledger, 1, 2, START + DAY),
            Err(Refused::Expired)
        );
        assert!(!ledger.is_connected("ada", START + DAY));
        refresh(&mut ledger, 1, 2, START + DAY - EVE).unwrap();
    }

    #[test]
    fn a_grant_ends_at_its_absolute_end_and_the_answers_say_so() {
        let mut ledger = Ledger::new(Terms {
            absolute_ttl: Some(DAY * 2),
            tell_refresh_ttl: true,
            ..terms()
        });
        let left = |issued: Issued| issued.refresh_token_expires_in;
        assert_eq!(left(ledger.connect("ada", pair(1), START)), Some(DAY));
        let now = START + MINUTE;
        let taken = ledger.refresh("r1", pair(2), now).unwrap();
        assert_eq!(left(taken.issued), Some(DAY));
        let now = START + DAY;
        let taken = ledger.refresh("r2", pair(3), now).unwrap();
        assert_eq!(left(taken.issued), Some(DAY));
        let now = START + DAY * 2 - EVE;
        let taken = ledger.refresh("r3", pair(4), now).unwrap();
        assert_eq!(left(taken.issued), Some(EVE));
        assert_eq!(refresh(&mut ledger, 4, 5, now + EVE), Err(Refused::Expired));
    }

    #[test]
    fn what_ends_access_spares_the_grants_and_other_users() {
        let mut ledger = ledger(terms());
        ledger.connect("bob", pair(10), START);
        ledger.kill_access("ada");
        assert_eq!(ledger.user_of("a1", START), None);
        assert_eq!(ledger.user_of("a10", START), Some("bob"));
        ledger.expire_access(START);
        assert_eq!(ledger.user_of("a10", START), None);
        refresh(&mut ledger, 1, 2, START).unwrap();
        assert_eq!(ledger.user_of("a2", START), Some("ada"));
    }

    #[test]
    fn revoking_a_user_takes_all_of_their_grants() {
        let mut ledger = ledger(terms());
        ledger.connect("ada", pair(2), START);
        ledger.connect("bob", pair(10), START);
        ledger.revoke_user("ada");
        assert_eq!(ledger.user_of("a1", START), None);
        assert_eq!(refresh(&mut ledger, 2, 3, START), Err(Refused::Unknown));
        assert_eq!(ledger.user_of("a10", START), Some("bob"));
    }

    #[test]
    fn either_token_revokes_its_grant_even_a_spent_one() {
        for token in ["a1", "r1", "a2", "r2"] {
            let mut ledger = ledger(terms());
            ledger.connect("ada", pair(10), START);
            refresh(&mut ledger, 1, 2, START).unwrap();
            ledger.revoke_token("nobody's");
            assert_eq!(ledger.user_of("a2", START), Some("ada"));
            ledger.revoke_token(token);
            assert_eq!(ledger.user_of("a2", START), None);
            assert_eq!(ledger.user_of("a10", START), Some("ada"));
            assert!(ledger.is_connected("ada", START));
        }
    }

    #[test]
    fn an_endless_life_does_not_overflow() {
        let mut ledger = ledger(Terms {
            access_ttl: Duration::MAX,
            refresh_ttl: Duration::MAX,
            absolute_ttl: Some(Duration::MAX),
            ..terms()
        });
        assert_eq!(ledger.user_of("a1", START + DAY), Some("ada"));
        refresh(&mut ledger, 1, 2, START + DAY).unwrap();
    }
}
