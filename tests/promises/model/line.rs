//! What stands between one manager and the rest of the world: its way to the store and to
//! the token service. When the manager crashes, nothing comes through any more.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tower_token::{
    ByteStore, Changes, Cursor, Durability, Expected, Group, Lease, LeaseOwner, MemoryStore,
    RefreshError, RefreshRequest, Refresher, Row, RowKey, SaveOutcome, SealedRow, SharedStore,
    StoreError, StoreErrorKind, TokenResponse, Verdict, Version,
};

use super::books::{Books, Heard};
use super::step::{Fault, Plan};

#[derive(Clone)]
pub struct Line(Arc<Inner>);

struct Inner {
    /// Which process this is: never used again after a crash.
    process: usize,
    rows: MemoryStore,
    books: Books,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    dead: bool,
    down: bool,
    dies_at_save: Option<bool>,
}

impl Line {
    pub fn new(process: usize, rows: MemoryStore, books: Books) -> Self {
        Self(Arc::new(Inner {
            process,
            rows,
            books,
            state: Mutex::default(),
        }))
    }

    pub fn process(&self) -> usize {
        self.0.process
    }

    pub fn die(&self) {
        self.0.state.lock().dead = true;
        self.0.books.died(self.process());
    }

    pub fn die_at_save(&self, written: bool) {
        self.0.state.lock().dies_at_save = Some(written);
    }

    pub fn is_dead(&self) -> bool {
        self.0.state.lock().dead
    }

    pub fn set_down(&self, down: bool) {
        self.0.state.lock().down = down;
    }

    pub fn behave(&self) {
        let mut state = self.0.state.lock();
        state.down = false;
        state.dies_at_save = None;
    }

    /// Nothing happens in a process that is dead.
    async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// The way there. An error if the store is out of reach.
    async fn reach(&self) -> Result<(), StoreError> {
        tokio::time::sleep(self.0.books.delay()).await;
        self.reached().await
    }

    async fn reached(&self) -> Result<(), StoreError> {
        self.alive().await;
        if self.0.state.lock().down {
            return Err(broken());
        }
        Ok(())
    }

    /// The way back.
    async fn back<T>(&self, answer: T) -> T {
        tokio::time::sleep(self.0.books.delay() / 2).await;
        self.alive().await;
        answer
    }

    async fn version(&self, key: &RowKey) -> Result<Option<u64>, StoreError> {
        Ok(self.0.rows.load(key).await?.map(|row| row.version.0))
    }
}

fn broken() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "as told")
}

impl SharedStore for Line {}

impl ByteStore for Line {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let began = self.0.books.now();
        self.reach().await?;
        let (found, now) = (self.0.rows.load(key).await?, self.0.books.durable(key));
        let found = self.back(found).await;
        self.0.books.read(self.process(), key, now);
        if key.as_bytes() == &[0; RowKey::LEN] {
            self.0.books.looked(self.process(), began);
        }
        Ok(found)
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let books = &self.0.books;
        books.begins_to_write(self.process(), key);
        self.reach().await?;
        let dies = self.0.state.lock().dies_at_save.take();
        if dies.is_some() {
            self.die();
        }
        let fault = books.next_fault();
        if dies == Some(false) || fault == Some(Fault::LostWrite) {
            return Ok(self.back(SaveOutcome::Unknown).await);
        }
        if fault == Some(Fault::Fail) {
            return Err(self.back(broken()).await);
        }
        let before = self.version(key).await?;
        let outcome = self.0.rows.save(key, row, expected).await?;
        if self.version(key).await? != before {
            books.wrote(self.process(), key);
        }
        self.back(()).await;
        Ok(match fault {
            Some(Fault::LostAck) => SaveOutcome::Unknown,
            Some(Fault::FalseConflict) => SaveOutcome::Conflict,
            Some(Fault::LostWrite | Fault::Fail | Fault::None) | None => outcome,
        })
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.reach().await?;
        let lease = self.0.rows.lease(key, owner, ttl).await;
        self.back(lease).await
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.0.books.flight_ends(self.process(), key);
        self.reach().await?;
        let released = self.0.rows.release(key, owner).await;
        self.back(released).await
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.reach().await?;
        self.0.rows.list(group).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.reach().await?;
        self.0.rows.scan(after, limit).await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.reach().await?;
        self.0.rows.claim_due(limit, ttl).await
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.reach().await?;
        self.0.rows.purge(key, version).await
    }

    async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        self.reach().await?;
        let changes = self.0.rows.changes_since(cursor, limit).await?;
        let told = changes.rows.iter();
        let told: Vec<_> = told
            .map(|(key, _)| (*key, self.0.books.durable(key)))
            .collect();
        let changes = self.back(changes).await;
        for (key, now) in told {
            self.0.books.read(self.process(), &key, now);
        }
        Ok(changes)
    }

    fn durability(&self) -> Durability {
        self.0.rows.durability()
    }

    async fn close(&self) {}
}

/// An exchange that is dropped was heard nothing of.
struct Open<'a>(&'a Books, usize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.heard(self.1, Heard::Nothing);
    }
}

impl Refresher for Line {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let books = &self.0.books;
        let (send, plan) = books.sent(self.process(), request);
        let _open = Open(books, send);
        tokio::time::sleep(books.delay()).await;
        let fails = |verdict| Err(RefreshError::new(verdict, "as told"));
        let (heard, answer) = match plan {
            Plan::LostRequest => (Heard::Nothing, fails(Verdict::Ambiguous)),
            Plan::Hang { processed: false } => return std::future::pending().await,
            Plan::NotNow => (
                Heard::NotNow,
                fails(Verdict::Transient { retry_after: None }),
            ),
            Plan::Panic => {
                books.heard(send, Heard::Crash);
                panic!("as told")
            }
            Plan::Dead => {
                books.end_family(send);
                (Heard::Dead, fails(Verdict::Dead))
            }
            Plan::Answer | Plan::LostAnswer | Plan::Hang { processed: true } => {
                match (books.process(send), plan) {
                    (_, Plan::LostAnswer) => (Heard::Nothing, fails(Verdict::Ambiguous)),
                    (_, Plan::Hang { .. }) => return std::future::pending().await,
                    (Some(response), _) => (Heard::Tokens, Ok(response)),
                    (None, _) => (Heard::Dead, fails(Verdict::Dead)),
                }
            }
        };
        self.back(()).await;
        books.heard(send, heard);
        answer
    }
}
