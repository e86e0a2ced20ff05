//! Whether the store failed lately. Somebody may then hold tokens that it has not yet got.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;

/// How long after an outage nobody takes another's exchange for lost. Who holds tokens tries
/// to store them more often than that.
const HOLDER_FIRST: Duration = Duration::from_secs(7);

/// What the store was asked for. Each may fail alone: a full disk is still read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    Read = 1,
    Write = 2,
    Listen = 4,
}

#[derive(Debug, Default)]
pub(super) struct Outage {
    /// The calls that failed when they were last made.
    failing: AtomicU8,
    /// When the store was found to work again.
    over: AtomicU64,
}

impl Outage {
    /// Notes what became of a call to the store, and tells what has changed by that.
    pub(super) fn note<T>(
        &self,
        call: Call,
        now: Timestamp,
        result: &Result<T, Error>,
    ) -> Option<EventKind> {
        let call = call as u8;
        match result {
            Ok(_) => {
                let before = self.failing.fetch_and(!call, Ordering::Relaxed);
                if before != call {
                    return None;
                }
                self.over.store(now.as_unix_millis(), Ordering::Relaxed);
                Some(EventKind::StoreAvailable)
            }
            // Without its keyset it takes nothing either.
            Err(error) if matches!(error.kind(), ErrorKind::Store | ErrorKind::Key) => {
                let before = self.failing.fetch_or(call, Ordering::Relaxed);
                (before == 0).then_some(EventKind::StoreUnavailable)
            }
            Err(_) => None,
        }
    }

    /// Whether it neither gives a row nor says what other instances do, which it is asked all the
    /// time.
    pub(super) fn is_away(&self) -> bool {
        let away = Call::Read as u8 | Call::Listen as u8;
        self.failing.load(Ordering::Relaxed) & away == away
    }

    /// For how long whoever holds tokens still goes first.
    pub(super) fn holder_first(&self, now: Timestamp) -> Duration {
        if self.failing.load(Ordering::Relaxed) != 0 {
            // It may be over since this very moment.
            return HOLDER_FIRST;
        }
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
        let note = |now, result: &Result<(), Error>| outage.note(Call::Write, now, result);
        assert_eq!(note(at(1), &Ok(())), None);
        assert_eq!(note(at(1), &failed(ErrorKind::Damaged)), None);
        assert_eq!(note(at(1), &Ok(())), None);
        assert_eq!(left(at(1)), Duration::ZERO);
        for (kind, start) in [(ErrorKind::Store, 2), (ErrorKind::Key, 4)] {
            let told = note(at(start), &failed(kind));
            assert_eq!(told, Some(EventKind::StoreUnavailable));
            assert_eq!(note(at(start), &failed(kind)), None);
            let works = at(start + 1);
            let told = note(works, &Ok(()));
            assert_eq!(told, Some(EventKind::StoreAvailable));
            // What works on tells nothing new.
            assert_eq!(note(works + HOLDER_FIRST, &Ok(())), None);
            assert_eq!(left(works), HOLDER_FIRST);
            assert_eq!(left(works + HOLDER_FIRST), Duration::ZERO);
        }
    }

    #[test]
    fn what_fails_alone_is_over_when_that_works_again() {
        let outage = Outage::default();
        let at = Timestamp::from_unix_millis(1_000_000);
        let (ok, failed) = (
            Ok(()),
            Err::<(), _>(Error::new(ErrorKind::Store, "as told")),
        );
        let told = outage.note(Call::Write, at, &failed);
        assert_eq!(told, Some(EventKind::StoreUnavailable));
        assert_eq!(outage.note(Call::Listen, at, &failed), None);
        assert_eq!(outage.note(Call::Read, at, &ok), None);
        assert_eq!(outage.note(Call::Listen, at, &ok), None);
        assert_eq!(outage.holder_first(at + HOLDER_FIRST), HOLDER_FIRST);
        let told = outage.note(Call::Write, at, &ok);
        assert_eq!(told, Some(EventKind::StoreAvailable));
        assert_eq!(outage.holder_first(at), HOLDER_FIRST);
        assert_eq!(outage.holder_first(at + HOLDER_FIRST), Duration::ZERO);
    }
}
