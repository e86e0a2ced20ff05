//! One store's grants into another.

use super::progress::TransferProgress;
use super::put::{Incoming, put_all};
use crate::error::Error;
use crate::store::contract::RowKey;
use crate::store::sealed::SealedStore;

/// How many rows a step takes, unless told otherwise.
const ROWS: usize = 64;

/// One pass over a store, into another; see [`SealedStore::copy_to`].
///
/// Whatever was done when it is dropped stays done, and another pass does only the rest.
#[derive(Debug)]
pub struct StoreCopy {
    from: SealedStore,
    to: SealedStore,
    rows: usize,
    progress: TransferProgress,
}

impl StoreCopy {
    pub(super) fn new(from: SealedStore, to: SealedStore) -> Self {
        Self {
            from,
            to,
            rows: ROWS,
            progress: TransferProgress::default(),
        }
    }

    /// Begins after the [`cursor`](TransferProgress::cursor) of a pass that was stopped.
    #[must_use]
    pub fn after(mut self, cursor: RowKey) -> Self {
        self.progress.cursor = Some(cursor);
        self
    }

    /// How many rows a step reads, and writes at once: 64 by default, at least one.
    #[must_use]
    pub fn rows_per_step(mut self, rows: usize) -> Self {
        self.rows = rows.max(1);
        self
    }

    /// How far it has come.
    pub fn progress(&self) -> &TransferProgress {
        &self.progress
    }

    /// Takes some more rows across; whether there were any.
    ///
    /// Pause between steps to leave the stores to their users. After an error the same rows are
    /// taken up again.
    pub async fn step(&mut self) -> Result<bool, Error> {
        let after = self.progress.cursor;
        let page = self.from.page(after.as_ref(), self.rows).await?;
        if page.is_empty() {
            self.progress.is_done = true;
            return Ok(false);
        }
        let keys = self.from.keys.seen();
        let records = page.into_iter().map(|(row_key, found)| Incoming {
            row_key,
            due: found.due,
            record: found.record,
        });
        put_all(
            &self.to,
            &keys.keyset,
            records.collect(),
            &mut self.progress,
        )
        .await?;
        Ok(true)
    }

    /// The rest of the pass, without a pause.
    pub async fn finish(mut self) -> Result<TransferProgress, Error> {
        while self.step().await? {}
        Ok(self.progress)
    }
}
