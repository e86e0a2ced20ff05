//! Where grants live: sealed rows in a back end.

mod codec;
mod contract;
#[cfg(any(test, feature = "testkit"))]
mod contract_suite;
mod erased;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod keyring;
mod keyset;
mod leases;
mod memory;
mod seal;
mod sealed;
#[cfg(feature = "sled")]
mod sled;

pub use self::contract::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, StoreErrorKind, Version,
};
#[cfg(any(test, feature = "testkit"))]
pub use self::contract_suite::contract_suite;
pub use self::keyring::KeyRing;
pub use self::memory::MemoryStore;
pub(crate) use self::seal::fill;
pub(crate) use self::sealed::Found;
pub use self::sealed::SealedStore;
#[cfg(feature = "sled")]
pub use self::sled::SledStore;
