//! A store in memory that several managers share as if each were a process of its own, with a
//! connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tower_token::{
    ByteStore, Changes, Cursor, Durability, Expected, Group, Lease, LeaseOwner, MemoryStore, Row,
    RowKey, SaveOutcome, SealedRow, SharedStore, StoreError, StoreErrorKind, Version,
};

/// One process's connection to rows that are shared. Clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    rows: MemoryStore,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    down: AtomicBool,
    deaf: AtomicBool,
    forgetful: AtomicBool,
    full: AtomicBool,
    hung: AtomicBool,
    /// In seconds.
    slow: AtomicU64,
    narrow: Mutex<Option<(Arc<Semaphore>, Duration)>>,
    looks: AtomicUsize,
    loads: AtomicUsize,
}

impl Connection {
    /// To `rows`.
    pub fn to(rows: &MemoryStore) -> Self {
        Self {
            rows: rows.clone(),
            state: Arc::default(),
        }
    }

    /// Whether nothing goes through.
    pub fn cut(&self, is_down: bool) {
        self.state.down.store(is_down, SeqCst);
    }

    /// Whether reads and looks for changes never come back.
    pub fn hang(&self, is_hung: bool) {
        self.state.hung.store(is_hung, SeqCst);
    }

    /// Whether looks for changes fail, and nothing else does.
    pub fn deafen(&self, is_deaf: bool) {
        self.state.deaf.store(is_deaf, SeqCst);
    }

    /// Whether no cursor is known any more.
    pub fn forget_cursors(&self, forgetful: bool) {
        self.state.forgetful.store(forgetful, SeqCst);
    }

    /// Whether nothing can be saved, and everything else goes on.
    pub fn fill(&self, is_full: bool) {
        self.state.full.store(is_full, SeqCst);
    }

    /// Lets looks for changes take so long to come back.
    pub fn slow_down(&self, seconds: u64) {
        self.state.slow.store(seconds, SeqCst);
    }

    /// Lets so many calls through at once, each of which takes so long.
    pub fn narrow(&self, at_once: usize, each: Duration) {
        *self.state.narrow.lock() = Some((Arc::new(Semaphore::new(at_once)), each));
    }

    async fn pass(&self) {
        let narrow = self.state.narrow.lock().clone();
        if let Some((at_once, each)) = narrow {
            let _turn = at_once.acquire().await;
            tokio::time::sleep(each).await;
        }
    }

    /// How often changes were asked for.
    pub fn looks(&self) -> usize {
        self.state.looks.load(SeqCst)
    }

    /// How often a row was asked for.
    pub fn loads(&self) -> usize {
        self.state.loads.load(SeqCst)
    }

    async fn hung(&self) {
        if self.state.hung.load(SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    fn rows(&self) -> Result<&MemoryStore, StoreError> {
        match self.state.down.load(SeqCst) {
            true => Err(failed()),
            false => Ok(&self.rows),
        }
    }
}

fn failed() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "it was told to fail")
}

impl SharedStore for Connection {}

impl ByteStore for Connection {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.state.loads.fetch_add(1, SeqCst);
        self.hung().await;
        self.pass().await;
        self.rows()?.load(key).await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        if self.state.full.load(SeqCst) {
            return Err(failed());
        }
        self.pass().await;
        self.rows()?.save(key, row, expected).await
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.pass().await;
        self.rows()?.lease(key, owner, ttl).await
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.pass().await;
        self.rows()?.release(key, owner).await
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows()?.list(group).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows()?.scan(after, limit).await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows()?.claim_due(limit, ttl).await
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.rows()?.purge(key, version).await
    }

    async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        self.state.looks.fetch_add(1, SeqCst);
        self.hung().await;
        if self.state.deaf.load(SeqCst) {
            return Err(failed());
        }
        let changes = self.rows()?.changes_since(cursor, limit).await?;
        let slow = self.state.slow.load(SeqCst);
        if slow > 0 {
            tokio::time::sleep(Duration::from_secs(slow)).await;
        }
        match self.state.forgetful.load(SeqCst) {
            true => Ok(Changes::missed(changes.next)),
            false => Ok(changes),
        }
    }

    fn durability(&self) -> Durability {
        self.rows.durability()
    }

    async fn close(&self) {
        self.rows.close().await;
    }
}
