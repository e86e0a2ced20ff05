//! Ways for the token endpoint to misbehave, and the gate that holds its requests.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::{sync::watch, time};

/// What goes wrong with the token requests that arrive from now on.
///
/// The first group comes before the request is looked at: the refresh token stays good. The second
/// spoils the answer, by when the refresh token has been exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,

    /// Answers with this status and does nothing else. A number that cannot be a final status is
    /// answered as 500.
    Status(u16),
    /// Answers with 307 to a place that would serve the request. A client must not follow: it
    /// would hand its secrets to whoever sent the redirect. If one does, the refresh counts as
    /// successful.
    Redirect,
    /// Holds the request for this long in real time, or until released, then serves it. If the
    /// client hangs up meanwhile, the request is dropped unserved.
    Hold(Duration),
    /// Like [`Hold`](Self::Hold), without a limit.
    HoldUntilReleased,

    /// Serves the request, then drops the connection without an answer.
    LostAnswer,
    /// Leaves `expires_in` out of the answer, as RFC 6749 allows.
    OmitExpiresIn,
    /// Answers with a body that is not JSON, but says it is.
    Garbage,
    /// Drops the connection in the middle of the answer's body.
    Truncate,
    /// Pads the answer, still valid JSON, to more than four megabytes of unannounced length.
    Oversize,
}

/// The fault in force, and the requests it holds.
pub(super) struct Faults {
    current: Mutex<Fault>,
    holds: watch::Sender<Holds>,
    release: watch::Sender<()>,
}

/// Requests held at this moment, and ever.
#[derive(Clone, Copy, Default)]
struct Holds {
    now: usize,
    ever: u64,
}

/// A request's place at the gate: it sees each release since the request arrived.
pub(super) struct Arrival {
    pub(super) fault: Fault,
    release: watch::Receiver<()>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self {
            current: Mutex::new(Fault::None),
            holds: watch::Sender::default(),
            release: watch::Sender::default(),
        }
    }

    pub(super) fn set(&self, fault: Fault) {
        *self.current.lock() = fault;
    }

    /// Lets go of every held request, and of those that have arrived but are not held yet.
    pub(super) fn release(&self) {
        let mut current = self.current.lock();
        if *current == Fault::HoldUntilReleased {
            *current = Fault::None;
        }
        self.release.send_replace(());
    }

    /// Notes the fault for a request. Under the lock, so that a release comes either before the
    /// fault is read or after the request can see it.
    pub(super) fn arrive(&self) -> Arrival {
        let current = self.current.lock();
        Arrival {
            fault: *current,
            release: self.release.subscribe(),
        }
    }

    /// Waits for a release, or for `limit`.
    pub(super) async fn hold(&self, mut arrival: Arrival, limit: Option<Duration>) {
        let _held = Held::enter(&self.holds);
        let released = arrival.release.changed();
        // The other ends, a timeout and a sender that is gone, also end the wait.
        match limit {
            Some(limit) => drop(time::timeout(limit, released).await),
            None => drop(released.await),
        }
    }

    /// Resolves once a request is held: at once if one is now.
    pub(super) fn held(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut holds = self.holds.subscribe();
        let before = holds.borrow().ever;
        async move {
            // `ever` also catches a hold that is over before this task runs again. The error says
            // that the service is gone, and with it the reason to wait.
            let _ = holds
                .wait_for(|holds| holds.now > 0 || holds.ever > before)
                .await;
        }
    }

    #[cfg(test)]
    pub(super) async fn none_held(&self) {
        let _ = self
            .holds
            .subscribe()
            .wait_for(|holds| holds.now == 0)
            .await;
    }
}

/// Counts a request as held, also when its future is dropped.
struct Held<'a>(&'a watch::Sender<Holds>);

impl<'a> Held<'a> {
    fn enter(holds: &'a watch::Sender<Holds>) -> Self {
        holds.send_modify(|holds| {
            holds.now += 1;
            holds.ever += 1;
        });
        Self(holds)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|holds| holds.now -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_release_between_arrival_and_hold_is_not_lost() {
        let faults = Faults::new();
        faults.set(Fault::HoldUntilReleased);
        let arrival = faults.arrive();
        faults.release();
        faults.hold(arrival, None).await;
        assert_eq!(faults.arrive().fault, Fault::None);
    }

    #[tokio::test]
    async fn setting_a_fault_releases_nothing_and_a_release_keeps_other_faults() {
        let faults = Faults::new();
        faults.set(Fault::HoldUntilReleased);
        let arrival = faults.arrive();
        faults.set(Fault::Status(503));

        let mut hold = std::pin::pin!(faults.hold(arrival, None));
        let held = faults.held();
        tokio::select! {
            biased;
            () = &mut hold => panic!("released by a new fault"),
            () = held => {}
        }
        faults.release();
        hold.await;
        assert_eq!(faults.arrive().fault, Fault::Status(503));
    }

    #[tokio::test]
    async fn a_hold_that_was_over_before_the_first_look_is_noticed() {
        let faults = Faults::new();
        let held = faults.held();
        faults.hold(faults.arrive(), Some(Duration::ZERO)).await;
        held.await;
        assert_eq!(faults.holds.borrow().now, 0);
    }

    #[tokio::test]
    async fn an_abandoned_request_is_no_longer_held() {
        let faults = Faults::new();
        {
            let mut hold = std::pin::pin!(faults.hold(faults.arrive(), None));
            tokio::select! {
                biased;
                () = &mut hold => panic!("not released"),
                () = faults.held() => {}
            }
        }
        assert_eq!(faults.holds.borrow().now, 0);
    }
}
