//! Whether the store failed lately. Somebody may then hold tokens that it has not yet got.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::rt::AtomicBool;

/// How long after an outage nobody takes another's exchange for lost. Who holds tokens tries
/// to store them more often than that.
const HOLDER_FIRST: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Outage {
    failing: AtomicBool,
    /// When the store was found to work again, in its own time.
    over: AtomicU64,
}

impl Outage {
    /// Notes what became of a call to the store.
    pub(super) fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Store)
        {
            self.failing.store(true, Ordering::Relaxed);
        }
        result
    }

    /// It works, at this time of its own.
    pub(super) fn works(&self, now: Timestamp) {
        if self.failing.swap(false, Ordering::Relaxed) {
            self.over.store(now.as_unix_millis(), Ordering::Relaxed);
        }
    }

    /// Until when whoever holds tokens goes first.
    pub(super) fn holder_first(&self) -> Timestamp {
        match self.over.load(Ordering::Relaxed) {
            0 => Timestamp::from_unix_millis(0),
            over => Timestamp::from_unix_millis(over) + HOLDER_FIRST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failing_store_gives_the_holder_time() {
        let outage = Outage::default();
        let at = Timestamp::from_unix_millis;
        outage.works(at(1_000));
        outage
            .note(Err::<(), _>(Error::new(ErrorKind::Damaged, "d")))
            .unwrap_err();
        outage.works(at(2_000));
        assert_eq!(outage.holder_first(), at(0));
        outage
            .note(Err::<(), _>(Error::new(ErrorKind::Store, "s")))
            .unwrap_err();
        outage.works(at(3_000));
        outage.works(at(4_000));
        assert_eq!(outage.holder_first(), at(3_000) + HOLDER_FIRST);
    }
}
