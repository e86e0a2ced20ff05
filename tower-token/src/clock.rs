//! The only place that reads time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since 1970-01-01 00:00 UTC.
///
/// ```
/// use std::time::Duration;
/// use tower_token::Timestamp;
///
/// let t = Timestamp::from_unix_millis(1_000) + Duration::from_secs(2);
/// assert_eq!(t.as_unix_millis(), 3_000);
/// assert_eq!(t.since(Timestamp::from_unix_millis(2_500)), Duration::from_millis(500));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    pub(crate) const FAR_FUTURE: Self = Self(u64::MAX);

    /// The moment `millis` milliseconds after the start of 1970, UTC.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start of 1970, UTC.
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the end of what a timestamp can hold.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    /// Stops at 1970.
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, millis))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Where the manager reads the time.
///
/// A clock never goes back within a process, and counts the time the machine was
/// suspended: a token that expired while a laptop slept must be seen as expired.
///
/// ```
/// use tower_token::{Clock, Timestamp};
///
/// #[derive(Debug)]
/// struct Fixed;
///
/// impl Clock for Fixed {
///     fn now(&self) -> Timestamp {
///         Timestamp::from_unix_millis(1_700_000_000_000)
///     }
/// }
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time now. Called on every request, so it should cost a few nanoseconds.
    fn now(&self) -> Timestamp;
}

/// The system's clock: a coarse monotonic clock, re-anchored to the wall clock
/// every second.
///
/// Only ever corrected forward, so an expiry can come early but never late: after
/// a suspend, or a step of the wall clock, the time is right within a second. On
/// Linux a reading is good to about 4 ms (`CLOCK_MONOTONIC_COARSE`), elsewhere it is
/// `std`'s monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time minus monotonic time, in milliseconds.
    offset: AtomicU64,
    /// Monotonic milliseconds at the last comparison with the wall clock.
    checked: AtomicU64,
}

const REANCHOR_MILLIS: u64 = 1_000;

impl SystemClock {
    /// A clock anchored to the wall clock now.
    pub fn new() -> Self {
        let monotonic = monotonic_millis();
        Self {
            offset: AtomicU64::new(wall_millis().saturating_sub(monotonic)),
            checked: AtomicU64::new(monotonic),
        }
    }

    #[cold]
    fn reanchor(&self, monotonic: u64, wall: u64) {
        // `fetch_max`: the wall clock may only pull the time forward.
        self.offset
            .fetch_max(wall.saturating_sub(monotonic), Ordering::Relaxed);
        self.checked.fetch_max(monotonic, Ordering::Relaxed);
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let monotonic = monotonic_millis();
        if monotonic.wrapping_sub(self.checked.load(Ordering::Relaxed)) >= REANCHOR_MILLIS {
            self.reanchor(monotonic, wall_millis());
        }
        Timestamp(monotonic + self.offset.load(Ordering::Relaxed))
    }
}

#[allow(clippy::disallowed_methods)]
fn wall_millis() -> u64 {
    Timestamp::from(SystemTime::now()).0
}

#[cfg(target_os = "linux")]
fn monotonic_millis() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    // The call fails only for an unknown clock, and every Linux has this one; the
    // wall clock is the safe stand-in.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or_else(
        |_| wall_millis(),
        |time| {
            // Cheaper than all of its milliseconds, which are counted by 128 bits.
            let time = Duration::from(time);
            time.as_secs() * 1_000 + u64::from(time.subsec_millis())
        },
    )
}

#[cfg(not(target_os = "linux"))]
fn monotonic_millis() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    #[allow(clippy::disallowed_methods)]
    let now = Instant::now();
    millis(now.saturating_duration_since(*START.get_or_init(|| now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspend_moves_the_time_forward_and_a_step_back_does_not() {
        let clock = SystemClock {
            offset: AtomicU64::new(1_000_000),
            checked: AtomicU64::new(0),
        };
        // An hour passed on the wall while the monotonic clock stood at 5 s.
        clock.reanchor(5_000, 1_005_000 + 3_600_000);
        assert_eq!(clock.offset.load(Ordering::Relaxed), 4_600_000);
        // The wall clock is set back a day: the time does not follow.
        clock.reanchor(6_000, 1_000);
        assert_eq!(clock.offset.load(Ordering::Relaxed), 4_600_000);
    }

    #[test]
    fn the_system_clock_agrees_with_the_wall() {
        let clock = SystemClock::new();
        assert!(clock.now().0.abs_diff(wall_millis()) < 1_000);
    }
}
