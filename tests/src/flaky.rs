//! A store that loses acknowledgements and fails on demand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tower_token::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, MemoryStore, Row, RowKey,
    SaveOutcome, SealedRow, StoreError, StoreErrorKind,
};

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
}

/// A store in memory that misbehaves as told. Clones share rows and orders.
#[derive(Debug, Clone)]
pub struct Flaky {
    rows: MemoryStore,
    script: Arc<Mutex<VecDeque<Save>>>,
}

impl Flaky {
    /// A store that behaves until it is told otherwise.
    pub fn new(rows: MemoryStore) -> Self {
        Self {
            rows,
            script: Arc::default(),
        }
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
        self.rows.load(key).await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let next = self.script.lock().pop_front().unwrap_or(Save::Ok);
        if next == Save::Fail {
            return Err(broken());
        }
        if next == Save::LostWrite {
            return Ok(SaveOutcome::Unknown);
        }
        let outcome = self.rows.save(key, row, expected).await?;
        Ok(match next {
            Save::LostAck => SaveOutcome::Unknown,
            Save::FalseConflict => SaveOutcome::Conflict,
            Save::Ok | Save::LostWrite | Save::Fail => outcome,
        })
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.rows.lease(key, owner, ttl).await
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.rows.release(key, owner).await
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows.list(group).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows.scan(after, limit).await
    }

    fn durability(&self) -> Durability {
        self.rows.durability()
    }

    async fn close(&self) {
        self.rows.close().await;
    }
}
