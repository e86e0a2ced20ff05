//! One back end under several stores.

use std::sync::Arc;
use std::time::Duration;

use super::contract::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    SharedStore, StoreError, Version,
};
use super::delegate::byte_store_by;

// Whoever closes it first closes it for all.
byte_store_by!([S: ByteStore] Arc<S>, self => (**self));

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
