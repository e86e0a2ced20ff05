//! Every kind of store that there is, as one type.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tower_token::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, MemoryStore, RedbStore, Row, RowKey,
    SaveOutcome, SealedRow, SledStore, StoreError, Version,
};

use crate::BoxError;

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory.
    Memory,
    /// In a folder.
    Sled,
    /// In a folder, too.
    Redb,
}

impl Kind {
    /// All of them. What is promised of every store is tested over these.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Sled, Self::Redb];

    /// From each to each.
    pub fn pairs() -> impl Iterator<Item = (Self, Self)> {
        let all = Self::ALL.into_iter();
        all.flat_map(|from| Self::ALL.map(|to| (from, to)))
    }

    /// An empty store of this kind.
    pub async fn make(self) -> Result<AnyStore, BoxError> {
        Ok(match self {
            Self::Memory => AnyStore::Memory(MemoryStore::new()),
            Self::Sled => {
                let folder = tempfile::tempdir()?;
                let rows = SledStore::open(folder.path()).await?;
                AnyStore::Sled(Arc::new((rows, folder)))
            }
            Self::Redb => {
                let folder = tempfile::tempdir()?;
                let rows = RedbStore::open(folder.path()).await?;
                AnyStore::Redb(Arc::new((rows, folder)))
            }
        })
    }
}

/// A store of one of the kinds. Clones are the same store.
#[derive(Debug, Clone)]
pub enum AnyStore {
    /// In memory.
    Memory(MemoryStore),
    /// In a folder that goes with it.
    Sled(Arc<(SledStore, TempDir)>),
    /// The same.
    Redb(Arc<(RedbStore, TempDir)>),
}

macro_rules! of_each {
    ($store:expr, $rows:ident => $call:expr) => {
        match $store {
            AnyStore::Memory($rows) => $call,
            AnyStore::Sled(sled) => {
                let $rows = &sled.0;
                $call
            }
            AnyStore::Redb(redb) => {
                let $rows = &redb.0;
                $call
            }
        }
    };
}

impl ByteStore for AnyStore {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        of_each!(self, rows => rows.load(key).await)
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        of_each!(self, rows => rows.save(key, row, expected).await)
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        of_each!(self, rows => rows.lease(key, owner, ttl).await)
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        of_each!(self, rows => rows.release(key, owner).await)
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        of_each!(self, rows => rows.list(group).await)
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        of_each!(self, rows => rows.scan(after, limit).await)
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        of_each!(self, rows => rows.claim_due(limit, ttl).await)
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        of_each!(self, rows => rows.purge(key, version).await)
    }

    fn durability(&self) -> Durability {
        of_each!(self, rows => rows.durability())
    }

    async fn close(&self) {
        of_each!(self, rows => rows.close().await);
    }
}
