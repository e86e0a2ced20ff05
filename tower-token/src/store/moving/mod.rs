//! A store that becomes another one while it is used.

mod changed;
mod copy;
mod mark;
mod place;
mod progress;
mod run;
mod side;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use self::changed::{Changed, Ended, Write};
pub(in crate::store) use self::mark::is_keyset;
use self::place::{Hint, State, settle, unavailable};
use self::progress::Counts;
pub use self::progress::MoveProgress;
use self::run::Run;
use self::side::Side;
use super::contract::{
    ByteStore, Changes, Cursor, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey,
    SaveOutcome, SealedRow, SharedStore, StoreError, StoreErrorKind, Version,
};
use super::keyset::Keyset;
use crate::error::Error;

/// How many rows a step copies, unless told otherwise.
const ROWS: usize = 64;

/// Moves all grants from one store to another while they are used.
///
/// Until [`run`](Self::run) has ended everything goes to the first store, and from then on to the
/// second: the manager over it notices nothing. The rows are copied as they are sealed. While the
/// last of them are copied, for some milliseconds, whoever writes waits; reads go on.
///
/// **One process has the first store open**, this one: what another wrote there would be left
/// behind. An embedded store sees to that; of a shared one stop all others before, and start them
/// on the second store after. The second store is empty to begin with, and nobody else's; until
/// everything is in it, it does not open.
///
/// Whatever happens, at most one of the two can be opened by itself. At the end a mark takes the
/// place of the first store's keys: whoever opens it from then on fails with
/// [`ErrorKind::Config`](crate::ErrorKind::Config), and so does, when it looks at the keys next,
/// a process that has it open though it should not. A process that died is started with the same
/// two stores: if the mark is there everything goes to the second, else to the first, and `run`
/// begins once more. Open it by
/// [`SealedStore::open_shared`](crate::SealedStore::open_shared) if the second store is for several
/// processes, so that this one hears of them then. [From one process to many](crate::many_processes) has the steps.
///
/// Clones are the same store, and whoever closes it first closes it for all.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), tower_token::Error> {
/// use tower_token::{KeyRing, MemoryStore, MovingStore, SealedStore};
///
/// let keys = KeyRing::generate()?;
/// let (old, new) = (MemoryStore::new(), MemoryStore::new());
/// let moving = MovingStore::new(old.clone(), new.clone());
/// let store = SealedStore::open(moving.clone(), keys.clone()).await?;
/// // A manager is built over `store`, and serves; meanwhile:
/// let moved = moving.run().await?;
/// assert!(moved.is_done);
///
/// assert!(SealedStore::open(old, keys.clone()).await.is_err());
/// assert!(SealedStore::open(new, keys).await.is_ok());
/// # let _ = store;
/// # Ok(()) }
/// ```
pub struct MovingStore<A, B> {
    shared: Arc<Shared<A, B>>,
    rows: usize,
}

struct Shared<A, B> {
    from: A,
    to: B,
    /// Who writes to `from` holds it for reading: what closes it waits for them.
    state: Arc<RwLock<State>>,
    hint: Hint,
    changed: Changed,
    counts: Counts,
    /// Held by the one that copies.
    running: Arc<Mutex<()>>,
}

type Pass = OwnedRwLockReadGuard<State>;

impl<A: ByteStore, B: ByteStore> MovingStore<A, B> {
    /// A store that is `from` until it was moved, and `to` after.
    pub fn new(from: A, to: B) -> Self {
        Self {
            shared: Arc::new(Shared {
                from,
                to,
                state: Arc::new(RwLock::new(State::Unlooked)),
                hint: Hint::default(),
                changed: Changed::default(),
                counts: Counts::default(),
                running: Arc::default(),
            }),
            rows: ROWS,
        }
    }

    /// How many rows a step reads, and writes at once: 64 by default, at least one. So many may
    /// be left to be copied while writes wait.
    #[must_use]
    pub fn rows_per_step(mut self, rows: usize) -> Self {
        self.rows = rows.max(1);
        self
    }

