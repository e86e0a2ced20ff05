//! How far a transfer has come.

use super::put::Fate;
use crate::error::Error;
use crate::store::contract::RowKey;
use crate::store::pass::{self, NAMED};

/// How far an [`Export`](super::Export), an [`Import`](super::Import) or a
/// [`StoreCopy`](super::StoreCopy) has come.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransferProgress {
    /// How many records it has looked at.
    pub examined: u64,
    /// How many of them it has written: into the export, or into the other store.
    pub written: u64,
    /// How many were there already, just as they are.
    pub unchanged: u64,
    /// How many stayed as they were, since what was there is newer: tokens of a later refresh
    /// or connect, or the mark of a disconnect.
    pub newer: u64,
    /// How many stayed as they were, though what comes is neither older nor the same: both stores
    /// have changed them as often since they had them from each other, or from one backup. Which
    /// tokens are good nobody can tell here.
    pub diverged: u64,
    /// How many kept changing where they were to be written. Another pass takes them up.
    pub left: u64,
    /// How many do not open where they come from, and were not taken along. An import counts
    /// those that its export had to leave out as well.
    pub unreadable: u64,
    /// The first hundred of those, by their rows there; see
    /// [`remove_unreadable`](crate::KeyRotation::remove_unreadable). An export does not name
    /// what it has left out, so neither does its import.
    pub unreadable_rows: Vec<RowKey>,
    /// How many were not written since the row that they belong in does not open: what it hides
    /// may be newer.
    pub blocked: u64,
    /// The first hundred of those rows. Once one was
    /// [removed](crate::KeyRotation::remove_unreadable), another pass writes it.
    pub blocked_rows: Vec<RowKey>,
    /// The row that it has looked at last, where the records come from: for
    /// [`StoreCopy::after`](super::StoreCopy::after).
    pub cursor: Option<RowKey>,
    pub(super) is_done: bool,
}

impl TransferProgress {
    /// About how much of the store that the records come from was looked at, from 0 to 1: rows
    /// lie evenly in the order of their keys.
    pub fn fraction(&self) -> f64 {
        pass::fraction(self.cursor, self.is_done)
    }

    /// Counts what became of some rows, all of them or, if one failed, only what was done: the
    /// others are looked at again.
    pub(super) fn add(
        &mut self,
        fates: impl Iterator<Item = (RowKey, Result<Fate, Error>)>,
    ) -> Result<(), Error> {
        let fates: Vec<_> = fates.collect();
        let written = |fate: &&(_, Result<Fate, Error>)| matches!(fate.1, Ok(Fate::Written));
        self.written += fates.iter().filter(written).count() as u64;
        if let Some(error) = fates.iter().find_map(|(_, fate)| fate.as_ref().err()) {
            return Err(error.clone());
        }
        for (row_key, fate) in fates {
            self.examined += 1;
            self.cursor = Some(row_key);
            match fate? {
                Fate::Written => {}
                Fate::Same => self.unchanged += 1,
                Fate::Newer => self.newer += 1,
                Fate::Diverged => self.diverged += 1,
                Fate::Left => self.left += 1,
                Fate::Blocked(there) => {
                    self.blocked += 1;
                    name(&mut self.blocked_rows, there);
                }
                Fate::Unreadable => {
                    self.unreadable += 1;
                    name(&mut self.unreadable_rows, row_key);
                }
            }
        }
        Ok(())
    }
}

fn name(rows: &mut Vec<RowKey>, row_key: RowKey) {
    if rows.len() < NAMED {
        rows.push(row_key);
    }
}
