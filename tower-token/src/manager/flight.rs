//! One refresh of one grant: many callers, one exchange.
//!
//! A flight is a task of its own. A caller that is dropped or gives up does not end it;
//! a panic, or a runtime that is gone, frees the slot and wakes whoever waits.

use std::sync::Arc;
use std::time::Duration;

use super::landed::{Landed, Wait};
use super::refresh::{self, Outcome};
use super::slot::Slot;
use super::{Shared, Underway, jitter};
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::Serial;

/// What joins a flight: the way to hear how it ended.
#[derive(Debug, Clone)]
pub(super) struct FlightHandle {
    landed: Arc<Landed>,
    /// The token that it began for.
    pub(super) stale: Serial,
    pub(super) need: Need,
}

impl FlightHandle {
    /// How the flight ends.
    pub(super) fn landed(self) -> Wait {
        self.landed.wait()
    }
}

/// The flight's end, whatever it is: on drop the slot is free again.
struct Landing {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    landed: Arc<Landed>,
    /// Whether the slot still has this flight.
    in_flight: bool,
    _underway: Underway,
}

impl Landing {
    /// Frees the slot, then tells the waiters: one that wants more can start the next.
    fn land(mut self, result: Result<(), Error>) {
        self.free();
        self.tell(result);
    }

    /// Tells the waiters how it ended, with the flight still under way.
    fn tell(&self, result: Result<(), Error>) {
        self.landed.tell(result);
    }

    fn free(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            self.slot.land();
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.in_flight && !self.landed.is_over() {
            // Cut off: without a backoff every caller would start the next exchange.
            let now = self.shared.clock.now();
            self.slot
                .work()
                .busy()
                .backoff
                .fail(now, cut_off(), None, jitter());
        }
        self.free();
        self.tell(Err(cut_off()));
    }
}

/// How pressing a refresh is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The token is due, and still good.
    Soon,
    /// Somebody has no good token.
    Now,
}

impl Shared {
    /// Joins the flight of `slot`, or starts one to replace the token of `stale`. An
    /// error if it is too early after a failure. The caller holds the slot.
    pub(super) fn join(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        stale: Serial,
        need: Need,
    ) -> Result<FlightHandle, Error> {
        let mut work = slot.work();
        if let Some(flight) = work.flight() {
            return Ok(flight.clone());
        }
        let now = self.clock.now();
        if let Some(error) = work.cooling(now) {
            return Err(error);
        }
        if need == Need::Soon && work.is_risky(now) {
            return Err(unknown_outcome());
        }
        let closed = self.gate(slot)?.check(now).and(self.check_unsaved());
        if let Err(error) = closed {
            // Somebody without a good token still looks for one in the store, now and then.
            if need == Need::Soon || !work.may_look(now) {
                return Err(error);
            }
        }
        let underway = self.begin()?;
        let landed = Arc::new(Landed::under_way());
        let handle = FlightHandle {
            landed: Arc::clone(&landed),
            stale,
            need,
        };
        work.busy().flight = Some(handle.clone());
        drop(work);
        let landing = Landing {
            shared: Arc::clone(self),
            slot: Arc::clone(slot),
            landed,
            in_flight: true,
            _underway: underway,
        };
        if slot.is_expired(stale, now) {
            self.emit(slot, EventKind::Expired { serial: stale });
        }
        // A runtime that is gone drops the task at once, and with it the landing.
        self.runtime.spawn(fly(landing, stale));
        Ok(handle)
    }

    /// Starts a flight that nobody waits for, if none is under way and it is not too
    /// early.
    pub(super) fn refresh_behind(self: &Arc<Self>, slot: &Arc<Slot>, stale: Serial, need: Need) {
        if let Some(hold) = slot.hold() {
            // Too early after a failure is no news to anyone.
            let _ = self.join(&hold, stale, need);
        }
    }
}

async fn fly(landing: Landing, stale: Serial) {
    let (shared, slot) = (&landing.shared, &landing.slot);
    let outcome = refresh::run(shared, slot, stale).await;
    match outcome {
        Outcome::Done => {
            slot.work().succeeded();
            landing.land(Ok(()));
        }
        Outcome::Unsaved(save) => {
            // The token is served from memory meanwhile, and no other exchange of this
            // grant can begin: the flight is still under way.
            slot.work().succeeded();
            landing.tell(Ok(()));
            let _held = shared.unsaved.hold();
            save.until_stored(shared, slot).await;
        }
        Outcome::Failed { error, retry_after } | Outcome::Unknown { error, retry_after } => {
            let error = failed(shared, slot, stale, error, retry_after);
            landing.land(Err(error));
        }
        Outcome::NotBefore(at) => {
            let mut work = slot.work();
            if work.epoch() == stale.epoch {
                work.busy().not_before = Some(at);
            }
            drop(work);
            landing.land(Err(unknown_outcome()));
        }
        // A state of the grant, not a failure: whoever asks next looks again.
        Outcome::Ended(error) => landing.land(Err(error)),
    }
}

/// Notes a failure, and tells how long to stay away for it.
fn failed(
    shared: &Shared,
    slot: &Slot,
    stale: Serial,
    error: Error,
    retry_after: Option<Duration>,
) -> Error {
    let cause = error.kind();
    shared.emit(slot, EventKind::RefreshFailed { cause });
    let now = shared.clock.now();
    let mut work = slot.work();
    if work.epoch() > stale.epoch {
        // The user connected anew meanwhile: that grant has not failed.
        return error;
    }
    let backoff = &mut work.busy().backoff;
    backoff.fail(now, error.clone(), retry_after, jitter());
    backoff.cooling(now).unwrap_or(error)
}

fn unknown_outcome() -> Error {
    Error::new(
        ErrorKind::TokenService,
        "the outcome of an earlier refresh is unknown: its refresh token is spent again only when \
         the access token is about to expire or was refused",
    )
}

fn cut_off() -> Error {
    Error::new(
        ErrorKind::TokenService,
        "the refresh was cut off before it ended: its task panicked, or its runtime is gone",
    )
}