    /// Moves everything, unless that was done before: then it ends at once.
    ///
    /// After an error everything goes on in the first store, and another call takes it up again:
    /// rows that are there already are not written once more. Fails with
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the second store has anything in it that
    /// is not of this move, before anything is written.
    ///
    /// If the call is dropped, it stops: what it writes just then is written still, and if the
    /// last step has begun it is done. A second call waits for the first.
    pub async fn run(&self) -> Result<MoveProgress, Error> {
        Run::start(Arc::clone(&self.shared), self.rows).await
    }

    /// How far it has come.
    pub fn progress(&self) -> MoveProgress {
        self.shared.counts.so_far()
    }
}

impl<A: ByteStore, B: ByteStore> Shared<A, B> {
    /// Where the grants are, and stay for as long as the pass is held.
    async fn pass(&self) -> Result<(Pass, Side), StoreError> {
        let pass = Arc::clone(&self.state).read_owned().await;
        if let Some(side) = pass.side() {
            return Ok((pass, side));
        }
        drop(pass);
        let mut state = Arc::clone(&self.state).write_owned().await;
        let side = self.settle(&mut state).await?;
        Ok((OwnedRwLockWriteGuard::downgrade(state), side))
    }

    async fn settle(&self, state: &mut State) -> Result<Side, StoreError> {
        settle(&self.from, &self.to, state, &self.hint).await
    }

    /// Where reads go. They wait for nobody but one who has to find out.
    async fn side(&self) -> Result<Side, StoreError> {
        match self.hint.side() {
            Some(side) => Ok(side),
            None => Ok(self.pass().await?.1),
        }
    }

    async fn load_from(&self, side: Side, key: &RowKey) -> Result<Option<Row>, StoreError> {
        match side {
            Side::From => self.from.load(key).await,
            Side::To => self.to.load(key).await,
        }
    }
}

