//! The lease on a grant: it keeps siblings from starting the same work. Nothing is lost
//! without it.

use std::sync::Arc;
use std::time::Duration;

use super::slot::Slot;
use super::{Call, Shared};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::Serial;
use crate::rt::{JoinHandle, sleep, spawn, timeout};
use crate::store::Lease;

/// How long a holder that died keeps others waiting.
const TTL: Duration = Duration::from_secs(6);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How well the store's time has to be known, and how often that is tried.
const CERTAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;

pub(super) enum Leased {
    Taken(HeldLease),
    /// Whoever held it has refreshed the grant.
    Adopted,
}

/// Whether a sibling was found to be at the same grant: told once.
#[derive(Debug, Default)]
pub(super) struct Race {
    is_lost: bool,
}

impl Race {
    pub(super) fn lost(&mut self, shared: &Shared, slot: &Slot) {
        if !std::mem::replace(&mut self.is_lost, true) {
            shared.emit(slot, EventKind::LostRace);
        }
    }
}

/// A lease, extended by a task of its own until it is released or dropped.
pub(super) struct HeldLease {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    /// The store's time when the lease was granted: between when it was asked for and when
    /// it was answered, in ours.
    granted: Timestamp,
    asked: Timestamp,
    answered: Timestamp,
    renewal: JoinHandle<()>,
}

/// Takes the lease, or waits for its holder to finish.
pub(super) async fn take_lease(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    stale: Serial,
    race: &mut Race,
) -> Result<Leased, Error> {
    let mut tries = 0;
    loop {
        let asked = shared.clock.now();
        let lease = shared.store.lease(slot.key(), shared.owner, TTL).await;
        let answered = shared.clock.now();
        match shared.noted(Call::Write, lease)? {
            Lease::Granted { .. } if answered.since(asked) > CERTAIN => {
                tries += 1;
                if tries == TRIES {
                    return Err(Error::new(
                        ErrorKind::Store,
                        "the store takes too long to answer: nobody knows its time",
                    ));
                }
            }
            Lease::Granted { now } => {
                let renewal = spawn(renew(Arc::clone(shared), Arc::clone(slot)));
                return Ok(Leased::Taken(HeldLease {
                    shared: Arc::clone(shared),
                    slot: Arc::clone(slot),
                    granted: now,
                    asked,
                    answered,
                    renewal,
                }));
            }
            Lease::Held { now, until } => {
                race.lost(shared, slot);
                let row = shared.store.row_of(slot.key());
                // Before the look, so that nothing falls between the two.
                let released = shared.store.released(&row);
                if is_newer(shared, slot, stale).await? {
                    return Ok(Leased::Adopted);
                }
                let left = until.since(now).max(Duration::from_millis(1));
                let _ = timeout(left, released).await;
                if is_newer(shared, slot, stale).await? {
                    return Ok(Leased::Adopted);
                }
            }
        }
    }
}

/// Whether the store has a newer token by now.
async fn is_newer(shared: &Shared, slot: &Slot, stale: Serial) -> Result<bool, Error> {
    let Some(found) = shared.load(slot).await? else {
        return Ok(false);
    };
    let serial = found.record.grant.serial();
    let is_newer = serial > stale && !found.record.grant.is_disconnected();
    if is_newer {
        shared.emit(slot, EventKind::Adopted { serial });
    }
    Ok(is_newer)
}

async fn renew(shared: Arc<Shared>, slot: Arc<Slot>) {
    loop {
        sleep(RENEW_EVERY).await;
        // If this fails, or somebody took over, the intent still fences the exchange.
        let _ = shared.store.lease(slot.key(), shared.owner, TTL).await;
    }
}

impl HeldLease {
    /// The store's time now, or earlier: whether others' time is over.
    pub(super) fn earliest(&self) -> Timestamp {
        self.granted + self.shared.clock.now().since(self.answered)
    }

    /// The store's time now, or later: whether ours is.
    pub(super) fn latest(&self) -> Timestamp {
        self.granted + self.shared.clock.now().since(self.asked)
    }

    pub(super) async fn release(mut self) {
        self.renewal.abort();
        // Until it has ended it could take the lease back.
        let _ = (&mut self.renewal).await;
        // It runs out by itself otherwise.
        let _ = self
            .shared
            .store
            .release(self.slot.key(), self.shared.owner)
            .await;
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}
