//! Telling a token service that a user is gone (RFC 7009): at once, and then for a week.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::connect::MAX_CONFLICTS;
use super::slot::{Hold, Slot};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::EventKind;
use crate::grant::{GrantState, Record, Revocation};
use crate::provider::Verdict;
use crate::rt::timeout;
use crate::secret::Secret;
use crate::store::{Expected, SaveOutcome};

/// When a revocation that failed is tried again: after this long, doubling.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(3_600);
/// How long it is tried before it is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(7 * 24 * 3_600);
/// No revocation takes longer.
const LONGEST: Duration = Duration::from_secs(10);
/// After this no other token of the grant is begun with: a claim of its row lasts a minute.
const LONGEST_IN_ALL: Duration = Duration::from_secs(40);
/// Tokens of flights that were under way join those of the grant.
const MAX_TOKENS: usize = 128;

/// Whether somebody is at work on the revocations of a grant.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revoking {
    #[default]
    Idle,
    UnderWay,
    /// It is, and was asked for since.
    Again,
}

/// Leave to revoke what the mark of a grant holds. There is one at a time: a token that is
/// replaced when it is used must not be sent twice at once.
struct Turn {
    hold: Hold,
    has_ended: bool,
}

impl Turn {
    /// None where there is one: it is asked to go on.
    fn take(hold: Hold) -> Option<Self> {
        let mut work = hold.work();
        if work.revoking() != Revoking::Idle {
            work.busy().revoking = Revoking::Again;
            return None;
        }
        work.busy().revoking = Revoking::UnderWay;
        drop(work);
        Some(Self {
            hold,
            has_ended: false,
        })
    }

    /// The same, if it was asked for since it was taken.
    fn again(mut self) -> Option<Self> {
        let mut work = self.hold.work();
        if work.revoking() == Revoking::Again {
            work.busy().revoking = Revoking::UnderWay;
            drop(work);
            return Some(self);
        }
        work.busy().revoking = Revoking::Idle;
        drop(work);
        self.has_ended = true;
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.has_ended {
            self.hold.work().busy().revoking = Revoking::Idle;
        }
    }
}

impl Shared {
    /// Revokes what the mark in the row holds, if that is to be done. Nobody waits for it,
    /// a shutdown included: what is not done now is due later.
    pub(super) fn revoke_behind(self: &Arc<Self>, slot: &Arc<Slot>) {
        if slot.provider().revoker.is_none() || self.is_shut_down() {
            return;
        }
        let Some(mut turn) = slot.hold().and_then(Turn::take) else {
            return;
        };
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            loop {
                // It is due again if this fails.
                let _ = shared.revoke(&turn.hold).await;
                match turn.again() {
                    Some(again) => turn = again,
                    None => return,
                }
            }
        });
    }

    /// Asks the token service once, and notes in the mark how that went.
    async fn revoke(&self, hold: &Hold) -> Result<(), Error> {
        // Before the look: a user who is back by now must not lose the new tokens.
        let Some(_place) = self.gate(hold)?.revocation() else {
            return Ok(());
        };
        let Some(mut found) = self.load(hold).await? else {
            return Ok(());
        };
        let Some((_, left)) = to_revoke(&found.record) else {
            return Ok(());
        };
        let asked = left.tokens.clone();
        let refused = self.ask(hold, &asked).await;
        let mut kind = refused.is_empty().then_some(EventKind::Revoked);
        for _ in 0..MAX_CONFLICTS {
            let Some((since, left)) = to_revoke(&found.record) else {
                // Somebody has done the same, or the user is back.
                break;
            };
            // What has joined it meanwhile is for the next try.
            let known = |token: &&Secret| asked.contains(token) || refused.contains(token);
            let joined = left.tokens.iter().filter(|token| !known(token));
            let tokens: Vec<_> = refused.iter().chain(joined).cloned().collect();
            let done = tokens.is_empty();
            let next = retried(left.attempts, tokens, since, self.clock.now());
            kind = match &next {
                _ if done => Some(EventKind::Revoked),
                None => Some(EventKind::RevocationFailed),
                Some(_) => None,
            };
            let record = Record {
                revocation: next,
                sequence: found.record.sequence + 1,
                ..found.record
            };
            let expected = Expected::Version(found.version);
            if let SaveOutcome::Saved(_) = self.save(hold, &record, expected).await? {
                break;
            }
            // Sealed anew, or joined by what a flight has brought: what is left of the tokens
            // that were asked for is known nowhere else.
            match self.load_to_settle(hold).await? {
                Some(changed) => found = changed,
                None => break,
            }
        }
        if let Some(kind) = kind {
            self.emit(hold, kind);
        }
        Ok(())
    }

    /// Asks for each of `tokens` to be revoked; those that were not.
    async fn ask(&self, slot: &Slot, tokens: &[Secret]) -> Vec<Secret> {
        let provider = slot.provider();
        let Some(revoker) = &provider.revoker else {
            return tokens.to_vec();
        };
        let limit = provider.policy.exchange_timeout.min(LONGEST);
        let begun = self.clock.now();
        let mut refused = Vec::new();
        for token in tokens {
            if self.clock.now().since(begun) >= LONGEST_IN_ALL {
                refused.push(token.clone());
                continue;
            }
            match timeout(limit, revoker.revoke(token)).await {
                Ok(Ok(())) => {}
                Ok(Err(mut error)) => match error.take_continuation() {
                    Some(instead) => refused.push(instead),
                    // It is no good any more, which is all that was wanted.
                    None if error.verdict() == Verdict::Dead => {}
                    None => refused.push(token.clone()),
                },
                Err(_) => refused.push(token.clone()),
            }
        }
        refused
    }
}

