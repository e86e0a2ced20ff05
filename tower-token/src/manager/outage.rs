//! Whether the store failed lately. Somebody may then hold tokens that it has not yet got.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::rt::AtomicBool;

/// How long after an outage nobody takes another's exchange for lost. Who holds tokens tries
/// to store them more often than that.
const HOLDER_FIRST: Duration = Duration::from_secs(7);

#[derive(Debug, Default)]
pub(super) struct Outage {
    failing: AtomicBool,
    /// When the store was found to work again.
    over: AtomicU64,
}

impl Outage {
    /// Notes what became of a call to the store, and tells what has changed by that.
    pub(super) fn note<T>(&self, now: Timestamp, result: &Result<T, Error>) -> Option<EventKind> {
        match result {
            Ok(_) if self.failing.swap(false, Ordering::Relaxed) => {
                self.over.store(now.as_unix_millis(), Ordering::Relaxed);
                Some(EventKind::StoreAvailable)
            }
            // Without its keyset it takes nothing either.
            Err(error) if matches!(error.kind(), ErrorKind::Store | ErrorKind::Key) => {
                let was_failing = self.failing.swap(true, Ordering::Relaxed);
                (!was_failing).then_some(EventKind::StoreUnavailable)
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// For how long whoever holds tokens still goes first.
    pub(super) fn holder_first(&self, now: Timestamp) -> Duration {
        let over = Timestamp::from_unix_millis(self.over.load(Ordering::Relaxed));
        (over + HOLDER_FIRST).since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_failed_gives_the_holder_time() {
        let outage = Outage::default();
        let at = |secs: u64| Timestamp::from_unix_millis(secs * 1_000_000);
        let failed = |kind| Err::<(), _>(Error::new(kind, "as told"));
        let left = |now| outage.holder_first(now);
        assert_eq!(outage.note(at(1), &Ok(())), None);
        assert_eq!(outage.note(at(1), &failed(ErrorKind::Damaged)), None);
        assert_eq!(outage.note(at(1), &Ok(())), None);
        assert_eq!(left(at(1)), Duration::ZERO);
        for (kind, start) in [(ErrorKind::Store, 2), (ErrorKind::Key, 4)] {
            let told = outage.note(at(start), &failed(kind));
            assert_eq!(told, Some(EventKind::StoreUnavailable));
            assert_eq!(outage.note(at(start), &failed(kind)), None);
            let works = at(start + 1);
            let told = outage.note(works, &Ok(()));
            assert_eq!(told, Some(EventKind::StoreAvailable));
            // What works on tells nothing new.
            assert_eq!(outage.note(works + HOLDER_FIRST, &Ok(())), None);
            assert_eq!(left(works), HOLDER_FIRST);
            assert_eq!(left(works + HOLDER_FIRST), Duration::ZERO);
        }
    }
}
