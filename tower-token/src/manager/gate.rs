//! The way to a token service: how many exchanges go through at once, and whether any do.

use super::circuit::{Admission, Circuit};
use super::slot::Slot;
use super::{Shared, jitter};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::provider::Verdict;
use crate::rt::{Mutex, Semaphore, SemaphorePermit};

/// One per provider.
#[derive(Debug)]
pub(super) struct Gate {
    places: Semaphore,
    circuit: Mutex<Circuit>,
}

/// Leave to make one exchange.
pub(super) struct Pass<'a> {
    gate: &'a Gate,
    admission: Option<Admission>,
    _place: SemaphorePermit<'a>,
}

impl Gate {
    pub(super) fn new(max_exchanges: usize) -> Self {
        Self {
            places: Semaphore::new(max_exchanges.min(Semaphore::MAX_PERMITS)),
            circuit: Mutex::default(),
        }
    }

    /// An error while the service is left alone.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Error> {
        match self.circuit.lock().open_for(now) {
            Some(wait) => Err(left_alone().retry_after(wait)),
            None => Ok(()),
        }
    }

    /// Waits for a place, then asks for leave.
    pub(super) async fn enter(&self, now: impl Fn() -> Timestamp) -> Result<Pass<'_>, Error> {
        let place = self.places.acquire().await.map_err(|_| left_alone())?;
        let admitted = self.circuit.lock().admit(now());
        let admission = admitted.map_err(|wait| left_alone().retry_after(wait))?;
        Ok(Pass {
            gate: self,
            admission: Some(admission),
            _place: place,
        })
    }
}

impl Pass<'_> {
    /// Notes how the exchange went: `None` for new tokens.
    pub(super) fn report(mut self, shared: &Shared, slot: &Slot, verdict: Option<Verdict>) {
        let Some(admission) = self.admission.take() else {
            return;
        };
        let asked = match verdict {
            None | Some(Verdict::Dead | Verdict::UserAction) => {
                if self.gate.circuit.lock().answered() {
                    shared.emit(slot, EventKind::CircuitClosed);
                }
                return;
            }
            Some(Verdict::Transient { retry_after }) => retry_after,
            Some(Verdict::Ambiguous | Verdict::Misconfigured) => None,
        };
        let now = shared.clock.now();
        let opened = self
            .gate
            .circuit
            .lock()
            .failed(now, admission, asked, jitter());
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

fn left_alone() -> Error {
    Error::new(
        ErrorKind::TokenService,
        "the token service has failed several times in a row, and is left alone for a while",
    )
}
