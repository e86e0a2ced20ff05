//! One refresh of one grant: many callers, one exchange.
//!
//! A flight is a task of its own. A caller that is dropped or gives up does not end it;
//! a panic, or a runtime that is gone, frees the slot and wakes whoever waits.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use super::Shared;
use super::refresh::{self, Outcome};
use super::slot::Slot;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::Serial;

type Landed = Option<Result<(), Error>>;

/// What joins a flight: the way to hear how it ended.
#[derive(Debug, Clone)]
pub(super) struct FlightHandle(watch::Receiver<Landed>);

impl FlightHandle {
    /// Waits for the flight, but not beyond `deadline`; the flight goes on.
    pub(super) async fn landed(mut self, mut deadline: Pin<&mut Sleep>) -> Result<(), Error> {
        let mut flight = pin!(self.0.wait_for(Option::is_some));
        poll_fn(|cx| {
            if let Poll::Ready(landed) = flight.as_mut().poll(cx) {
                return Poll::Ready(match landed {
                    Ok(landed) => landed.clone().unwrap_or_else(|| Err(cut_off())),
                    Err(_) => Err(cut_off()),
                });
            }
            deadline.as_mut().poll(cx).map(|()| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    "no token was there before the caller's deadline; the refresh goes on",
                ))
            })
        })
        .await
    }
}

/// The flight's end, whatever it is: on drop the slot is free again.
struct Landing {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    landed: watch::Sender<Landed>,
}

impl Landing {
    /// Tells the waiters how it ended. The flight itself may have more to do.
    fn tell(&self, result: Result<(), Error>) {
        self.landed.send_replace(Some(result));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.slot.work().flight = None;
        self.shared.flights.send_modify(|flights| *flights -= 1);
    }
}

impl Shared {
    /// How long a caller waits, from now on. The caller may be on another runtime than
    /// ours, or on none.
    pub(super) fn wait_deadline(&self) -> Sleep {
        let _runtime = self.runtime.enter();
        sleep(self.wait_deadline)
    }

    /// Joins the flight of `slot`, or starts one to replace the token of `stale`. An
    /// error if it is too early after a failure. The caller holds the slot.
    pub(super) fn join(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        stale: Serial,
    ) -> Result<FlightHandle, Error> {
        let mut work = slot.work();
        if let Some(flight) = &work.flight {
            return Ok(flight.clone());
        }
        if let Some(error) = work.backoff.cooling(self.clock.now()) {
            return Err(error);
        }
        if self.is_shut_down() {
            return Err(Error::new(
                ErrorKind::ShutDown,
                "the token manager was shut down",
            ));
        }
        let (landed, handle) = watch::channel(None);
        let handle = FlightHandle(handle);
        work.flight = Some(handle.clone());
        drop(work);
        self.flights.send_modify(|flights| *flights += 1);
        let landing = Landing {
            shared: Arc::clone(self),
            slot: Arc::clone(slot),
            landed,
        };
        // A runtime that is gone drops the task at once, and with it the landing.
        self.runtime.spawn(fly(landing, stale));
        Ok(handle)
    }

    /// Starts a flight that nobody waits for, if none is under way and it is not too
    /// early.
    pub(super) fn refresh_behind(self: &Arc<Self>, slot: &Arc<Slot>, stale: Serial) {
        if let Some(hold) = slot.hold() {
            // Too early after a failure is no news to anyone.
            let _ = self.join(&hold, stale);
        }
    }
}

async fn fly(landing: Landing, stale: Serial) {
    let (shared, slot) = (&landing.shared, &landing.slot);
    let outcome = refresh::run(shared, slot, stale).await;
    match outcome {
        Outcome::Done => {
            slot.work().backoff.clear();
            landing.tell(Ok(()));
        }
        Outcome::Unsaved(save) => {
            // The token is served from memory meanwhile, and no other exchange of this
            // grant can begin: the flight is still under way.
            slot.work().backoff.clear();
            landing.tell(Ok(()));
            save.until_stored(shared, slot).await;
        }
        Outcome::Failed { error, retry_after } => {
            shared.emit(
                slot,
                EventKind::RefreshFailed {
                    cause: error.kind(),
                },
            );
            let mut jitter = [0];
            // Without random numbers the failures still back off, only in step.
            let _ = crate::store::fill(&mut jitter);
            let now = shared.clock.now();
            let error = {
                let mut work = slot.work();
                work.backoff
                    .fail(now, error.clone(), retry_after, jitter[0]);
                work.backoff.cooling(now).unwrap_or(error)
            };
            landing.tell(Err(error));
        }
        Outcome::Ended(error) => {
            // A state of the grant, not a failure: whoever asks next looks again.
            landing.tell(Err(error));
        }
    }
}

fn cut_off() -> Error {
    Error::new(
        ErrorKind::TokenService,
        "the refresh was cut off before it ended: its task panicked, or its runtime is gone",
    )
}
