//! Leases and claims of a store that lives within one process.

use std::collections::HashMap;
use std::time::Duration;

use super::contract::{Lease, LeaseOwner, RowKey};
use crate::clock::Timestamp;
use crate::rt::Mutex;

/// Who holds which row, until when. Holds nothing for rows at rest.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<RowKey, (LeaseOwner, Timestamp)>>);

impl Leases {
    pub(super) fn take(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
        now: Timestamp,
    ) -> Lease {
        let mut held = self.0.lock();
        match held.get(key) {
            Some((holder, until)) if *holder != owner && *until > now => {
                Lease::Held { now, until: *until }
            }
            _ => {
                held.insert(*key, (owner, now + ttl));
                Lease::Granted { now }
            }
        }
    }

    pub(super) fn release(&self, key: &RowKey, owner: LeaseOwner) {
        let mut held = self.0.lock();
        if held.get(key).is_some_and(|(holder, _)| *holder == owner) {
            held.remove(key);
        }
        if held.is_empty() {
            held.shrink_to_fit();
        }
    }
}

/// Which due rows were claimed, until when.
#[derive(Debug, Default)]
pub(super) struct Claims(Mutex<HashMap<RowKey, Timestamp>>);

impl Claims {
    /// The rows of `due` that nobody has claimed, `limit` of them at most, claimed for `ttl`.
    pub(super) fn take<T>(
        &self,
        due: impl IntoIterator<Item = (RowKey, T)>,
        limit: usize,
        ttl: Duration,
        now: Timestamp,
    ) -> Vec<(RowKey, T)> {
        let mut claims = self.0.lock();
        claims.retain(|_, until| *until > now);
        claims.shrink_to(limit.saturating_mul(2));
        // One at a time: a row may be named twice.
        let unclaimed = due.into_iter().filter(|(key, _)| {
            let is_new = !claims.contains_key(key);
            claims.entry(*key).or_insert(now + ttl);
            is_new
        });
        unclaimed.take(limit).collect()
    }
}
