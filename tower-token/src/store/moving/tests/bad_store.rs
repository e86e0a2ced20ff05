//! A store that dies with its process, and answers badly until then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::rt::Mutex;
use crate::store::contract::{
    ByteStore, Changes, Cursor, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey,
    SaveOutcome, SealedRow, StoreError, StoreErrorKind, Version,
};
use crate::store::memory::MemoryStore;

/// What two stores share: chance, and the life of their process.
pub(super) struct Fate {
    seed: Mutex<u64>,
    /// After how many calls the process dies.
    left: Mutex<usize>,
    /// Of a hundred writes, as many are answered badly.
    bad: Mutex<u64>,
    died: Mutex<Arc<Notify>>,
}

impl Fate {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed: Mutex::new(seed | 1),
            left: Mutex::new(usize::MAX),
            bad: Mutex::new(0),
            died: Mutex::default(),
        }
    }

    /// Another life, of so many calls.
    pub(super) fn live(&self, calls: usize, bad: u64) {
        (*self.left.lock(), *self.bad.lock()) = (calls, bad);
        *self.died.lock() = Arc::default();
    }

    /// The end of this life.
    pub(super) fn died(&self) -> Arc<Notify> {
        Arc::clone(&self.died.lock())
    }

    pub(super) fn below(&self, n: u64) -> u64 {
        let mut seed = self.seed.lock();
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed >> 11) % n
    }

    /// Whether the process is alive still, after some time in which others may run.
    async fn passes(&self) -> bool {
        for _ in 0..self.below(3) {
            tokio::task::yield_now().await;
        }
        let mut left = self.left.lock();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.died().notify_one();
        }
        *left > 0
    }

    fn is_bad(&self) -> bool {
        let bad = *self.bad.lock();
        self.below(100) < bad
    }
}

/// How a write ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Good,
    /// Not written.
    Fails,
    /// Written, and said not to be: as a retry inside of a driver would.
    FalseConflict,
    /// Written, and nobody is told.
    Lost,
    /// Not written, and nobody is told.
    LostWrite,
    /// Nobody is told, and it is written by [`BadStore::arrive`].
    Late,
}

/// Where a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Load(RowKey),
    Save(RowKey),
}

/// A call that waits until it may go on.
#[derive(Debug)]
struct Held {
    at: Call,
    /// How many of them pass before.
    passing: usize,
    reached: Arc<Notify>,
    go: Arc<Notify>,
}

enum Late {
    Save(RowKey, SealedRow, Expected),
    Purge(RowKey, Version),
}

#[derive(Clone)]
pub(super) struct BadStore {
    pub(super) rows: MemoryStore,
    fate: Arc<Fate>,
    late: Arc<Mutex<Vec<Late>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    held: Arc<Mutex<Option<Held>>>,
}

impl BadStore {
    pub(super) fn new(fate: &Arc<Fate>) -> Self {
        Self {
            rows: MemoryStore::new(),
            fate: Arc::clone(fate),
            late: Arc::default(),
            script: Arc::default(),
            held: Arc::default(),
        }
    }

    /// How the next writes end.
    pub(super) fn script(&self, next: impl IntoIterator<Item = Answer>) {
        self.script.lock().extend(next);
    }

    /// Holds a call after `passing` of them: told by the first when it came, it goes on by the
    /// second.
    pub(super) fn hold(&self, at: Call, passing: usize) -> (Arc<Notify>, Arc<Notify>) {
        let (reached, go) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        *self.held.lock() = Some(Held {
            at,
            passing,
            reached: Arc::clone(&reached),
            go: Arc::clone(&go),
        });
        (reached, go)
    }

    async fn wait_at(&self, at: Call) {
        let held = {
            let mut held = self.held.lock();
            match &mut *held {
                Some(held) if held.at == at && held.passing > 0 => {
                    held.passing -= 1;
                    None
                }
                Some(found) if found.at == at => held.take(),
                _ => None,
            }
        };
        if let Some(held) = held {
            held.reached.notify_one();
            held.go.notified().await;
        }
    }

    fn answer(&self, answers: &[Answer]) -> Answer {
        if let Some(next) = self.script.lock().pop_front() {
            return next;
        }
        match self.fate.is_bad() {
            true => answers[self.fate.below(answers.len() as u64) as usize],
            false => Answer::Good,
        }
    }

    /// What was sent and not answered arrives.
    pub(super) async fn arrive(&self) {
        let late = std::mem::take(&mut *self.late.lock());
        for write in late {
            match write {
                Late::Save(key, row, expected) => {
                    let _ = self.rows.save(&key, row, expected).await;
                }
                Late::Purge(key, version) => {
                    let _ = self.rows.purge(&key, version).await;
                }
            }
        }
    }

    async fn call(&self) -> Result<(), StoreError> {
        if !self.fate.passes().await {
            std::future::pending::<()>().await;
        }
        if *self.fate.bad.lock() > 0 && self.fate.below(16) == 0 {
            self.arrive().await;
        }
        Ok(())
    }

    async fn read(&self) -> Result<(), StoreError> {
        self.call().await?;
        match self.fate.is_bad() && self.fate.below(3) == 0 {
            true => Err(broken()),
            false => Ok(()),
        }
    }
}

fn broken() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "by chance")
}

impl ByteStore for BadStore {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.read().await?;
        self.wait_at(Call::Load(*key)).await;
        let row = self.rows.load(key).await;
        tokio::task::yield_now().await;
        row
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.call().await?;
        self.wait_at(Call::Save(*key)).await;
        // What expects no row could arrive after another was removed, in any store.
        let may_be_late = usize::from(expected != Expected::Absent);
        let answers = [
            Answer::Fails,
            Answer::FalseConflict,
            Answer::Lost,
            Answer::LostWrite,
            Answer::Late,
        ];
        match self.answer(&answers[..4 + may_be_late]) {
            Answer::Good => {
                let saved = self.rows.save(key, row, expected).await;
                self.call().await?;
                return saved;
            }
            Answer::Fails => return Err(broken()),
            Answer::FalseConflict => {
                self.rows.save(key, row, expected).await?;
                return Ok(SaveOutcome::Conflict);
            }
            Answer::Lost => drop(self.rows.save(key, row, expected).await?),
            Answer::LostWrite => {}
            Answer::Late => self.late.lock().push(Late::Save(*key, row, expected)),
        }
        Ok(SaveOutcome::Unknown)
    }

    async fn lease(
        &self,
        key: &RowKey,
        by: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.rows.lease(key, by, ttl).await
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
        self.read().await?;
        let rows = self.rows.scan(after, limit).await;
        tokio::task::yield_now().await;
        rows
    }

    async fn claim_due(&self, n: usize, ttl: Duration) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows.claim_due(n, ttl).await
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.call().await?;
        match self.answer(&[Answer::Fails, Answer::Lost, Answer::Late]) {
            Answer::Good => {
                let purged = self.rows.purge(key, version).await;
                self.call().await?;
                return purged;
            }
            Answer::Lost => drop(self.rows.purge(key, version).await?),
            Answer::Late => self.late.lock().push(Late::Purge(*key, version)),
            _ => {}
        }
        Err(broken())
    }

    async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        self.rows.changes_since(cursor, limit).await
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn close(&self) {
        self.rows.close().await;
    }
}
