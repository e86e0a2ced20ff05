//! Where grants live: sealed rows in a back end.

mod codec;
mod contract;
#[cfg(any(test, feature = "testkit"))]
mod contract_suite;
mod delegate;
#[cfg(any(feature = "sled", feature = "redb"))]
mod embedded;
mod erased;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod key_provider;
mod keyring;
#[cfg(test)]
mod keys_tests;
mod keyset;
mod leases;
mod memory;
mod open;
#[cfg(feature = "redb")]
mod redb;
mod rotation;
mod seal;
mod sealed;
mod shared;
#[cfg(feature = "sled")]
mod sled;

pub use self::contract::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, StoreErrorKind, Version,
};
#[cfg(any(test, feature = "testkit"))]
pub use self::contract_suite::contract_suite;
pub use self::key_provider::KeyProvider;
pub use self::keyring::KeyRing;
pub use self::keyset::{DataKey, DataKeyState};
pub use self::memory::MemoryStore;
pub use self::open::SealedStoreBuilder;
#[cfg(feature = "redb")]
pub use self::redb::RedbStore;
pub use self::rotation::{KeyRotation, Rewrap, RewrapProgress};
pub(crate) use self::seal::fill;
pub(crate) use self::sealed::Found;
pub use self::sealed::SealedStore;
#[cfg(feature = "sled")]
pub use self::sled::SledStore;
