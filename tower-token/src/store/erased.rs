//! The one place where back ends are erased: callers name `impl ByteStore`, the
//! sealed store holds a `dyn` of it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::contract::{
    ByteStore, Changes, Cursor, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome,
    SealedRow, StoreError, Version,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(super) trait DynByteStore: Send + Sync {
    fn load<'a>(&'a self, key: &'a RowKey) -> Boxed<'a, Result<Option<Row>, StoreError>>;
    fn save<'a>(
        &'a self,
        key: &'a RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Boxed<'a, Result<SaveOutcome, StoreError>>;
    fn lease<'a>(
        &'a self,
        key: &'a RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Boxed<'a, Result<Lease, StoreError>>;
    fn release<'a>(
        &'a self,
        key: &'a RowKey,
        owner: LeaseOwner,
    ) -> Boxed<'a, Result<(), StoreError>>;
    fn list(&self, group: Group) -> Boxed<'_, Result<Vec<(RowKey, Row)>, StoreError>>;
    fn scan<'a>(
        &'a self,
        after: Option<&'a RowKey>,
        limit: usize,
    ) -> Boxed<'a, Result<Vec<(RowKey, Row)>, StoreError>>;
    fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Boxed<'_, Result<Vec<(RowKey, Row)>, StoreError>>;
    fn purge<'a>(
        &'a self,
        key: &'a RowKey,
        version: Version,
    ) -> Boxed<'a, Result<bool, StoreError>>;
    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a Cursor>,
        limit: usize,
    ) -> Boxed<'a, Result<Changes, StoreError>>;
    fn announced(&self) -> Boxed<'_, ()>;
    fn released<'a>(&'a self, key: &'a RowKey) -> Boxed<'a, ()>;
    fn close(&self) -> Boxed<'_, ()>;
}

impl<S: ByteStore> DynByteStore for S {
    fn load<'a>(&'a self, key: &'a RowKey) -> Boxed<'a, Result<Option<Row>, StoreError>> {
        Box::pin(ByteStore::load(self, key))
    }

    fn save<'a>(
        &'a self,
        key: &'a RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Boxed<'a, Result<SaveOutcome, StoreError>> {
        Box::pin(ByteStore::save(self, key, row, expected))
    }

    fn lease<'a>(
        &'a self,
        key: &'a RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Boxed<'a, Result<Lease, StoreError>> {
        Box::pin(ByteStore::lease(self, key, owner, ttl))
    }

    fn release<'a>(
        &'a self,
        key: &'a RowKey,
        owner: LeaseOwner,
    ) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(ByteStore::release(self, key, owner))
    }

    fn list(&self, group: Group) -> Boxed<'_, Result<Vec<(RowKey, Row)>, StoreError>> {
        Box::pin(ByteStore::list(self, group))
    }

    fn scan<'a>(
        &'a self,
        after: Option<&'a RowKey>,
        limit: usize,
    ) -> Boxed<'a, Result<Vec<(RowKey, Row)>, StoreError>> {
        Box::pin(ByteStore::scan(self, after, limit))
    }

    fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Boxed<'_, Result<Vec<(RowKey, Row)>, StoreError>> {
        Box::pin(ByteStore::claim_due(self, limit, ttl))
    }

    fn purge<'a>(
        &'a self,
        key: &'a RowKey,
        version: Version,
    ) -> Boxed<'a, Result<bool, StoreError>> {
        Box::pin(ByteStore::purge(self, key, version))
    }

    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a Cursor>,
        limit: usize,
    ) -> Boxed<'a, Result<Changes, StoreError>> {
        Box::pin(ByteStore::changes_since(self, cursor, limit))
    }

    fn announced(&self) -> Boxed<'_, ()> {
        Box::pin(ByteStore::announced(self))
    }

    fn released<'a>(&'a self, key: &'a RowKey) -> Boxed<'a, ()> {
        Box::pin(ByteStore::released(self, key))
    }

    fn close(&self) -> Boxed<'_, ()> {
        Box::pin(ByteStore::close(self))
    }
}
