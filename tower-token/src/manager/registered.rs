//! A provider, as it is registered with a manager.

use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use crate::clock::Timestamp;
use crate::provider::Provider;

/// What all slots of a provider share: each has one pointer to it.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) provider: Provider,
    /// With which it is.
    pub(super) manager: Weak<Shared>,
    /// Until when tokens in memory may be used without asking the store whether their users are
    /// still there, in milliseconds. Beside the provider, which every request looks at.
    trusted_until: AtomicU64,
}

impl Registered {
    pub(super) fn new(provider: Provider, manager: Weak<Shared>, trusted_until: Timestamp) -> Self {
        Self {
            provider,
            manager,
            trusted_until: AtomicU64::new(trusted_until.as_unix_millis()),
        }
    }

    pub(super) fn is_trusted(&self, now: Timestamp) -> bool {
        now.as_unix_millis() < self.trusted_until.load(Ordering::Relaxed)
    }

    pub(super) fn trust_until(&self, until: Timestamp) {
        let until = until.as_unix_millis();
        self.trusted_until.store(until, Ordering::Relaxed);
    }
}
