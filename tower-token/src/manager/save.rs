//! Keeping what an exchange brought: the one write that must not get lost.

use std::sync::Arc;
use std::time::Duration;

use super::disconnect::is_told;
use super::refresh::{MAX_CONFLICTS, Outcome};
use super::slot::Slot;
use super::state::not_connected;
use super::upkeep::reconnect_by;
use super::{Call, Opened, Shared, opened, revoke};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{Grant, GrantState, Intent, Record, TokenResponse};
use crate::rt::timeout;
use crate::secret::Secret;
use crate::store::{Expected, Found, SaveOutcome, Sent, Version};

/// Tokens that were issued and are not stored yet.
pub(super) struct Save {
    intent: Intent,
    /// The grant that was refreshed.
    refreshed: Grant,
    response: TokenResponse,
    started: Timestamp,
    /// How long the exchange took.
    took: Duration,
    /// Where the next try starts from, after a failed one.
    base: Option<(Record, Version)>,
    /// How long a call to the store may take.
    limit: Duration,
    /// By all tries, each of which may be written at any time.
    sent: Sent,
}

pub(super) enum Attempt {
    Settled(Outcome),
    /// The store failed. The tokens are served from memory meanwhile.
    Failed(Box<Save>),
}

/// What a write may take at first, and so may the look at what became of it: together less than
/// callers wait. Longer with each try, since a store may be that slow.
const FIRST_LIMIT: Duration = Duration::from_secs(4);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

impl Save {
    pub(super) fn new(
        intent: Intent,
        refreshed: &Grant,
        response: TokenResponse,
        started: Timestamp,
        took: Duration,
    ) -> Self {
        Self {
            intent,
            refreshed: refreshed.clone(),
            response,
            started,
            took,
            base: None,
            limit: FIRST_LIMIT,
            sent: Sent::default(),
        }
    }

