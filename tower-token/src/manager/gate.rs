//! The way to a token service: how many exchanges go through at once, and whether any do.

use std::sync::Arc;

use super::circuit::{Admission, Cause, Circuit};
use super::slot::Slot;
use super::{Shared, jitter};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::provider::{RefreshError, Verdict};
use crate::rt::{Mutex, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How many revocations are under way at once.
const MAX_REVOCATIONS: usize = 4;

/// How many flights are on their way for each exchange that may be made at once.
const APPROACHING: usize = 2;

/// One per provider.
#[derive(Debug)]
pub(super) struct Gate {
    /// For flights that have a lease, or ask for one: after an outage more would only keep the
    /// store busy, with leases that wait.
    approach: Arc<Semaphore>,
    places: Semaphore,
    /// For revocations, which no refresh has to wait for.
    revocations: Semaphore,
    circuit: Mutex<Circuit>,
}

/// Leave to make one exchange.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    admission: Option<Admission>,
    _place: Option<SemaphorePermit<'a>>,
}

impl Gate {
    pub(super) fn new(max_exchanges: usize) -> Self {
        let most = |places: usize| Semaphore::new(places.min(Semaphore::MAX_PERMITS));
        Self {
            approach: Arc::new(most(max_exchanges.saturating_mul(APPROACHING))),
            places: most(max_exchanges),
            revocations: Semaphore::new(MAX_REVOCATIONS),
            circuit: Mutex::default(),
        }
    }

    /// An error while the service is left alone.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Error> {
        let circuit = self.circuit.lock();
        match circuit.open_for(now) {
            Some(wait) => Err(left_alone(circuit.cause()).retry_after(wait)),
            None => Ok(()),
        }
    }

    /// Waits until another flight may ask for a lease.
    pub(super) async fn approach(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.approach).acquire_owned().await.ok()
    }

    /// Waits for a place, then asks for leave.
    pub(super) async fn enter(&self, now: impl Fn() -> Timestamp) -> Result<Pass<'_>, Error> {
        // It is never closed.
        let place = self.places.acquire().await.ok();
        let mut circuit = self.circuit.lock();
        let admission = circuit
            .admit(now())
            .map_err(|wait| left_alone(circuit.cause()).retry_after(wait))?;
        Ok(Pass {
            gate: self,
            admission: Some(admission),
            _place: place,
        })
    }

    /// A place for a revocation, if one is free.
    pub(super) fn revocation(&self) -> Option<SemaphorePermit<'_>> {
        self.revocations.try_acquire().ok()
    }
}

impl Pass<'_> {
    /// Notes how the exchange went: `None` for new tokens. One that was made `again`, for a
    /// lost answer, has failed once already.
    pub(super) fn report(
        mut self,
        shared: &Shared,
        slot: &Slot,
        error: Option<&RefreshError>,
        again: bool,
    ) {
        if error.is_some_and(RefreshError::is_of_this_grant) {
            // Dropped without a word, as if the service had not been asked.
            return;
        }
        let cause = match error.map(RefreshError::verdict) {
            None | Some(Verdict::Dead | Verdict::UserAction) => {
                self.admission = None;
                if self.gate.circuit.lock().answered() {
                    shared.emit(slot, EventKind::CircuitClosed);
                }
                return;
            }
            // The same.
            Some(_) if again && self.admission == Some(Admission::Normal) => return,
            Some(Verdict::Transient { .. } | Verdict::Ambiguous) => Cause::Unavailable,
            Some(Verdict::Misconfigured) => Cause::Misconfigured,
        };
        let asked = error.and_then(RefreshError::asked_to_wait);
        let Some(admission) = self.admission.take() else {
            return;
        };
        let now = shared.clock.now();
        let opened = self
            .gate
            .circuit
            .lock()
            .failed(now, admission, cause, asked, jitter());
        if opened {
            shared.emit(slot, EventKind::CircuitOpened);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission {
            self.gate.circuit.lock().abandoned(admission);
        }
    }
}

fn left_alone(cause: Cause) -> Error {
    match cause {
        Cause::Unavailable => Error::new(
            ErrorKind::TokenService,
            "the token service has failed several times in a row, and is left alone for a while",
        ),
        Cause::Misconfigured => Error::new(
            ErrorKind::ClientRefused,
            "the token service has refused this service several times in a row, and is left \
             alone for a while: check the client's id, secret and endpoint",
        ),
    }
}
