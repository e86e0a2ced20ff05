//! The gate that holds token requests until they are released.

use tokio::sync::watch;

/// The requests that are held, and the way to let them go.
#[derive(Debug, Default)]
pub(in crate::testkit) struct Holds {
    held: watch::Sender<Held>,
    release: watch::Sender<()>,
}

/// Requests held at this moment, and ever.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    now: usize,
    ever: u64,
}

/// A request's place at the gate: it sees each release since it was given.
#[derive(Debug)]
pub(in crate::testkit) struct Place(watch::Receiver<()>);

impl Holds {
    pub(in crate::testkit) fn place(&self) -> Place {
        Place(self.release.subscribe())
    }

    /// Lets everything go that has a place.
    pub(in crate::testkit) fn release(&self) {
        self.release.send_replace(());
    }

    /// Waits for a release.
    pub(in crate::testkit) async fn hold(&self, mut place: Place) {
        let _counted = Counted::enter(&self.held);
        // The other end, a sender that is gone, also ends the wait.
        let _ = place.0.changed().await;
    }

    /// Resolves once a request is held: at once if one is now.
    pub(in crate::testkit) fn held(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut held = self.held.subscribe();
        let before = held.borrow().ever;
        async move {
            // `ever` also catches a hold that is over before this task runs again. The error
            // says that the server is gone, and with it the reason to wait.
            let _ = held
                .wait_for(|held| held.now > 0 || held.ever > before)
                .await;
        }
    }

    #[cfg(test)]
    pub(in crate::testkit) async fn none_held(&self) {
        let _ = self.held.subscribe().wait_for(|held| held.now == 0).await;
    }
}

/// Counts a request as held, also when its future is dropped.
struct Counted<'a>(&'a watch::Sender<Held>);

impl<'a> Counted<'a> {
    fn enter(held: &'a watch::Sender<Held>) -> Self {
        held.send_modify(|held| {
            held.now += 1;
            held.ever += 1;
        });
        Self(held)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|held| held.now -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_release_before_the_hold_is_not_lost() {
        let holds = Holds::default();
        let place = holds.place();
        holds.release();
        holds.hold(place).await;
    }

    #[tokio::test]
    async fn a_hold_that_was_over_before_the_first_look_is_noticed() {
        let holds = Holds::default();
        let (held, place) = (holds.held(), holds.place());
        holds.release();
        holds.hold(place).await;
        held.await;
        assert_eq!(holds.held.borrow().now, 0);
    }

    #[tokio::test]
    async fn an_abandoned_request_is_no_longer_held() {
        let holds = Holds::default();
        {
            let mut hold = pin!(holds.hold(holds.place()));
            tokio::select! {
                biased;
                () = &mut hold => panic!("not released"),
                () = holds.held() => {}
            }
        }
        assert_eq!(holds.held.borrow().now, 0);
    }
}
