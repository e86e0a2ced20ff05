#![doc = include_str!("writing_a_store.md")]

pub(crate) mod byte_store;
pub(crate) mod changes;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod suite;

pub(crate) use self::byte_store::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    SharedStore, StoreError, StoreErrorKind, Version,
};
pub(crate) use self::changes::{Announce, Changes, Cursor};
#[cfg(any(test, feature = "testkit"))]
pub use self::suite::{Case, Outcome, Report, Suite};
