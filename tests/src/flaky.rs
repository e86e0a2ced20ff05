//! A store that loses acknowledgements and fails on demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tower_token::{
    ByteStore, Expected, Group, Lease, LeaseOwner, MemoryStore, Row, RowKey, SaveOutcome,
    SealedRow, StoreError, StoreErrorKind,
};

use crate::delegate;

/// What the next save does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// Works.
    Ok,
    /// Writes, and loses the acknowledgement.
    LostAck,
    /// Does not write, and loses the answer.
    LostWrite,
    /// Writes, and says that it conflicted: as a retry inside a driver would.
    FalseConflict,
    /// Fails.
    Fail,
    /// Works, but not before [`Flaky::release`].
    Hold,
    /// As that, and nobody is told.
    HoldLostAck,
}

/// A store in memory that misbehaves as told. Clones share rows and orders.
#[derive(Debug, Clone)]
pub struct Flaky {
    rows: MemoryStore,
    script: Arc<Mutex<VecDeque<Save>>>,
    held: Arc<watch::Sender<bool>>,
    /// What is found instead of what was saved.
    rolled_back: Arc<Mutex<Option<Rows>>>,
    hang: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
    misplace: Arc<AtomicBool>,
}

type Rows = Vec<(RowKey, Row)>;

impl Flaky {
    /// A store that behaves until it is told otherwise.
    pub fn new(rows: MemoryStore) -> Self {
        Self {
            rows,
            script: Arc::default(),
            held: Arc::new(watch::Sender::new(false)),
            rolled_back: Arc::default(),
            hang: Arc::default(),
            down: Arc::default(),
            misplace: Arc::default(),
        }
    }

    /// Everything that is stored now.
    pub async fn snapshot(&self) -> Result<Rows, StoreError> {
        self.rows.scan(None, usize::MAX).await
    }

    /// Whoever looks finds these rows from now on, as after a disk was put back or written to.
    pub fn roll_back(&self, rows: Rows) {
        *self.rolled_back.lock() = Some(rows);
    }

    /// What was saved is found again.
    pub fn mend(&self) {
        *self.rolled_back.lock() = None;
    }

    fn found(&self, found: Rows, belongs: impl Fn(&RowKey) -> bool) -> Rows {
        let rolled_back = self.rolled_back.lock();
        rolled_back.as_ref().map_or(found, |rows| {
            let rows = rows.iter().filter(|(key, _)| belongs(key));
            rows.cloned().collect()
        })
    }

    /// Loads, and a close, do not come back from now on.
    pub fn hang(&self) {
        self.hang.store(true, Ordering::Relaxed);
    }

    /// Whether the store is away: every call fails.
    pub fn down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::Relaxed) {
            return Err(broken());
        }
        Ok(())
    }

    /// Whether loads find somebody else's bytes in a row.
    pub fn misplace(&self, misplace: bool) {
        self.misplace.store(misplace, Ordering::Relaxed);
    }

    /// Waits until a save is held.
    pub async fn until_held(&self) {
        // The sender lives in `self`.
        let _ = self.held.subscribe().wait_for(|held| *held).await;
    }

    /// Lets a held save go.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Forgets the orders that are left.
    pub fn clear(&self) {
        self.script.lock().clear();
    }

    /// What the next saves do, one after the other; after that they work.
    pub fn script(&self, next: impl IntoIterator<Item = Save>) {
        self.script.lock().extend(next);
    }
}

fn broken() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "as told")
}

impl ByteStore for Flaky {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        if self.hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.check()?;
        let found = self.rows.load(key).await?;
        if self.misplace.load(Ordering::Relaxed) {
            let rows = self.snapshot().await?;
            let other = rows.into_iter().rev().find(|(other, _)| other != key);
            return Ok(found
                .zip(other)
                .map(|(row, (_, other))| Row::new(row.version, row.due, other.bytes)));
        }
        if let Some(rows) = &*self.rolled_back.lock() {
            let found = rows.iter().find(|(found, _)| found == key);
            return Ok(found.map(|(_, row)| row.clone()));
        }
        Ok(found)
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.check()?;
        let next = self.script.lock().pop_front().unwrap_or(Save::Ok);
        if next == Save::Fail {
            return Err(broken());
        }
        if next == Save::LostWrite {
            return Ok(SaveOutcome::Unknown);
        }
        if matches!(next, Save::Hold | Save::HoldLostAck) {
            self.held.send_replace(true);
            let _ = self.held.subscribe().wait_for(|held| !*held).await;
        }
        let outcome = self.rows.save(key, row, expected).await?;
        Ok(match next {
            Save::LostAck | Save::HoldLostAck => SaveOutcome::Unknown,
            Save::FalseConflict => SaveOutcome::Conflict,
            Save::Ok | Save::Hold | Save::LostWrite | Save::Fail => outcome,
        })
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.check()?;
        self.rows.lease(key, owner, ttl).await
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let found = self.rows.list(group).await?;
        Ok(self.found(found, |key| key.group() == group))
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let found = self.rows.scan(after, limit).await?;
        let mut found = self.found(found, |key| after.is_none_or(|after| key > after));
        found.truncate(limit);
        Ok(found)
    }

    async fn close(&self) {
        if self.hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.rows.close().await;
    }

    delegate!(self => self.rows; release claim_due purge durability);
}
