//! Telling a token service that a user is gone (RFC 7009): at once, and then for a week.

use std::sync::Arc;
use std::time::Duration;

use super::slot::{Hold, Slot};
use super::{Opened, Shared};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::EventKind;
use crate::grant::{GrantState, Record, Revocation};
use crate::provider::Verdict;
use crate::rt::timeout;
use crate::secret::Secret;
use crate::store::Expected;

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

impl Shared {
    /// Revokes what the mark in the row holds, if that is to be done. Nobody waits for it,
    /// a shutdown included: what is not done now is due later.
    pub(super) fn revoke_behind(self: &Arc<Self>, slot: &Arc<Slot>) {
        if slot.provider().revoker.is_none() || self.is_shut_down() {
            return;
        }
        let Some(hold) = slot.hold() else {
            return;
        };
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            // It is due again if this fails.
            let _ = shared.revoke(&hold).await;
        });
    }

    /// Asks the token service once, and notes in the mark how that went.
    async fn revoke(&self, hold: &Hold) -> Result<(), Error> {
        // Before the look: a user who is back by now must not lose the new tokens.
        let Some(_place) = self.gate(hold)?.revocation() else {
            return Ok(());
        };
        let Some(Opened { version, record }) = self.load(hold).await? else {
            return Ok(());
        };
        let GrantState::Disconnected { since } = record.grant.state else {
            return Ok(());
        };
        let Some(left) = &record.revocation else {
            return Ok(());
        };
        let refused = self.ask(hold, &left.tokens).await;
        let (done, now) = (refused.is_empty(), self.clock.now());
        let next = retried(left.attempts, refused, since, now);
        let kind = match &next {
            _ if done => Some(EventKind::Revoked),
            None => Some(EventKind::RevocationFailed),
            Some(_) => None,
        };
        let record = Record {
            revocation: next,
            sequence: record.sequence + 1,
            ..record
        };
        // If somebody was faster they have done the same, or the user is back.
        let expected = Expected::Version(version);
        self.save(hold, &record, expected).await?;
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
