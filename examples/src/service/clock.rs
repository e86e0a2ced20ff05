//! What time it is for the service: the machine's clock, plus what a test has added to it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A monotonic clock that can be put forward, so that an expiry needs no sleep.
///
/// Times are counted from the clock's start: adding a lifetime to one cannot overflow a platform's
/// `Instant`.
pub(super) struct Clock {
    start: Instant,
    ahead: Mutex<Duration>,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where this service reads the time"
    )]
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            ahead: Mutex::new(Duration::ZERO),
        }
    }

    /// The time since the start, as the service sees it.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed().saturating_add(*self.ahead.lock())
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut ahead = self.ahead.lock();
        *ahead = ahead.saturating_add(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advancing_adds_to_the_time_and_cannot_overflow() {
        let clock = Clock::start();
        let before = clock.now();
        clock.advance(Duration::from_secs(3600));
        assert!(clock.now() >= before + Duration::from_secs(3600));

        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::MAX);
    }
}
