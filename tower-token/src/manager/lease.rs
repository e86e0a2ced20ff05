//! The lease on a grant: it keeps siblings from starting the same work. Nothing is lost
//! without it.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::slot::Slot;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::EventKind;
use crate::grant::Serial;
use crate::rt::{JoinHandle, sleep, spawn};
use crate::store::Lease;

/// How long a holder that died keeps others waiting.
const TTL: Duration = Duration::from_secs(6);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// How often one who waits looks whether the holder is done.
const POLL: Duration = Duration::from_millis(250);

pub(super) enum Leased {
    Taken(HeldLease),
    /// Whoever held it has refreshed the grant.
    Adopted,
}

/// A lease, extended by a task of its own until it is released or dropped.
pub(super) struct HeldLease {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    /// The store's time when the lease was granted, and ours.
    granted: (Timestamp, Timestamp),
    renewal: JoinHandle<()>,
}

/// Takes the lease, or waits for its holder to finish.
pub(super) async fn take_lease(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    stale: Serial,
) -> Result<Leased, Error> {
    loop {
        // Before the call: the store's time is then never taken for earlier than it is.
        let asked = shared.clock.now();
        let lease = shared.store.lease(slot.key(), shared.owner, TTL).await;
        match shared.outage.note(lease)? {
            Lease::Granted { now } => {
                shared.outage.works(now);
                let renewal = spawn(renew(Arc::clone(shared), Arc::clone(slot)));
                return Ok(Leased::Taken(HeldLease {
                    shared: Arc::clone(shared),
                    slot: Arc::clone(slot),
                    granted: (now, asked),
                    renewal,
                }));
            }
            Lease::Held { now, until } => {
                if let Some(found) = shared.load(slot).await? {
                    slot.publish(&found.record);
                    let serial = found.record.grant.serial();
                    if serial > stale && !found.record.grant.is_disconnected() {
                        shared.emit(slot, EventKind::Adopted { serial });
                        return Ok(Leased::Adopted);
                    }
                }
                let left = until.since(now).max(Duration::from_millis(1));
                sleep(left.min(POLL)).await;
            }
        }
    }
}

async fn renew(shared: Arc<Shared>, slot: Arc<Slot>) {
    loop {
        sleep(RENEW_EVERY).await;
        // If this fails, or somebody took over, the intent still fences the exchange.
        let _ = shared.store.lease(slot.key(), shared.owner, TTL).await;
    }
}

impl HeldLease {
    /// The store's time now.
    pub(super) fn now(&self) -> Timestamp {
        let (store, ours) = self.granted;
        store + self.shared.clock.now().since(ours)
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
