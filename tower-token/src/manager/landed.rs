//! How a flight ended, and who waits to hear of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::error::Error;
use crate::rt::Mutex;

/// Known once, and for good. Thousands may wait for one token: a waiter takes up a waker's room, and
/// all of them are woken in one go.
#[derive(Debug)]
pub(super) struct Landed(Mutex<State>);

#[derive(Debug)]
enum State {
    UnderWay(Slab<Waker>),
    Over(Result<(), Error>),
}

impl Landed {
    pub(super) fn under_way() -> Self {
        Self(Mutex::new(State::UnderWay(Slab::new())))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(*self.0.lock(), State::Over(_))
    }

    /// Tells whoever waits, and whoever will. What was told before stands.
    pub(super) fn tell(&self, result: Result<(), Error>) {
        let mut state = self.0.lock();
        let waiters = match &mut *state {
            State::UnderWay(waiters) => std::mem::take(waiters),
            State::Over(_) => return,
        };
        *state = State::Over(result);
        // Not under the lock: who is woken takes it.
        drop(state);
        for (_, waiter) in waiters {
            // Of whatever runs the callers: its panic must cost neither the others their wake, nor
            // the flight what it still has to store.
            let _ = catch_unwind(AssertUnwindSafe(|| waiter.wake()));
        }
    }

    pub(super) fn wait(self: Arc<Self>) -> Wait {
        Wait {
            landed: self,
            place: None,
        }
    }
}

/// Comes to how the flight ended.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub(super) struct Wait {
    landed: Arc<Landed>,
    /// Among those who wait.
    place: Option<usize>,
}

impl Future for Wait {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { landed, place } = &mut *self;
        // Wakers are made and dropped out of the lock: what they do is not ours.
        let mut waker = cx.waker().clone();
        let mut state = landed.0.lock();
        let waiters = match &mut *state {
            State::UnderWay(waiters) => waiters,
            State::Over(result) => {
                *place = None;
                return Poll::Ready(result.clone());
            }
        };
        match place.and_then(|place| waiters.get_mut(place)) {
            Some(waiter) => std::mem::swap(waiter, &mut waker),
            None => {
                *place = Some(waiters.insert(waker));
                return Poll::Pending;
            }
        }
        drop(state);
        drop(waker);
        Poll::Pending
    }
}

impl Drop for Wait {
    /// Whoever gives up makes room: many may come and go while a token service hangs.
    fn drop(&mut self) {
        let Some(place) = self.place else {
            return;
        };
        let waker = match &mut *self.landed.0.lock() {
            State::UnderWay(waiters) => waiters.try_remove(place),
            State::Over(_) => None,
        };
        drop(waker);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::error::ErrorKind;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waiting(landed: &Arc<Landed>) -> Wait {
        Arc::clone(landed).wait()
    }

    fn poll(wait: &mut Wait, woken: &Arc<Woken>) -> Poll<Result<(), Error>> {
        Pin::new(wait).poll(&mut Context::from_waker(&Waker::from(Arc::clone(woken))))
    }

    fn places(landed: &Landed) -> usize {
        match &*landed.0.lock() {
            State::UnderWay(waiters) => waiters.capacity(),
            State::Over(_) => 0,
        }
    }

    #[test]
    fn all_who_wait_are_woken_once_and_told_the_same() {
        let landed = Arc::new(Landed::under_way());
        let woken = Arc::new(Woken::default());
        let mut waits = [waiting(&landed), waiting(&landed), waiting(&landed)];
        for wait in &mut waits {
            assert!(poll(wait, &woken).is_pending());
            assert!(poll(wait, &woken).is_pending());
        }
        let [one, two, given_up] = &mut waits;
        drop(std::mem::replace(given_up, waiting(&landed)));
        landed.tell(Err(Error::new(ErrorKind::TokenService, "down")));
        landed.tell(Ok(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
        for wait in [one, two, given_up] {
            assert!(matches!(poll(wait, &woken), Poll::Ready(Err(_))));
        }
        assert!(landed.is_over());
    }

    #[test]
    fn a_task_that_moves_is_woken_where_it_is() {
        let landed = Arc::new(Landed::under_way());
        let (before, now) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        let mut wait = waiting(&landed);
        assert!(poll(&mut wait, &before).is_pending());
        assert!(poll(&mut wait, &now).is_pending());
        landed.tell(Ok(()));
        let counts = [before, now].map(|woken| woken.0.load(Ordering::Relaxed));
        assert_eq!(counts, [0, 1]);
    }

    #[test]
    fn a_waker_that_panics_costs_nobody_else_the_wake() {
        struct Broken;

        impl Wake for Broken {
            fn wake(self: Arc<Self>) {
                panic!("the executor is gone");
            }
        }

        let landed = Arc::new(Landed::under_way());
        let woken = Arc::new(Woken::default());
        let (mut broken, mut sound) = (waiting(&landed), waiting(&landed));
        let waker = Waker::from(Arc::new(Broken));
        let polled = Pin::new(&mut broken).poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending() && poll(&mut sound, &woken).is_pending());
        landed.tell(Ok(()));
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_waker_may_own_another_wait_of_the_same_flight() {
        struct Owner(#[expect(dead_code, reason = "it is dropped")] Wait);

        impl Wake for Owner {
            fn wake(self: Arc<Self>) {}
        }

        let landed = Arc::new(Landed::under_way());
        let woken = Arc::new(Woken::default());
        let owner = || {
            let mut owned = waiting(&landed);
            assert!(poll(&mut owned, &woken).is_pending());
            Waker::from(Arc::new(Owner(owned)))
        };
        let mut wait = waiting(&landed);
        let poll_by = |wait: &mut Wait, waker: Waker| {
            let polled = Pin::new(wait).poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        };
        // Each is dropped by what comes next, the last with the wait.
        poll_by(&mut wait, owner());
        poll_by(&mut wait, owner());
        drop(wait);
        assert_eq!(Arc::strong_count(&landed), 1);
    }

    #[test]
    fn who_gives_up_makes_room_for_the_next() {
        let landed = Arc::new(Landed::under_way());
        let woken = Arc::new(Woken::default());
        for _ in 0..1_000 {
            let mut wait = waiting(&landed);
            assert!(poll(&mut wait, &woken).is_pending());
        }
        assert!(places(&landed) < 10, "{}", places(&landed));
    }
}
