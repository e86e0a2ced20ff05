//! What the embedded stores have in common: the durability protocol around an engine.
//!
//! One thread applies what is queued and what comes meanwhile, commits, and acknowledges all of it at once. Reads are
//! inline and never wait for that, unless they ask for a row whose save is under way.
//!
//! After a write that failed nothing is acknowledged or read until the engine was opened anew,
//! at once and then every few seconds, for as long as the store lives.

#[cfg(test)]
#[cfg(feature = "sled")]
mod damage_tests;
mod disk;
mod door;
mod engine;
mod folder;
mod layout;
mod pending;
#[cfg(test)]
mod recovery_tests;
mod rewrite;
mod round;
mod rows;
#[cfg(test)]
mod store_tests;
mod tail;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::disk::Disk;
#[cfg(feature = "sled")]
pub(super) use self::engine::guarded;
pub(super) use self::engine::{Change, Engine, damaged, from_io};
pub(super) use self::folder::Folder;

use self::disk::Real;
use self::door::Door;
use self::pending::Pending;
use self::rows::Rows;
use self::writer::Writer;
use super::contract::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, StoreErrorKind, Version,
};
use super::leases::{Claims, Leases};
use crate::clock::{Clock, SystemClock, Timestamp};

/// How many keys are looked up at a time: whoever closes the door waits no longer than that.
const PAGE: usize = 64;

/// A store over an engine.
pub(super) struct Embedded<E: Engine> {
    door: Arc<Door<E>>,
    writer: Writer<E>,
    pending: Arc<Pending>,
    leases: Leases,
    claims: Claims,
    clock: SystemClock,
}

impl<E: Engine> Embedded<E> {
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Real), path).await
    }

    async fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let mut folder = Folder::take::<E>(&path, disk)?;
            // In this order: if nobody wants them any more, the rows go before the lock.
            Rows::open(&mut folder).map(|rows| (rows, folder))
        });
        let (rows, folder) = opened.await.map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "the store was not opened")
                .with_source(error)
        })??;
        let door = Arc::new(Door::new(rows));
        let pending = Arc::new(Pending::default());
        let writer = Writer::start(folder, Arc::clone(&door), Arc::clone(&pending))?;
        Ok(Self {
            door,
            writer,
            pending,
            leases: Leases::default(),
            claims: Claims::default(),
            clock: SystemClock::new(),
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Rows<E>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = self.door.read(read);
        if found.is_err() {
            self.writer.suspect();
        }
        found
    }

    /// Reads page by page, and lets others run in between.
    async fn page_through(
        &self,
        mut after: Option<RowKey>,
        group: Option<Group>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let mut rows = Vec::new();
        while rows.len() < limit {
            let wanted = PAGE.min(limit - rows.len());
            let mut keys = Vec::new();
            self.read(|rows| rows.keys(after.as_ref(), group.as_ref(), wanted, &mut keys))?;
            for key in &keys {
                // It may have been removed since.
                let row = self.read(|rows| rows.load(key))?;
                rows.extend(row.map(|row| (*key, row)));
            }
            if keys.len() < wanted {
                break;
            }
            after = keys.last().copied();
            tokio::task::yield_now().await;
        }
        Ok(rows)
    }

    /// Claims rows that are due by what can be read of the rows themselves, in no order of time.
    async fn due_by_heads(
        &self,
        now: Timestamp,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Timestamp)>, StoreError> {
        let (mut due, mut after) = (Vec::new(), None);
        while due.len() < limit {
            let mut keys = Vec::new();
            let read = self.read(|rows| rows.keys(after.as_ref(), None, PAGE, &mut keys));
            let heads = keys.iter().filter_map(|key| {
                let due = self.door.read(|rows| rows.due_of(key)).ok()??;
                (due <= now).then_some((*key, due))
            });
            due.extend(self.claims.take(heads, limit - due.len(), ttl, now));
            let is_first = after.is_none();
            after = keys.last().copied();
            match read {
                Err(error) if is_first && after.is_none() => return Err(error),
                Ok(()) if after.is_some() => tokio::task::yield_now().await,
                _ => break,
            }
        }
        Ok(due)
    }

    /// Reads, and returns what was read when it is on the disk. `is_pending` says whether
    /// what it shows, a removal too, may still be on its way there.
    async fn settled<T, R>(
        &self,
        read: impl Fn() -> R,
        is_pending: impl Fn(&T, &Pending) -> bool,
    ) -> Result<T, StoreError>
    where
        R: Future<Output = Result<T, StoreError>>,
    {
        loop {
            let turn = self.door.turn();
            let mut found = read().await?;
            // After the read: a save is pending from before it is applied until after
            // it is synced, so what was read is either pending now or on the disk.
            if is_pending(&found, &self.pending) {
                // What was accepted before counts, even if its caller is gone.
                self.writer.barrier().await?;
                found = read().await?;
                if is_pending(&found, &self.pending) {
                    // Whatever was applied by then is synced when this is answered. Not read
                    // once more, as saves may never end.
                    self.writer.barrier().await?;
                }
            }
            // Last: a save that could not be synced is no longer pending either.
            if turn == self.door.turn() {
                return Ok(found);
            }
        }
    }
}

impl<E: Engine> ByteStore for Embedded<E> {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let read = || async { self.read(|rows| rows.load(key)) };
        self.settled(read, |_, pending| pending.has(key)).await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.writer.save(*key, Some(row), expected).await
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.door.check()?;
        Ok(self.leases.take(key, owner, ttl, self.clock.now()))
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.leases.release(key, owner);
        Ok(())
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.settled(
            || self.page_through(None, Some(group), usize::MAX),
            |_, pending| pending.has_any(|key| key.group() == group),
        )
        .await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.settled(
            || self.page_through(after.copied(), None, limit),
            |rows, pending| {
                // Where it stopped; it went to the end if there were not enough.
                let last = rows.last().filter(|_| rows.len() == limit);
                pending.has_any(|key| {
                    after.is_none_or(|after| key > after)
                        && last.is_none_or(|(last, _)| key <= last)
                })
            },
        )
        .await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let now = self.clock.now();
        let (mut due, mut last, mut readable) = (Vec::new(), None, Ok(()));
        while due.len() < limit && readable.is_ok() {
            let mut page = Vec::new();
            readable = self.read(|rows| rows.due(now, last.as_ref(), PAGE, &mut page));
            last = page.last().copied();
            if last.is_none() {
                break;
            }
            due.extend(self.claims.take(page, limit - due.len(), ttl, now));
            tokio::task::yield_now().await;
        }
        if readable.is_err() {
            // It is an index only: the rows say it, too.
            let more = self.due_by_heads(now, limit - due.len(), ttl).await;
            // What is claimed already is to be handed out.
            match more {
                Ok(more) => due.extend(more),
                Err(error) if due.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        let mut claimed = Vec::new();
        for (key, due) in due {
            // One that cannot be read now is due again later, and holds up no other.
            let Ok(row) = self.load(&key).await else {
                continue;
            };
            // An entry may be ahead of its row, or behind it.
            if row.as_ref().is_none_or(|row| row.due != Some(due)) {
                self.writer.forget_due(key, due);
            }
            claimed.extend(row.filter(|row| row.is_due(now)).map(|row| (key, row)));
        }
        Ok(claimed)
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.writer.purge(*key, version).await
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

impl<E: Engine> fmt::Debug for Embedded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(E::NAME).finish_non_exhaustive()
    }
}