    /// Writes the tokens over `version`, and publishes them once they are stored.
    pub(super) async fn attempt(
        self,
        shared: &Arc<Shared>,
        slot: &Arc<Slot>,
        mut record: Record,
        mut version: Version,
    ) -> Attempt {
        for _ in 0..MAX_CONFLICTS {
            if record.grant.is_disconnected() {
                return self.leave_behind(shared, slot, record, version).await;
            }
            let was_known = record.grant.reconnect_by;
            let (next, unusable) = self.applied_to(&record, slot);
            let found = match self.saved(shared, slot, &next, version).await {
                Ok(SaveOutcome::Saved(_)) => {
                    return Attempt::Settled(self.stored(shared, slot, &next, unusable, was_known));
                }
                // Only the row knows what happened.
                Ok(SaveOutcome::Conflict | SaveOutcome::Unknown) => {
                    match self.found(shared, slot).await {
                        Ok(Some(orphan)) if orphan.is_orphan => {
                            if !orphan.is_of(&self.sent) {
                                // It may hide a disconnect. Whoever sent it seals it again.
                                return self.held(slot, &next, record, version);
                            }
                            version = orphan.version;
                            continue;
                        }
                        found => found.and_then(opened),
                    }
                }
                Err(error) => Err(error),
            };
            let found = match found {
                Ok(found) => found,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::RolledBack) =>
                {
                    // Trying again will not mend the row; a connect will. What it hides may
                    // be a disconnect, so it is not written over.
                    slot.publish_unsaved(&next);
                    shared.emit(slot, EventKind::Lost);
                    return Attempt::Settled(error.into());
                }
                Err(_) => return self.held(slot, &next, record, version),
            };
            match (settle(found.as_ref(), &self.intent, &record), found) {
                (Settle::Stored, Some(found)) => {
                    let outcome = self.stored(shared, slot, &found.record, unusable, was_known);
                    return Attempt::Settled(outcome);
                }
                (Settle::SaveAgain, Some(found)) => {
                    let spent = record.grant.refresh_token.take();
                    record = found.record;
                    // Wiped by a verdict, it is carried forward if no other was answered.
                    record.grant.refresh_token = record.grant.refresh_token.or(spent);
                    version = found.version;
                }
                (Settle::Adopt, Some(found)) => {
                    let serial = found.record.grant.serial();
                    shared.emit(slot, EventKind::Adopted { serial });
                    return Attempt::Settled(Outcome::Done);
                }
                (Settle::Discard, Some(found)) if found.record.grant.is_disconnected() => {
                    record = found.record;
                    version = found.version;
                }
                (_, found) => return Attempt::Settled(discarded(shared, slot, found)),
            }
        }
        // It goes on changing, or nobody says what happened: not at this rate.
        let (next, _) = self.applied_to(&record, slot);
        self.held(slot, &next, record, version)
    }

    /// The user has disconnected: what was issued is left in the mark, to be revoked.
    async fn leave_behind(
        self,
        shared: &Arc<Shared>,
        slot: &Arc<Slot>,
        mut record: Record,
        mut version: Version,
    ) -> Attempt {
        let tokens = self.to_revoke(slot);
        for _ in 0..MAX_CONFLICTS {
            let mut next = record.clone();
            let wanted = next.grant.is_disconnected() && is_told(&next.grant);
            let added = wanted && revoke::add(&mut next, &tokens, shared.clock.now());
            if !added {
                // It may be there by a save whose acknowledgement was lost.
                shared.revoke_behind(slot);
                let found = Opened { version, record };
                return Attempt::Settled(discarded(shared, slot, Some(found)));
            }
            let found = match self.saved(shared, slot, &next, version).await {
                Ok(SaveOutcome::Saved(version)) => {
                    shared.revoke_behind(slot);
                    let record = next;
                    let found = Opened { version, record };
                    return Attempt::Settled(discarded(shared, slot, Some(found)));
                }
                Ok(SaveOutcome::Conflict | SaveOutcome::Unknown) => {
                    match self.found(shared, slot).await {
                        Ok(Some(orphan)) if orphan.is_orphan => {
                            if !orphan.is_of(&self.sent) {
                                break;
                            }
                            version = orphan.version;
                            continue;
                        }
                        found => found.and_then(opened),
                    }
                }
                Err(error) => Err(error),
            };
            match found {
                Ok(Some(found)) => (record, version) = (found.record, found.version),
                Ok(None) => return Attempt::Settled(discarded(shared, slot, None)),
                Err(_) => break,
            }
        }
        self.held(slot, &record.clone(), record, version)
    }

    /// A write, as far as it can be waited for. The next try finds what became of it.
    async fn saved(
        &self,
        shared: &Shared,
        slot: &Slot,
        next: &Record,
        version: Version,
    ) -> Result<SaveOutcome, Error> {
        let save = shared.save_known(slot, next, Expected::Version(version), &self.sent);
        timeout(self.limit, save)
            .await
            .unwrap_or_else(|_| too_slow(shared))
    }

    /// What became of it.
    async fn found(&self, shared: &Shared, slot: &Slot) -> Result<Option<Found>, Error> {
        timeout(self.limit, shared.find_to_settle(slot))
            .await
            .unwrap_or_else(|_| too_slow(shared))
    }

    /// What the token service has to forget, should the user have left.
    fn to_revoke(&self, slot: &Slot) -> Vec<Secret> {
        let Some(revoker) = &slot.provider().revoker else {
            return Vec::new();
        };
        if self.response.refresh_token.is_none() {
            // What it was asked with stays good, and is in the mark.
            return Vec::new();
        }
        let mut grant = self.refreshed.clone();
        // What cannot be used can be revoked.
        let _ = grant.apply(self.response.clone(), self.started, None);
        revoker.revocable(&grant)
    }

    /// Not stored yet. A rotated token that cannot be stored is better served than lost.
    fn held(mut self, slot: &Slot, next: &Record, record: Record, version: Version) -> Attempt {
        slot.publish_unsaved(next);
        self.base = Some((record, version));
        self.limit = self.limit.saturating_mul(2);
        Attempt::Failed(Box::new(self))
    }

    /// Tries for as long as it takes, or until the manager's store is closed.
    pub(super) async fn until_stored(self: Box<Self>, shared: &Arc<Shared>, slot: &Arc<Slot>) {
        let mut save = self;
        let mut delay = RETRY_FIRST;
        let mut stop = shared.stop.subscribe();
        loop {
            // Woken by a shutdown, whose time is short.
            if timeout(delay, stop.changed()).await.is_ok() || shared.is_shut_down() {
                delay = RETRY_FIRST;
            } else {
                delay = (delay * 2).min(RETRY_LAST);
            }
            let Some((record, version)) = save.base.take() else {
                return;
            };
            match save.attempt(shared, slot, record, version).await {
                Attempt::Settled(_) => return,
                Attempt::Failed(_) if shared.is_closed() => {
                    shared.emit(slot, EventKind::Lost);
                    return;
                }
                Attempt::Failed(again) => {
                    shared.emit(slot, EventKind::SaveFailed);
                    save = again;
                }
            }
        }
    }

    /// The record with the new tokens in it, and what is wrong with the access token if it
    /// cannot be used. The rest is kept even then: the old refresh token is spent.
    fn applied_to(&self, record: &Record, slot: &Slot) -> (Record, Option<Error>) {
        let mut next = record.clone();
        let default_lifetime = slot.provider().policy.default_lifetime;
        let applied = next
            .grant
            .apply(self.response.clone(), self.started, default_lifetime);
        let policy = &slot.provider().policy;
        next.grant.reconnect_by = reconnect_by(
            &record.grant,
            &next.grant,
            policy.refresh_token_idle_lifetime,
            slot.jitter(),
            self.started,
        );
        next.grant.state = GrantState::Active;
        next.intent = None;
        next.exchange = self.intent.exchange;
        next.sequence += 1;
        (next, applied.err())
    }

    fn stored(
        &self,
        shared: &Shared,
        slot: &Slot,
        record: &Record,
        unusable: Option<Error>,
        was_known: Option<Timestamp>,
    ) -> Outcome {
        slot.publish(record);
        if let Some(error) = unusable {
            let message = "the token service answered an access token that cannot be used";
            return Error::with_source(ErrorKind::TokenService, message, error).into();
        }
        let (serial, took) = (record.grant.serial(), self.took);
        shared.emit(slot, EventKind::Refreshed { serial, took });
        match record.grant.reconnect_by {
            Some(by) if was_known.is_none() => shared.emit(slot, EventKind::ReconnectBy { by }),
            Some(_) | None => {}
        }
        Outcome::Done
    }
}

