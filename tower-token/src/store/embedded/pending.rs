//! Which rows are on their way to the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::super::contract::RowKey;

/// The rows whose save was accepted and not yet acknowledged.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<RowKey, usize, RandomState>>);

impl Pending {
    pub(super) fn add(&self, key: &RowKey) {
        *self.0.lock().entry(*key).or_insert(0) += 1;
    }

    pub(super) fn remove<'a>(&self, keys: impl IntoIterator<Item = &'a RowKey>) {
        let mut pending = self.0.lock();
        for key in keys {
            if let Entry::Occupied(mut count) = pending.entry(*key) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    pub(super) fn has(&self, key: &RowKey) -> bool {
        self.0.lock().contains_key(key)
    }

    /// How many saves of it there are.
    #[cfg(test)]
    pub(super) fn count(&self, key: &RowKey) -> usize {
        self.0.lock().get(key).copied().unwrap_or(0)
    }

    pub(super) fn has_any(&self, of_those: impl Fn(&RowKey) -> bool) -> bool {
        self.0.lock().keys().any(of_those)
    }
}
