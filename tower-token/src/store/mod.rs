//! Where grants live: sealed rows in a back end.
//!
//! What an application needs of it is at the root of this crate. Here is what those need who
//! keep the rows themselves: [`contract`] for a back end, [`custom`] for a table that is already
//! there.

mod codec;
pub mod contract;
pub mod custom;
mod delegate;
#[cfg(any(feature = "sled", feature = "redb"))]
mod embedded;
mod erased;
mod gate;
mod hear;
pub(crate) mod key_provider;
pub(crate) mod keyring;
#[cfg(test)]
mod keys_tests;
pub(crate) mod keyset;
mod leases;
pub(crate) mod memory;
pub(crate) mod moving;
pub(crate) mod open;
mod pass;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(any(fuzzing, feature = "testkit"))]
pub(crate) mod probe;
#[cfg(feature = "redb")]
pub(crate) mod redb;
pub(crate) mod rotation;
mod seal;
pub(crate) mod sealed;
mod sent;
mod shared;
#[cfg(feature = "sled")]
pub(crate) mod sled;
pub(crate) mod transfer;
mod version;

// At the root of the crate each type has its one public path.
pub(crate) use self::contract::byte_store::{Expected, Lease, RowKey, SaveOutcome, Version};
pub(crate) use self::contract::changes::Cursor;
pub(crate) use self::hear::Heard;
pub(crate) use self::seal::fill;
pub(crate) use self::sealed::{Found, SealedStore};
pub(crate) use self::sent::Sent;
#[cfg(test)]
pub(crate) use self::{
    contract::byte_store::{ByteStore, SealedRow},
    contract::suite::contract_suite,
    key_provider::KeyProvider,
    keyring::KeyRing,
    memory::MemoryStore,
    rotation::KeyRotation,
};
