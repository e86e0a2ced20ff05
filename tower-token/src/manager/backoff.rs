//! How long to leave a grant alone after a failed refresh.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Error;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_secs(60);

/// How long to wait after `before` failures in a row and one more: what the service `asked`
/// for at least. `jitter` in 0..=255 takes up to a quarter off, so that what failed together
/// returns apart.
pub(super) fn delay(before: u32, asked: Option<Duration>, jitter: u8) -> Duration {
    let doubled = FIRST * 2u32.saturating_pow(before.min(6));
    let delay = doubled.min(LAST);
    let delay = delay - delay / 4 * u32::from(jitter) / 255;
    delay.max(asked.unwrap_or_default())
}

/// One second after the first failure in a row, doubling up to a minute.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<(Timestamp, Error)>,
}

impl Backoff {
    /// Notes a failure; see [`delay`].
    pub(super) fn fail(
        &mut self,
        now: Timestamp,
        error: Error,
        asked: Option<Duration>,
        jitter: u8,
    ) {
        let delay = delay(self.failures, asked, jitter);
        self.failures = self.failures.saturating_add(1);
        self.until = Some((now + delay, error));
    }

    pub(super) fn is_clear(&self) -> bool {
        self.failures == 0 && self.until.is_none()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The last failure, while it is too early to try again.
    pub(super) fn cooling(&self, now: Timestamp) -> Option<Error> {
        let (until, error) = self.until.as_ref()?;
        (now < *until).then(|| error.retry_after(until.since(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorKind, Recovery};

    #[test]
    fn delays_double_up_to_a_minute_and_a_service_may_ask_for_more() {
        let now = Timestamp::from_unix_millis(0);
        let error = || Error::new(ErrorKind::TokenService, "down");
        let mut backoff = Backoff::default();
        assert!(backoff.cooling(now).is_none());
        let mut delays = Vec::new();
        for _ in 0..8 {
            backoff.fail(now, error(), None, 0);
            delays.push(backoff.cooling(now).unwrap().recovery());
        }
        let expected = [1, 2, 4, 8, 16, 32, 60, 60].map(|secs| Recovery::Retry {
            after: Some(Duration::from_secs(secs)),
        });
        assert_eq!(delays, expected);

        backoff.clear();
        backoff.fail(now, error(), Some(Duration::from_secs(90)), 255);
        assert!(backoff.cooling(now + Duration::from_secs(89)).is_some());
        assert!(backoff.cooling(now + Duration::from_secs(90)).is_none());
    }
}
