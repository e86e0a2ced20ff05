//! How far a move has come.

use crate::rt::Mutex;
use crate::store::contract::RowKey;
use crate::store::pass;

/// How far a [`MovingStore::run`](super::MovingStore::run) has come.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoveProgress {
    /// How many rows of the store that is moved were looked at, in the first pass.
    pub examined: u64,
    /// How many rows were written into the other store: more than there are, if some changed
    /// meanwhile.
    pub written: u64,
    /// How many were removed from it again.
    pub removed: u64,
    /// How often writes had to wait. More than once means that what had changed was too much to
    /// be copied within two seconds.
    pub pauses: u64,
    /// Whether everything is in the other store, and done there.
    pub is_done: bool,
    cursor: Option<RowKey>,
}

impl MoveProgress {
    /// About how much of the first pass is done, from 0 to 1: rows lie evenly in the order of
    /// their keys. What comes after it is short.
    pub fn fraction(&self) -> f64 {
        pass::fraction(self.cursor, self.is_done)
    }
}

/// The same, as it is counted.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<MoveProgress>);

impl Counts {
    pub(super) fn so_far(&self) -> MoveProgress {
        *self.0.lock()
    }

    pub(super) fn begin(&self) {
        *self.0.lock() = MoveProgress::default();
    }

    pub(super) fn examined(&self, rows: usize, last: RowKey) {
        let mut counted = self.0.lock();
        counted.examined += rows as u64;
        counted.cursor = Some(last);
    }

    pub(super) fn written(&self) {
        self.0.lock().written += 1;
    }

    pub(super) fn removed(&self) {
        self.0.lock().removed += 1;
    }

    pub(super) fn paused(&self) {
        self.0.lock().pauses += 1;
    }

    pub(super) fn done(&self) {
        self.0.lock().is_done = true;
    }
}
