//! What only the slow paths keep of a grant.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::flight::FlightHandle;
use super::landed::Landed;
use super::revoke::Revoking;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::Serial;
use crate::secret::Secret;

/// Who is at work on a slot, and what was seen of it. A grant that is merely served takes no more
/// memory than this.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// No longer in the map: look the key up again.
    pub(super) evicted: bool,
    /// Since the cache last asked.
    pub(super) recently_used: bool,
    /// Loads, flights, connects and disconnects under way.
    pub(super) holders: u32,
    /// The newest row that was seen, by epoch and sequence.
    pub(super) seen: (u64, u64),
    /// Made when there is something to note in it.
    busy: Option<Box<Busy>>,
}

/// What is there while something is under way, or did not go well.
#[derive(Debug, Default)]
pub(super) struct Busy {
    pub(super) flight: Option<FlightHandle>,
    pub(super) revoking: Revoking,
    pub(super) backoff: Backoff,
    /// An earlier refresh has an unknown outcome: until then another is only risked for a
    /// token that has expired or was refused.
    pub(super) not_before: Option<Timestamp>,
    /// What the user answered to what the token service asked for: the next exchange takes it.
    pub(super) user_code: Option<Secret>,
    /// When the store was last looked at because no refresh may begin yet.
    looked_at: Option<Timestamp>,
    pub(super) healed: Option<Healed>,
    /// What was missed meanwhile may be about this grant.
    pub(super) doubted: bool,
    /// It is looked up, because it was in doubt.
    pub(super) look: Option<Arc<Landed>>,
}

/// A token that was issued because its predecessor was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Healed {
    pub(super) serial: Serial,
    pub(super) at: Timestamp,
    /// How many in a row were: an API that refuses everything must not cost an exchange
    /// each time.
    pub(super) in_a_row: u32,
}

impl Healed {
    /// How long such a token is not itself replaced for a 401: 5 s, doubling to 5 min.
    pub(super) fn cooldown(&self) -> Duration {
        let doubled = 5 * 2u64.saturating_pow(self.in_a_row.saturating_sub(1).min(6));
        Duration::from_secs(doubled.min(300))
    }
}

impl Busy {
    fn is_over(&self) -> bool {
        let Self {
            flight,
            revoking,
            backoff,
            not_before,
            user_code,
            looked_at,
            healed,
            doubted,
            look,
        } = self;
        flight.is_none()
            && *revoking == Revoking::Idle
            && backoff.is_clear()
            && not_before.is_none()
            && user_code.is_none()
            && looked_at.is_none()
            && healed.is_none()
            && !doubted
            && look.is_none()
    }
}

impl Work {
    /// Of a slot that is asked for.
    pub(super) fn new() -> Self {
        Self {
            recently_used: true,
            ..Self::default()
        }
    }

    /// To note something in.
    pub(super) fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_with(Box::default)
    }

    /// Lets go of what says nothing any more, once nobody is at work.
    pub(super) fn settle(&mut self) {
        if self.holders == 0 && self.busy.as_ref().is_some_and(|busy| busy.is_over()) {
            self.busy = None;
        }
    }

    /// The newest epoch that was seen here.
    pub(super) fn epoch(&self) -> u64 {
        self.seen.0
    }

    pub(super) fn flight(&self) -> Option<&FlightHandle> {
        self.busy.as_ref()?.flight.as_ref()
    }

    pub(super) fn revoking(&self) -> Revoking {
        let busy = self.busy.as_ref();
        busy.map_or(Revoking::Idle, |busy| busy.revoking)
    }

    pub(super) fn healed(&self) -> Option<Healed> {
        self.busy.as_ref()?.healed
    }

    /// The last failure, while it is too early to try again.
    pub(super) fn cooling(&self, now: Timestamp) -> Option<Error> {
        self.busy.as_ref()?.backoff.cooling(now)
    }

    /// Whether only somebody without a good token may risk a refresh.
    pub(super) fn is_risky(&self, now: Timestamp) -> bool {
        let not_before = self.busy.as_ref().and_then(|busy| busy.not_before);
        not_before.is_some_and(|at| now < at)
    }

    pub(super) fn has_user_code(&self) -> bool {
        self.busy
            .as_ref()
            .is_some_and(|busy| busy.user_code.is_some())
    }

    pub(super) fn take_user_code(&mut self) -> Option<Secret> {
        self.busy.as_mut()?.user_code.take()
    }

    /// What failed may be tried again at once.
    pub(super) fn forget_failures(&mut self) {
        if let Some(busy) = &mut self.busy {
            busy.backoff.clear();
        }
    }

    /// An exchange has gone well: nothing of those before it counts any more.
    pub(super) fn succeeded(&mut self) {
        self.forget_failures();
        if let Some(busy) = &mut self.busy {
            busy.not_before = None;
        }
    }

    /// The flight is no longer under way. Whoever started it may be gone by now. Whether what it
    /// left is in doubt.
    pub(super) fn land(&mut self) -> bool {
        let mut doubted = false;
        if let Some(busy) = &mut self.busy {
            busy.flight = None;
            doubted = std::mem::take(&mut busy.doubted);
        }
        self.settle();
        doubted
    }

    /// Whether it is time to look whether somebody else has refreshed the grant: at most
    /// once a second.
    pub(super) fn may_look(&mut self, now: Timestamp) -> bool {
        let second = Duration::from_secs(1);
        let looked_at = &mut self.busy().looked_at;
        let may = looked_at.is_none_or(|at| now.since(at) >= second);
        if may {
            *looked_at = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

    #[test]
    fn a_grant_that_is_merely_served_keeps_nothing_of_what_is_over() {
        let mut work = Work::default();
        work.succeeded();
        assert!(work.take_user_code().is_none() && work.busy.is_none());

        work.holders = 1;
        let failure = || Error::new(ErrorKind::TokenService, "down");
        work.busy().backoff.fail(NOW, failure(), None, 0);
        work.busy().user_code = Some(Secret::from("1234"));
        work.holders = 0;
        work.settle();
        assert!(work.cooling(NOW).is_some() && work.has_user_code());

        work.take_user_code();
        work.succeeded();
        work.holders = 1;
        work.settle();
        assert!(work.busy.is_some());
        work.holders = 0;
        work.land();
        assert!(work.busy.is_none());
    }
}
