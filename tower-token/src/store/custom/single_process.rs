//! A table that does not compare, in a process that does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::key_locks::KeyLocks;
use super::pages::{self, DUE_PAGE, Pages, Table};
use super::token::{Kind, SealedToken, TokenKey, version_of};
use super::traits::UserTokenStore;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::store::contract::byte_store::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, StoreErrorKind, Version,
};
use crate::store::gate::{Gate, Pass};
use crate::store::leases::{Claims, Leases};

/// A store over a [`UserTokenStore`], for one process.
///
/// The table does not compare before it writes, so this does, one write of a key at a time; it
/// keeps leases and claims, too. Of another process with the same table it knows nothing: two
/// would spend the same refresh token. So it is no [`SharedStore`](crate::SharedStore), and
/// [`SealedStore::open_shared`](crate::SealedStore::open_shared) does not take it. What else is
/// lost is in [the chapter](super#what-is-lost).
///
/// ```compile_fail,E0277
/// # use tower_token::{KeyRing, SealedStore, store::custom::{SingleProcess, UserTokenStore}};
/// # async fn f(table: impl UserTokenStore, keys: KeyRing) -> Result<(), tower_token::Error> {
/// SealedStore::open_shared(SingleProcess::new(table), keys).await?;
/// # Ok(()) }
/// ```
///
/// A write is finished whoever waits for it, in a task of its own: it needs a tokio runtime.
pub struct SingleProcess<T>(Arc<Inner<T>>);

struct Inner<T> {
    table: T,
    gate: Gate,
    locks: Arc<KeyLocks>,
    leases: Leases,
    claims: Claims,
    clock: Box<dyn Clock>,
}

impl<T: UserTokenStore> SingleProcess<T> {
    /// A store over `table`, which nobody else writes.
    pub fn new(table: T) -> Self {
        Self::with_clock(table, SystemClock::new())
    }

    /// The same by another clock than the system's.
    pub fn with_clock(table: T, clock: impl Clock) -> Self {
        Self(Arc::new(Inner {
            table,
            gate: Gate::default(),
            locks: Arc::default(),
            leases: Leases::default(),
            claims: Claims::default(),
            clock: Box::new(clock),
        }))
    }

    /// Does `work` alone on `key`, to its end: a write that goes on after its caller has given
    /// up would be over another's.
    async fn alone<R: Send + 'static, F>(
        &self,
        pass: Pass,
        key: RowKey,
        work: impl FnOnce(Arc<Inner<T>>) -> F,
    ) -> Option<R>
    where
        F: Future<Output = R> + Send + 'static,
    {
        let (locks, work) = (Arc::clone(&self.0.locks), work(Arc::clone(&self.0)));
        let done = tokio::spawn(async move {
            let _pass = pass;
            let _lock = locks.lock(key).await;
            work.await
        });
        done.await.ok()
    }
}

impl<T: UserTokenStore> Inner<T> {
    async fn save(
        &self,
        key: &TokenKey,
        row: &SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let found = self.version(key).await?;
        if version_of(expected) != found {
            return Ok(SaveOutcome::Conflict);
        }
        let token = SealedToken::written(row)?;
        let version = token.version;
        let Err(error) = self.table.store(key, token).await else {
            return Ok(SaveOutcome::Saved(Version(version)));
        };
        match self.version(key).await {
            Ok(now) if now == Some(version) => Ok(SaveOutcome::Saved(Version(version))),
            Ok(now) if now == found => Err(error),
            Ok(_) | Err(_) => Ok(SaveOutcome::Unknown),
        }
    }

    async fn purge(&self, key: &TokenKey, version: Version) -> Result<bool, StoreError> {
        if self.version(key).await? != Some(version.0) {
            return Ok(false);
        }
        self.table.clear(key).await.map(|()| true)
    }

    async fn version(&self, key: &TokenKey) -> Result<Option<u64>, StoreError> {
        let found = self.table.retrieve(key).await?;
        Ok(found.map(|token| token.version))
    }
}

impl<T: UserTokenStore> Table for Inner<T> {
    async fn find(&self, key: &TokenKey) -> Result<Option<SealedToken>, StoreError> {
        self.table.retrieve(key).await
    }

    async fn page(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> Result<Vec<(TokenKey, Option<Timestamp>)>, StoreError> {
        self.table.keys(after, limit).await
    }
}

impl<T: UserTokenStore> ByteStore for SingleProcess<T> {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let _pass = self.0.gate.pass().await?;
        pages::load(&*self.0, key).await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let pass = self.0.gate.pass().await?;
        let token_key = TokenKey::of(key, Kind::Row);
        let work =
            |inner: Arc<Inner<T>>| async move { inner.save(&token_key, &row, expected).await };
        let saved = self.alone(pass, *key, work).await;
        // It panicked, or its runtime has gone.
        saved.unwrap_or(Ok(SaveOutcome::Unknown))
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        let _pass = self.0.gate.pass().await?;
        let now = self.0.clock.now();
        Ok(self.0.leases.take(key, owner, ttl, now))
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.0.leases.release(key, owner);
        Ok(())
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.0.gate.pass().await?;
        pages::list(&*self.0, group).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.0.gate.pass().await?;
        pages::scan(&*self.0, after, limit).await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.0.gate.pass().await?;
        let now = self.0.clock.now();
        let (mut pages, mut claimed) = (Pages::all(&*self.0), Vec::new());
        while claimed.len() < limit {
            let page = pages.next(DUE_PAGE).await?;
            if page.is_empty() {
                break;
            }
            let due = pages::due(page, now).map(|(_, key, _)| (key, ()));
            let room = limit - claimed.len();
            for (key, ()) in self.0.claims.take(due, room, ttl, now) {
                // It may have changed since it was listed.
                let row = pages::load(&*self.0, &key).await?;
                let row = row.filter(|row| row.is_due(now));
                claimed.extend(row.map(|row| (key, row)));
            }
        }
        Ok(claimed)
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        let pass = self.0.gate.pass().await?;
        let token_key = TokenKey::of(key, Kind::Row);
        let work = |inner: Arc<Inner<T>>| async move { inner.purge(&token_key, version).await };
        let purged = self.alone(pass, *key, work).await;
        purged.unwrap_or_else(|| {
            let message = "the custom store panicked, or its runtime has gone";
            Err(StoreError::new(StoreErrorKind::Unavailable, message))
        })
    }

    fn durability(&self) -> Durability {
        self.0.table.durability()
    }

    async fn close(&self) {
        self.0.gate.close().await;
    }
}

impl<T> fmt::Debug for SingleProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleProcess").finish_non_exhaustive()
    }
}