/// Since when a mark holds tokens that are to be revoked, and which.
fn to_revoke(record: &Record) -> Option<(Timestamp, &Revocation)> {
    match (record.grant.state, &record.revocation) {
        (GrantState::Disconnected { since }, Some(left)) => Some((since, left)),
        _ => None,
    }
}

/// What is left after another try that was `refused` for some, or nothing if it is done or
/// given up.
fn retried(
    attempts: u32,
    refused: Vec<Secret>,
    since: Timestamp,
    now: Timestamp,
) -> Option<Revocation> {
    if refused.is_empty() || now.since(since) >= GIVEN_UP_AFTER {
        return None;
    }
    let delay = FIRST_RETRY * 2u32.saturating_pow(attempts.min(8));
    Some(Revocation {
        tokens: refused,
        attempts: attempts.saturating_add(1),
        next: now + delay.min(LAST_RETRY),
    })
}

/// Adds `tokens` to what is to be revoked. False if they are there already, or there are too
/// many.
pub(super) fn add(record: &mut Record, tokens: &[Secret], now: Timestamp) -> bool {
    let left = record.revocation.as_ref();
    let there = left.map_or(&[][..], |left| &left.tokens);
    let room = MAX_TOKENS.saturating_sub(there.len());
    let new = tokens.iter().filter(|token| !there.contains(token));
    let new: Vec<Secret> = new.take(room).cloned().collect();
    if new.is_empty() {
        return false;
    }
    let left = record.revocation.get_or_insert_with(|| Revocation {
        tokens: Vec::new(),
        attempts: 0,
        next: now + FIRST_RETRY,
    });
    left.tokens.extend(new);
    record.sequence += 1;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_less_and_less_often_and_after_a_week_no_more() {
        let since = Timestamp::from_unix_millis(0);
        let (mut now, mut tries) = (since, 0);
        let mut left = Revocation {
            tokens: vec![Secret::from("r")],
            attempts: 0,
            next: since,
        };
        while let Some(next) = retried(left.attempts, left.tokens.clone(), since, now) {
            let delay = next.next.since(now);
            assert!(delay >= FIRST_RETRY && delay <= LAST_RETRY);
            (now, left, tries) = (next.next, next, tries + 1);
        }
        assert!(now.since(since) >= GIVEN_UP_AFTER);
        assert!((168..=180).contains(&tries), "{tries}");
    }
}