fn too_slow<T>(shared: &Shared) -> Result<T, Error> {
    let message = "the token store did not answer in time";
    let error = Error::new(ErrorKind::Store, message);
    shared.noted(Call::Write, Err(error))
}

/// The tokens belong to nobody any more.
fn discarded(shared: &Shared, slot: &Slot, found: Option<Opened>) -> Outcome {
    shared.emit(slot, EventKind::Discarded);
    match found {
        Some(found) => {
            slot.publish(&found.record);
            if found.record.grant.is_disconnected() {
                Outcome::Ended(not_connected())
            } else {
                // Connected anew: whoever waited has a token.
                Outcome::Done
            }
        }
        None => {
            slot.vanish();
            Outcome::Ended(not_connected())
        }
    }
}

/// What a save that did not simply succeed has come to.
#[derive(Debug, PartialEq, Eq)]
enum Settle {
    /// It was written after all.
    Stored,
    /// The old tokens still stand there: something else about the row changed.
    SaveAgain,
    /// A sibling's tokens stand there.
    Adopt,
    /// The user disconnected, or connected anew: these tokens belong to nobody.
    Discard,
}

/// `base` is the record that the save was to replace.
fn settle(found: Option<&Opened>, intent: &Intent, base: &Record) -> Settle {
    let Some(Opened { record, .. }) = found else {
        return Settle::Discard;
    };
    if record.exchange == intent.exchange {
        Settle::Stored
    } else if record.grant.epoch != base.grant.epoch {
        Settle::Discard
    } else if record.exchange == base.exchange {
        // Whatever else changed, such as a sibling's intent or its verdict on the old
        // refresh token: nobody has stored other tokens, and these are the only ones left.
        Settle::SaveAgain
    } else {
        Settle::Adopt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{ExchangeId, Grant, Owner};
    use crate::key::GrantKey;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000);
    const OURS: ExchangeId = ExchangeId([1; 16]);
    const OTHERS: ExchangeId = ExchangeId([2; 16]);
    const BASE: ExchangeId = ExchangeId([3; 16]);

    fn intent(exchange: ExchangeId) -> Intent {
        Intent {
            exchange,
            owner: Owner([0; 16]),
            token_hash: [0; 16],
            started: NOW,
            deadline: NOW,
        }
    }

    fn found(epoch: u64, exchange: ExchangeId, pending: Option<ExchangeId>) -> Opened {
        let response = TokenResponse::new("t").refresh_token("r");
        let key = GrantKey::new("p", "s");
        Opened {
            version: Version(1),
            record: Record {
                grant: Grant::connected(key, epoch, response, NOW, None).unwrap(),
                sequence: 1,
                connect: exchange,
                exchange,
                intent: pending.map(intent),
                revocation: None,
            },
        }
    }

    #[test]
    fn every_row_of_a_lost_acknowledgement() {
        let mut tombstone = found(2, OTHERS, None);
        tombstone.record.grant = Grant::disconnected(GrantKey::new("p", "s"), 2, NOW);
        let base = found(1, BASE, Some(OURS)).record;
        let table = [
            (Some(found(1, OURS, None)), Settle::Stored),
            (Some(found(1, OURS, Some(OTHERS))), Settle::Stored),
            (Some(found(1, BASE, Some(OURS))), Settle::SaveAgain),
            // A sibling is about to spend the old refresh token once more: ours is newer.
            (Some(found(1, BASE, Some(OTHERS))), Settle::SaveAgain),
            (Some(found(1, BASE, None)), Settle::SaveAgain),
            (Some(found(1, OTHERS, None)), Settle::Adopt),
            (Some(found(1, OTHERS, Some(OTHERS))), Settle::Adopt),
            (Some(found(2, OTHERS, None)), Settle::Discard),
            (Some(tombstone), Settle::Discard),
            (None, Settle::Discard),
        ];
        for (found, expected) in table {
            assert_eq!(
                settle(found.as_ref(), &intent(OURS), &base),
                expected,
                "{found:?}"
            );
        }
    }
}
