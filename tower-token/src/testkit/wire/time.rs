//! What time it is for the server: the time of its clock, plus or minus what it is off by.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};

/// A clock, and how far the server's own is ahead of it.
#[derive(Debug)]
pub(in crate::testkit) struct ServerClock {
    clock: Box<dyn Clock>,
    ahead_millis: AtomicI64,
}

impl ServerClock {
    pub(in crate::testkit) fn new(clock: Box<dyn Clock>, ahead_millis: i64) -> Self {
        Self {
            clock,
            ahead_millis: AtomicI64::new(ahead_millis),
        }
    }

    pub(in crate::testkit) fn now(&self) -> Timestamp {
        let ahead = self.ahead_millis.load(Ordering::Relaxed);
        let now = self.clock.now().as_unix_millis();
        Timestamp::from_unix_millis(now.saturating_add_signed(ahead))
    }

    pub(in crate::testkit) fn advance(&self, by: Duration) {
        let by = millis(by);
        // The closure always answers, so this does not fail.
        let _ = self
            .ahead_millis
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ahead| {
                Some(ahead.saturating_add(by))
            });
    }
}

pub(in crate::testkit) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::ManualClock;

    #[test]
    fn the_server_is_ahead_or_behind_and_never_overflows() {
        let clock = ManualClock::at(Timestamp::from_unix_millis(10_000));
        let server = ServerClock::new(Box::new(clock.clone()), -3_000);
        assert_eq!(server.now().as_unix_millis(), 7_000);
        clock.advance(Duration::from_secs(1));
        server.advance(Duration::from_secs(5));
        assert_eq!(server.now().as_unix_millis(), 13_000);
        server.advance(Duration::MAX);
        server.advance(Duration::MAX);
        assert!(server.now() > Timestamp::from_unix_millis(1 << 60));
        let early = ServerClock::new(Box::new(clock), i64::MIN);
        assert_eq!(early.now().as_unix_millis(), 0);
    }
}
