//! Which rows are on their way to the disk.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::super::contract::RowKey;

/// The rows whose save was accepted and not yet acknowledged.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<HashMap<RowKey, usize>>);

impl Pending {
    pub(super) fn add(&self, key: &RowKey) {
        *self.0.lock().entry(*key).or_insert(0) += 1;
    }

    pub(super) fn remove(&self, key: &RowKey) {
        let mut pending = self.0.lock();
        if let Some(count) = pending.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                pending.remove(key);
            }
        }
    }

    pub(super) fn has(&self, key: &RowKey) -> bool {
        self.0.lock().contains_key(key)
    }

    pub(super) fn has_any(&self, of_those: impl Fn(&RowKey) -> bool) -> bool {
        self.0.lock().keys().any(of_those)
    }
}
