//! Hearing what other instances did to grants that are in memory here.
//!
//! Nobody asks the store before a token is used that is in memory. So whoever ends a grant says so
//! in the store, and here that is listened for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use super::{Call, Shared, jitter};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::rt::{sleep, timeout, watch};
use crate::store::{Cursor, Found, Heard};

/// How long after an announcement it is heard at the latest, while the store answers.
const EVERY: Duration = Duration::from_millis(500);
/// How often at the most, however many there are.
const AT_MOST_EVERY: Duration = Duration::from_millis(20);
/// A look that takes longer has failed.
const LOOK: Duration = Duration::from_secs(5);
/// Beyond so many at once everything in memory is looked up again when it is used.
const AT_ONCE: usize = 4_096;

/// What is done with tokens in memory while nobody knows whether their users have left; see
/// [`TokenManagerBuilder::max_stale`](crate::TokenManagerBuilder::max_stale).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStale {
    /// They are used. What a user wants who has left elsewhere is late; everybody else is served.
    /// What is known to have been missed is looked up first, where the store answers.
    Serve,
    /// The store is asked first, each time, and where it does not answer the request fails.
    FailClosed,
}

/// Where the listener is.
#[derive(Debug, Default)]
struct Place {
    cursor: Option<Cursor>,
    /// The last look could not tell all: what was under way then may have come in after it.
    missed: bool,
}

/// Listens for what other instances do, until the manager is closed or dropped.
pub(super) fn start(shared: &Arc<Shared>) {
    let (manager, stop) = (Arc::downgrade(shared), shared.stop.subscribe());
    shared.runtime.spawn(listen(manager, stop));
}

async fn listen(manager: Weak<Shared>, mut stop: watch::Receiver<bool>) {
    let mut place = Place::default();
    let mut told_stale = false;
    let Some(mut heard) = manager.upgrade().map(|shared| shared.clock.now()) else {
        return;
    };
    loop {
        let Some(shared) = manager.upgrade() else {
            return;
        };
        // Not before: what is in memory is served while a shutdown waits.
        if shared.is_closed() {
            return;
        }
        let store = shared.store.clone();
        // Before the look, so that nothing falls between the two.
        let mut announced = pin!(store.announced());
        let began = shared.clock.now();
        // A task of its own: a store that panics now may work next time.
        let look = shared.runtime.spawn({
            let shared = Arc::clone(&shared);
            async move { shared.hear(place, began).await }
        });
        match look.await {
            Ok((next, Ok(()))) => {
                (place, heard) = (next, began);
                if std::mem::take(&mut told_stale) {
                    shared.emit_to_all(&EventKind::UpToDate);
                }
            }
            // There is nobody else, or nothing to hear any more.
            Ok((_, Err(error)))
                if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::ShutDown) =>
            {
                return;
            }
            Ok((same, Err(_))) => place = same,
            Err(_) => place = Place::default(),
        }
        if !told_stale && shared.clock.now().since(heard) >= shared.max_stale {
            told_stale = true;
            shared.emit_to_all(&EventKind::Stale);
        }
        drop(shared);
        sleep(AT_MOST_EVERY).await;
        // Of several instances not always the same one is first.
        let pause = EVERY - AT_MOST_EVERY - EVERY / 8 * u32::from(jitter()) / 255;
        let mut stopped = pin!(stop.changed());
        let woken = poll_fn(|cx| match stopped.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => announced.as_mut().poll(cx),
        });
        let _ = timeout(pause, woken).await;
    }
}

impl Shared {
    /// Takes over what was announced since the last look, which `began` then.
    async fn hear(self: &Arc<Self>, place: Place, began: Timestamp) -> (Place, Result<(), Error>) {
        let changes = self.store.changes_since(place.cursor.as_ref(), AT_ONCE);
        let heard = timeout(LOOK, changes).await.unwrap_or_else(|_| {
            let message = "the token store did not say in time what other instances did";
            Err(Error::new(ErrorKind::Store, message))
        });
        let Heard {
            found,
            missed,
            next,
        } = match self.noted(Call::Listen, heard) {
            Ok(heard) => heard,
            Err(error) => return (place, Err(error)),
        };
        // What does not open may be anybody's.
        let told = found.into_iter().map(|found| self.take_over(found));
        let told_all = told.fold(true, |all, told| all & told);
        let missed = missed || !told_all || place.cursor.is_none();
        if missed || place.missed {
            self.cache.doubt().await;
        }
        self.trust(began);
        let cursor = Some(next);
        (Place { cursor, missed }, Ok(()))
    }

    /// Whether it was to be opened.
    fn take_over(&self, found: Found) -> bool {
        let Ok(record) = found.record else {
            return false;
        };
        self.cache.with(&record.grant.key, |slot| {
            let was_served = slot.serial().is_some();
            slot.publish(&record);
            if was_served && slot.serial().is_none() {
                self.emit(slot, EventKind::DisconnectedElsewhere);
            }
        });
        true
    }

    /// Everything that was announced before `began` is known.
    pub(super) fn trust(&self, began: Timestamp) {
        if self.on_stale == OnStale::FailClosed {
            for registered in self.providers.values() {
                registered.trust_until(began + self.max_stale);
            }
        }
    }
}
