//! Whether a token service is asked at all: a circuit per provider.

use std::time::Duration;

use super::backoff::delay;
use crate::clock::Timestamp;

/// How many failures in a row open it.
const THRESHOLD: u32 = 5;

/// Opens after five failures in a row, for a second and then twice as long each time, up to
/// a minute. After that one exchange is let through to see.
///
/// Users whose grants are dead are no failures: the service answers.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    failures: u32,
    open_until: Option<Timestamp>,
    probing: bool,
    /// What the last failure was about.
    cause: Cause,
}

/// What opened the circuit, for those who are turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Cause {
    #[default]
    Unavailable,
    /// The service refuses this client.
    Misconfigured,
}

/// An exchange that may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Normal,
    /// The one that is let through to see.
    Probe,
}

impl Circuit {
    /// How long nobody is let through, if so. While a probe is under way that is not known.
    pub(super) fn open_for(&self, now: Timestamp) -> Option<Duration> {
        let left = self.open_until?.since(now);
        if left.is_zero() && !self.probing {
            return None;
        }
        Some(left.max(Duration::from_millis(250)))
    }

    pub(super) fn cause(&self) -> Cause {
        self.cause
    }

    pub(super) fn admit(&mut self, now: Timestamp) -> Result<Admission, Duration> {
        if let Some(wait) = self.open_for(now) {
            return Err(wait);
        }
        if self.open_until.is_none() {
            return Ok(Admission::Normal);
        }
        self.probing = true;
        Ok(Admission::Probe)
    }

    /// The service answered. Whether that closed the circuit.
    pub(super) fn answered(&mut self) -> bool {
        let was_open = self.open_until.is_some();
        *self = Self::default();
        was_open
    }

    /// It failed. `asked` is what it asked for; `jitter` as for the backoff. Whether that
    /// opened the circuit, which was closed.
    pub(super) fn failed(
        &mut self,
        now: Timestamp,
        admission: Admission,
        cause: Cause,
        asked: Option<Duration>,
        jitter: u8,
    ) -> bool {
        if self.open_until.is_some() && admission == Admission::Normal {
            // It began before the circuit opened, and tells nothing new.
            return false;
        }
        self.cause = cause;
        self.failures = self.failures.saturating_add(1);
        if self.failures < THRESHOLD {
            return false;
        }
        self.probing = false;
        let was_closed = self.open_until.is_none();
        self.open_until = Some(now + delay(self.failures - THRESHOLD, asked, jitter));
        was_closed
    }

    /// It was not asked after all.
    pub(super) fn abandoned(&mut self, admission: Admission) {
        if admission == Admission::Probe {
            self.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Cause = Cause::Unavailable;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_unix_millis(secs * 1_000)
    }

    fn opened() -> Circuit {
        let mut circuit = Circuit::default();
        for n in 1..=THRESHOLD {
            assert_eq!(circuit.admit(at(0)), Ok(Admission::Normal));
            assert_eq!(
                circuit.failed(at(0), Admission::Normal, DOWN, None, 0),
                n == THRESHOLD
            );
        }
        circuit
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_an_answer_between_does_not() {
        let mut circuit = Circuit::default();
        for _ in 0..20 {
            for _ in 1..THRESHOLD {
                circuit.failed(at(0), Admission::Normal, DOWN, None, 0);
            }
            assert!(!circuit.answered());
        }
        assert_eq!(circuit.open_for(at(0)), None);
        assert_eq!(opened().open_for(at(0)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn one_is_let_through_to_see() {
        let mut circuit = opened();
        assert!(circuit.admit(at(0)).is_err());
        assert_eq!(circuit.admit(at(1)), Ok(Admission::Probe));
        assert!(circuit.admit(at(1)).is_err());
        // It fails: twice as long. What began earlier and fails now tells nothing.
        assert!(!circuit.failed(at(1), Admission::Probe, DOWN, None, 0));
        assert!(!circuit.failed(at(1), Admission::Normal, DOWN, None, 0));
        assert_eq!(circuit.open_for(at(1)), Some(Duration::from_secs(2)));
        assert_eq!(circuit.admit(at(3)), Ok(Admission::Probe));
        circuit.abandoned(Admission::Probe);
        assert_eq!(circuit.admit(at(3)), Ok(Admission::Probe));
        assert!(circuit.answered());
        assert_eq!(circuit.admit(at(3)), Ok(Admission::Normal));
    }

    #[test]
    fn a_service_that_asks_for_time_gets_it() {
        let mut circuit = opened();
        circuit.admit(at(1)).unwrap();
        let asked = Some(Duration::from_secs(90));
        circuit.failed(at(1), Admission::Probe, DOWN, asked, 255);
        assert_eq!(circuit.open_for(at(1)), Some(Duration::from_secs(90)));
    }
}