impl<A: ByteStore, B: ByteStore> ByteStore for MovingStore<A, B> {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let shared = &self.shared;
        let mut side = shared.side().await?;
        // A mark may stand in the keyset's place. And what a write that nobody knows about has
        // come to is not told before it is known on which side that is to be.
        let waits = *key == Keyset::row_key() || shared.changed.is_unsettled(key);
        let mut pass = None;
        if side == Side::From && waits {
            let passed = shared.pass().await?;
            (pass, side) = (Some(passed.0), passed.1);
        }
        let row = shared.load_from(side, key).await?;
        drop(pass);
        Ok(row.map(|row| side.row(row)))
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let (pass, side) = self.shared.pass().await?;
        let expected = side.expected(expected);
        let saved = match side {
            Side::From => {
                let (shared, key) = (Arc::clone(&self.shared), *key);
                // In a task of its own: who drops the call does not know when it has ended.
                let saved = tokio::spawn(async move {
                    let _pass = pass;
                    let write = Write::begin(&shared.changed, key);
                    let saved = shared.from.save(&key, row, expected).await;
                    write.end(match &saved {
                        Ok(SaveOutcome::Saved(_)) => Ended::Written,
                        Ok(SaveOutcome::Conflict) | Err(_) => Ended::Refused,
                        Ok(SaveOutcome::Unknown) => Ended::Unsettled,
                    });
                    saved
                });
                saved.await.unwrap_or(Ok(SaveOutcome::Unknown))
            }
            Side::To => {
                drop(pass);
                self.shared.to.save(key, row, expected).await
            }
        };
        Ok(side.saved(saved?))
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        match self.shared.side().await? {
            Side::From => self.shared.from.lease(key, owner, ttl).await,
            Side::To => self.shared.to.lease(key, owner, ttl).await,
        }
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        match self.shared.side().await? {
            Side::From => self.shared.from.release(key, owner).await,
            Side::To => self.shared.to.release(key, owner).await,
        }
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let side = self.shared.side().await?;
        let rows = match side {
            Side::From => self.shared.from.list(group).await,
            Side::To => self.shared.to.list(group).await,
        };
        Ok(side.rows(rows?))
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let side = self.shared.side().await?;
        let rows = match side {
            Side::From => self.shared.from.scan(after, limit).await,
            Side::To => self.shared.to.scan(after, limit).await,
        };
        Ok(side.rows(rows?))
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let side = self.shared.side().await?;
        let rows = match side {
            Side::From => self.shared.from.claim_due(limit, ttl).await,
            Side::To => self.shared.to.claim_due(limit, ttl).await,
        };
        Ok(side.rows(rows?))
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        let (pass, side) = self.shared.pass().await?;
        let version = side.version(version);
        match side {
            Side::From => {
                let (shared, key) = (Arc::clone(&self.shared), *key);
                let purged = tokio::spawn(async move {
                    let _pass = pass;
                    let write = Write::begin(&shared.changed, key);
                    let purged = shared.from.purge(&key, version).await;
                    write.end(match &purged {
                        Ok(true) => Ended::Written,
                        Ok(false) => Ended::Refused,
                        Err(_) => Ended::Unsettled,
                    });
                    purged
                });
                let lost = |_| Err(unavailable("nobody knows whether the row was removed"));
                purged.await.unwrap_or_else(lost)
            }
            Side::To => {
                drop(pass);
                self.shared.to.purge(key, version).await
            }
        }
    }

    /// A cursor of the first store tells nothing in the second, where others may have written by
    /// then: changes were missed. While nobody else can write there are none.
    async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let side = self.shared.side().await?;
        let place = cursor.and_then(|cursor| side.place(cursor));
        let changes = match side {
            Side::From => self.shared.from.changes_since(place.as_ref(), limit).await,
            Side::To => self.shared.to.changes_since(place.as_ref(), limit).await,
        };
        let changes = match changes {
            Err(error) if side == Side::From && error.kind() == StoreErrorKind::Unsupported => {
                Changes::new(Vec::new(), Cursor::new(Vec::new()))
            }
            changes => changes?,
        };
        let next = side.cursor(&changes.next);
        Ok(
            match changes.missed || cursor.is_some() && place.is_none() {
                true => Changes::missed(next),
                false => Changes::new(side.rows(changes.rows), next),
            },
        )
    }

    // Both listen from the call on, as those do that they ask.
    fn announced(&self) -> impl Future<Output = ()> + Send {
        let shared = &self.shared;
        let (from, to) = match shared.hint.side() {
            Some(Side::To) => (None, Some(shared.to.announced())),
            Some(Side::From) | None => (Some(shared.from.announced()), None),
        };
        either(from, to)
    }

    fn released(&self, key: &RowKey) -> impl Future<Output = ()> + Send {
        let shared = &self.shared;
        let (from, to) = match shared.hint.side() {
            Some(Side::To) => (None, Some(shared.to.released(key))),
            Some(Side::From) | None => (Some(shared.from.released(key)), None),
        };
        either(from, to)
    }

    /// The lesser of the two, until everything is in the second.
    fn durability(&self) -> Durability {
        let (from, to) = (self.shared.from.durability(), self.shared.to.durability());
        match self.shared.hint.side() {
            Some(Side::To) => to,
            Some(Side::From) | None => from.min(to),
        }
    }

    async fn close(&self) {
        self.shared.from.close().await;
        self.shared.to.close().await;
    }
}

async fn either(from: Option<impl Future<Output = ()>>, to: Option<impl Future<Output = ()>>) {
    if let Some(from) = from {
        from.await;
    }
    if let Some(to) = to {
        to.await;
    }
}

/// Once everything is in the second store others have that open as well, and are to be heard.
impl<A: ByteStore, B: SharedStore> SharedStore for MovingStore<A, B> {}

impl<A, B> Clone for MovingStore<A, B> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            rows: self.rows,
        }
    }
}

impl<A, B> fmt::Debug for MovingStore<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MovingStore").finish_non_exhaustive()
    }
}
