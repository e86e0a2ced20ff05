//! How usable an access token is at a moment: one pure function.

use std::time::Duration;

use crate::clock::Timestamp;

/// How usable an access token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Use it.
    Fresh,
    /// Use it, and refresh behind the caller's back.
    Due,
    /// Do not use it: wait for the refresh.
    Expired,
}

/// When an access token falls due and when it expires.
///
/// ```
/// use std::time::Duration;
/// use tower_token::{Freshness, RefreshWindow, Timestamp};
///
/// let start = Timestamp::from_unix_millis(0);
/// let expires = start + Duration::from_secs(3_600);
/// let window = RefreshWindow::new(start, Some(expires), Duration::from_secs(300), 0);
///
/// let after = |secs| window.at(start + Duration::from_secs(secs), Duration::ZERO);
/// assert_eq!(after(3_000), Freshness::Fresh);
/// assert_eq!(after(3_400), Freshness::Due);
/// assert_eq!(after(3_600), Freshness::Expired);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshWindow {
    due_at: Timestamp,
    expires_at: Timestamp,
    life: Duration,
}

impl RefreshWindow {
    /// The window of a token asked for at `started` that expires at `expires_at`
    /// (`None`: it does not, so only a 401 ends it).
    ///
    /// It falls due `margin` before it expires, but never earlier than two thirds
    /// into its life; `jitter` is spread over a tenth of that margin, so that grants
    /// made together do not fall due together. Derive `jitter` from the grant, so
    /// that it stays the same.
    pub fn new(
        started: Timestamp,
        expires_at: Option<Timestamp>,
        margin: Duration,
        jitter: u16,
    ) -> Self {
        let due_at = expires_at.map_or(Timestamp::FAR_FUTURE, |expires_at| {
            let margin = margin.min(expires_at.since(started) / 3);
            let jitter = (margin / 10).mul_f64(f64::from(jitter) / f64::from(u16::MAX));
            expires_at - margin + jitter
        });
        Self::due(due_at, started, expires_at)
    }

    /// The same of a token that is known to fall due at `due_at`.
    pub(crate) fn due(
        due_at: Timestamp,
        started: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self {
            due_at,
            expires_at: expires_at.unwrap_or(Timestamp::FAR_FUTURE),
            life: expires_at.map_or(Duration::ZERO, |expires_at| expires_at.since(started)),
        }
    }

    /// How usable the token is at `now` for a caller who needs it to stay valid for
    /// `min_validity`. More than tokens of this kind are ever valid for is not asked of
    /// them.
    pub fn at(&self, now: Timestamp, min_validity: Duration) -> Freshness {
        // Hardly anybody needs any.
        let too_short = !min_validity.is_zero()
            && min_validity < self.life
            && self.expires_at.since(now) < min_validity;
        if now >= self.expires_at || too_short {
            Freshness::Expired
        } else if now >= self.due_at {
            Freshness::Due
        } else {
            Freshness::Fresh
        }
    }

    /// When a refresh should begin.
    pub fn due_at(&self) -> Timestamp {
        self.due_at
    }

    /// When the token stops being usable.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_unix_millis(secs * 1_000)
    }

    #[test]
    fn margin_is_at_most_a_third_of_the_lifetime() {
        let window = RefreshWindow::new(at(0), Some(at(30)), Duration::from_secs(300), 0);
        assert_eq!(window.due_at(), at(20));
    }

    #[test]
    fn without_an_expiry_it_stays_fresh() {
        let window = RefreshWindow::new(at(0), None, Duration::from_secs(300), 0);
        for needs in [Duration::ZERO, Duration::MAX] {
            assert_eq!(window.at(at(u32::MAX.into()), needs), Freshness::Fresh);
        }
    }

    #[test]
    fn a_caller_who_needs_more_validity_waits() {
        let window = RefreshWindow::new(at(0), Some(at(3_600)), Duration::from_secs(300), 0);
        let needs = Duration::from_secs(600);
        assert_eq!(window.at(at(2_999), needs), Freshness::Fresh);
        assert_eq!(window.at(at(3_001), needs), Freshness::Expired);
        // No token of this service is valid for so long.
        assert_eq!(
            window.at(at(3_001), Duration::from_secs(3_600)),
            Freshness::Fresh
        );
        assert_eq!(window.at(at(3_600), Duration::MAX), Freshness::Expired);
    }

    proptest! {
        #[test]
        fn it_only_gets_older(
            start in 0u64..1 << 40, life in 1u64..1 << 40, margin in 0u64..1 << 30, jitter: u16,
            early in 0u64..1 << 41, later in 0u64..1 << 41,
        ) {
            let start = Timestamp::from_unix_millis(start);
            let expires = start + Duration::from_millis(life);
            let window = RefreshWindow::new(start, Some(expires), Duration::from_millis(margin), jitter);
            prop_assert!(window.due_at() <= expires);
            prop_assert!(window.due_at().since(start).as_millis() as u64 >= life / 3 * 2);
            let rank = |t| window.at(start + Duration::from_millis(t), Duration::ZERO) as u8;
            let (early, later) = (early.min(later), early.max(later));
            prop_assert!(rank(early) <= rank(later));
        }
    }
}
