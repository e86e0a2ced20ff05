//! Which rows have to be copied once more.

use std::collections::HashSet;

use crate::rt::Mutex;
use crate::store::contract::RowKey;

/// The rows that were written since they were copied.
#[derive(Debug, Default)]
pub(super) struct Changed(Mutex<Sets>);

#[derive(Debug, Default)]
struct Sets {
    /// Whether anybody copies. Otherwise nothing has to be remembered: a copy begins with all.
    records: bool,
    written: HashSet<RowKey>,
    /// Those of which nobody knows whether they were written. A write whose answer was lost may
    /// arrive at any time, so these are copied last, and stay until another write came after.
    unsettled: HashSet<RowKey>,
}

impl Changed {
    /// From now on everything is remembered that is written.
    pub(super) fn record(&self) {
        let mut sets = self.0.lock();
        sets.records = true;
        sets.written.clear();
    }

    /// Nobody copies any longer.
    pub(super) fn stop(&self) {
        let mut sets = self.0.lock();
        sets.records = false;
        sets.written = HashSet::new();
    }

    /// How many rows are left.
    pub(super) fn len(&self) -> usize {
        let sets = self.0.lock();
        sets.written.len() + sets.unsettled.len()
    }

    /// Those that were written, to be copied now.
    pub(super) fn take(&self) -> Vec<RowKey> {
        self.0.lock().written.drain().collect()
    }

    /// All that are left, where nobody writes.
    pub(super) fn take_all(&self) -> Vec<RowKey> {
        let mut sets = self.0.lock();
        let mut keys = std::mem::take(&mut sets.written);
        keys.extend(&sets.unsettled);
        keys.into_iter().collect()
    }

    /// Whether what became of a write of this row may still change.
    pub(super) fn is_unsettled(&self, key: &RowKey) -> bool {
        self.0.lock().unsettled.contains(key)
    }
}

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is there, and what was sent before it cannot come after it.
    Written,
    /// It is not.
    Refused,
    /// Nobody knows.
    Unsettled,
}

/// A write that is under way. It is noted when it has ended, also by a panic.
pub(super) struct Write<'a> {
    changed: &'a Changed,
    key: RowKey,
    ended: Ended,
}

impl<'a> Write<'a> {
    pub(super) fn begin(changed: &'a Changed, key: RowKey) -> Self {
        let ended = Ended::Unsettled;
        Self {
            changed,
            key,
            ended,
        }
    }

    pub(super) fn end(mut self, ended: Ended) {
        self.ended = ended;
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        let mut sets = self.changed.0.lock();
        match self.ended {
            Ended::Written => drop(sets.unsettled.remove(&self.key)),
            Ended::Refused => {}
            Ended::Unsettled => drop(sets.unsettled.insert(self.key)),
        }
        if sets.records {
            sets.written.insert(self.key);
        }
    }
}
