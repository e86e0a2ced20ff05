//! One back end under several stores.

use std::sync::Arc;
use std::time::Duration;

use super::contract::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    SharedStore, StoreError, Version,
};

/// Whoever closes it first closes it for all.
impl<S: ByteStore> ByteStore for Arc<S> {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        S::load(self, key).await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        S::save(self, key, row, expected).await
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        S::lease(self, key, owner, ttl).await
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        S::release(self, key, owner).await
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        S::list(self, group).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        S::scan(self, after, limit).await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        S::claim_due(self, limit, ttl).await
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        S::purge(self, key, version).await
    }

    fn durability(&self) -> Durability {
        S::durability(self)
    }

    async fn close(&self) {
        S::close(self).await;
    }
}

impl<S: SharedStore> SharedStore for Arc<S> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, contract_suite};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_shared_store_keeps_the_contract() {
        contract_suite(Arc::new(MemoryStore::new())).await.unwrap();
    }
}
