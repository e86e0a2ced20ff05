//! One back end under several stores.

use std::sync::Arc;
use std::time::Duration;

use super::contract::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, Version,
};
use super::delegate::byte_store_by;

// Whoever closes it first closes it for all.
byte_store_by!([S: ByteStore] Arc<S>, self => (**self));
