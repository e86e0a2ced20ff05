//! What a grant offers to whoever asks for a token.
//!
//! An offer is made whole, and never changes: a newer one takes its place. The map, and clients
//! that are bound to a grant, point at it without keeping it, so that an offer that was withdrawn
//! is gone, its tokens wiped, as soon as the last request that has it is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{StatusCode, Uri};

use super::Shared;
use super::entry::Entry;
use super::registered::Registered;
use super::wanted::{Wanted, Which};
use crate::clock::Timestamp;
use crate::grant::AccessToken;
use crate::key::GrantKey;
use crate::rt::AtomicBool;

/// What a request reads lies in front and side by side, down to the newest token's header: of a
/// grant in a million, every line that it is spread over comes from memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Offer {
    /// Of the only token, for whoever wants it for no time in particular.
    fresh_until: Timestamp,
    /// There is a newer one, or none any more.
    withdrawn: AtomicBool,
    recently_taken: AtomicBool,
    pub(super) doubted: bool,
    registered: Arc<Registered>,
    pub(super) current: Current,
    key: GrantKey,
}

/// What a slot serves.
#[derive(Debug)]
pub(super) enum Current {
    Live(Entry),
    /// Disconnected: nothing of an older epoch may come back.
    Ended {
        epoch: u64,
    },
}

impl Current {
    /// What is known of the grant, to be used or not.
    pub(super) fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Live(entry) => Some(entry),
            Self::Ended { .. } => None,
        }
    }
}

impl Offer {
    /// One that is `doubted` is not used before the store has said it once more.
    pub(super) fn new(
        key: GrantKey,
        registered: Arc<Registered>,
        current: Current,
        doubted: bool,
    ) -> Self {
        let fresh_until = match &current {
            Current::Live(entry) if !doubted => entry.fresh_until(Which::Only),
            Current::Live(_) | Current::Ended { .. } => None,
        };
        Self {
            fresh_until: fresh_until.unwrap_or(Timestamp::from_unix_millis(0)),
            current,
            withdrawn: AtomicBool::new(false),
            recently_taken: AtomicBool::new(false),
            doubted,
            key,
            registered,
        }
    }

    /// Whether the grant's only token is to be used as it is: no lock, no allocation, no copy.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        self.note_use();
        now < self.fresh_until && self.registered.is_trusted(now)
    }

    /// The same of the token of `wanted`.
    pub(crate) fn is_fresh_for(&self, now: Timestamp, wanted: Wanted<'_>) -> bool {
        self.note_use();
        match &self.current {
            Current::Live(entry) => {
                entry.is_fresh(now, wanted) && !self.doubted && self.registered.is_trusted(now)
            }
            Current::Ended { .. } => false,
        }
    }

    fn note_use(&self) {
        // Read first: a line that is written on every request moves from core to core.
        if !self.recently_taken.load(Ordering::Relaxed) {
            self.recently_taken.store(true, Ordering::Relaxed);
        }
    }

    /// Whether its tokens may go to where `uri` says.
    pub(crate) fn allows(&self, uri: &Uri) -> bool {
        self.registered.provider.policy.allows(uri)
    }

    /// For whoever has found it some time ago.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    pub(super) fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Whether somebody took it since this was last asked.
    pub(super) fn was_taken(&self) -> bool {
        self.recently_taken.swap(false, Ordering::Relaxed)
    }

    /// The token that is served as `which`, whatever the time.
    pub(crate) fn token(&self, which: Which<'_>) -> Option<&AccessToken> {
        match &self.current {
            Current::Live(entry) => Some(entry.served(which)?.token),
            Current::Ended { .. } => None,
        }
    }

    /// Counts what an API answered to one of its tokens (feature `metrics`).
    pub(crate) fn answered(&self, route: Option<&'static str>, status: StatusCode) {
        if let Some(manager) = self.manager() {
            manager.answered(&self.key, route, status);
        }
    }

    /// Whose it is.
    pub(crate) fn key(&self) -> &GrantKey {
        &self.key
    }

    /// Who made it, if it is still there.
    pub(crate) fn manager(&self) -> Option<Arc<Shared>> {
        self.registered.manager.upgrade()
    }
}
