//! The lease on a grant: it keeps siblings from starting the same work. Nothing is lost
//! without it.

use std::sync::Arc;
use std::time::Duration;

use super::slot::Slot;
use super::state::shut_down;
use super::{Call, Shared};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::Serial;
use crate::rt::{JoinHandle, OwnedSemaphorePermit, spawn, timeout, watch};
use crate::store::Lease;

/// How long a holder that died before its intent keeps others waiting.
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
    time: StoreTime,
    /// Ends the renewals.
    over: watch::Sender<bool>,
    renewal: JoinHandle<()>,
    place: Option<OwnedSemaphorePermit>,
}

/// The store's time when a lease was granted: between when it was asked for and when it was
/// answered, in ours.
#[derive(Debug, Clone, Copy)]
struct StoreTime {
    granted: Timestamp,
    asked: Timestamp,
    answered: Timestamp,
}

/// What the store says to one who asks for a lease.
enum Answer {
    Granted(StoreTime),
    Held { now: Timestamp, until: Timestamp },
}

/// Asks until the store's time is known well enough.
async fn ask(shared: &Shared, slot: &Slot) -> Result<Answer, Error> {
    for _ in 0..TRIES {
        let asked = shared.clock.now();
        let lease = shared.store.lease(slot.key(), shared.owner, TTL).await;
        let answered = shared.clock.now();
        match shared.noted(Call::Write, lease)? {
            Lease::Granted { now } if answered.since(asked) <= CERTAIN => {
                return Ok(Answer::Granted(StoreTime {
                    granted: now,
                    asked,
                    answered,
                }));
            }
            Lease::Granted { .. } => {}
            Lease::Held { now, until } => return Ok(Answer::Held { now, until }),
        }
    }
    release(shared, slot).await;
    Err(Error::new(
        ErrorKind::Store,
        "the store takes too long to answer: nobody knows its time",
    ))
}

async fn release(shared: &Shared, slot: &Slot) {
    // It runs out by itself otherwise.
    let _ = shared.store.release(slot.key(), shared.owner).await;
}

/// Takes the lease, or waits for its holder to finish.
pub(super) async fn take_lease(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    stale: Serial,
    race: &mut Race,
) -> Result<Leased, Error> {
    loop {
        let place = shared.gate(slot)?.approach().await;
        if shared.is_shut_down() {
            return Err(shut_down());
        }
        match ask(shared, slot).await? {
            Answer::Granted(time) => {
                let over = watch::Sender::new(false);
                let renewal = renew(Arc::clone(shared), Arc::clone(slot), over.subscribe());
                let renewal = spawn(renewal);
                return Ok(Leased::Taken(HeldLease {
                    shared: Arc::clone(shared),
                    slot: Arc::clone(slot),
                    time,
                    over,
                    renewal,
                    place,
                }));
            }
            Answer::Held { now, until } => {
                race.lost(shared, slot);
                let row = shared.store.row_of(slot.key());
                // Before the look, so that nothing falls between the two.
                let released = shared.store.released(&row);
                if is_newer(shared, slot, stale).await? {
                    return Ok(Leased::Adopted);
                }
                // Others need not wait for the same holder.
                drop(place);
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

async fn renew(shared: Arc<Shared>, slot: Arc<Slot>, mut is_over: watch::Receiver<bool>) {
    while timeout(RENEW_EVERY, is_over.changed()).await.is_err() {
        // If this fails, or somebody took over, the intent still fences the exchange.
        let _ = shared.store.lease(slot.key(), shared.owner, TTL).await;
    }
}

impl HeldLease {
    /// The store's time now, or earlier: whether others' time is over.
    pub(super) fn earliest(&self) -> Timestamp {
        self.time.granted + self.shared.clock.now().since(self.time.answered)
    }

    /// The store's time now, or later: whether ours is.
    pub(super) fn latest(&self) -> Timestamp {
        self.time.granted + self.shared.clock.now().since(self.time.asked)
    }

    /// Asks the store what time it is. What has passed by our own clock may be wrong: it can be
    /// set while somebody waits. Whether the lease is still ours.
    pub(super) async fn look_at_the_time(&mut self) -> Result<bool, Error> {
        match ask(&self.shared, &self.slot).await? {
            Answer::Granted(time) => {
                self.time = time;
                Ok(true)
            }
            Answer::Held { .. } => Ok(false),
        }
    }

    /// Lets others ask for leases while this one waits.
    pub(super) fn step_aside(&mut self) {
        self.place = None;
    }

    pub(super) async fn release(mut self) {
        self.over.send_replace(true);
        // A renewal that is on its way could take the lease back after its release.
        if timeout(RENEW_EVERY, &mut self.renewal).await.is_err() {
            self.renewal.abort();
            let _ = (&mut self.renewal).await;
        }
        release(&self.shared, &self.slot).await;
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}
