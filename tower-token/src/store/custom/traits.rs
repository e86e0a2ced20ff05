//! What the owner of a table implements.

use std::future::{Future, ready};

use super::token::{SealedToken, TokenKey};
use crate::clock::Timestamp;
use crate::store::contract::byte_store::{Durability, StoreError, StoreErrorKind};

/// Three calls over a table of yours, for one process: [`SingleProcess`](super::SingleProcess)
/// makes a store of it. See [the chapter](super) for a whole one.
pub trait UserTokenStore: Send + Sync + 'static {
    /// Keeps `token` under `key`, in the place of what was there.
    ///
    /// The write is over when this ends, also with an error: it does not happen later. Two calls
    /// for one key never overlap.
    fn store(
        &self,
        key: &TokenKey,
        token: SealedToken,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What was stored last under `key`, all of it as it was: its version, too.
    fn retrieve(
        &self,
        key: &TokenKey,
    ) -> impl Future<Output = Result<Option<SealedToken>, StoreError>> + Send;

    /// Removes what is under `key`. Not to find anything is no error.
    fn clear(&self, key: &TokenKey) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// At most `limit` keys that come after `after`, in their order, each with the
    /// [`due`](SealedToken::due) of its token. `after` need not be there, and may be a user without a
    /// resource, which is before all of theirs.
    ///
    /// Leave it as it is if your table cannot list its keys: it then says that it does not.
    fn keys(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(TokenKey, Option<Timestamp>)>, StoreError>> + Send {
        let _ = (after, limit);
        ready(Err(no_keys()))
    }

    /// What a token that was stored survives: by default nothing is said to.
    fn durability(&self) -> Durability {
        Durability::Memory
    }
}

/// The same three calls where several processes share the table: those that write say what they
/// replace, and the table compares. [`MultiProcess`](super::MultiProcess) makes a store of it.
pub trait SharedUserTokenStore: Send + Sync + 'static {
    /// Keeps `token` under `key` if what is there has the version `replaces`, or if nothing is
    /// there and it is `None`. Whether it did.
    ///
    /// One step, for all processes: `INSERT .. ON CONFLICT DO NOTHING`, and `UPDATE .. WHERE
    /// version = ..`. A look and then a write is none.
    fn store(
        &self,
        key: &TokenKey,
        token: SealedToken,
        replaces: Option<u64>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What was stored last under `key`: by any process, so from no cache and no replica.
    fn retrieve(
        &self,
        key: &TokenKey,
    ) -> impl Future<Output = Result<Option<SealedToken>, StoreError>> + Send;

    /// Removes what is under `key` if its version is `version`, in one step. Whether it did.
    fn clear(
        &self,
        key: &TokenKey,
        version: u64,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The time, by one clock for all: the database's, as `SELECT now()`. Processes go by it to
    /// tell whether another's exchange can still be under way.
    fn now(&self) -> impl Future<Output = Result<Timestamp, StoreError>> + Send;

    /// As [`UserTokenStore::keys`].
    fn keys(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(TokenKey, Option<Timestamp>)>, StoreError>> + Send {
        let _ = (after, limit);
        ready(Err(no_keys()))
    }

    /// As [`UserTokenStore::durability`].
    fn durability(&self) -> Durability {
        Durability::Memory
    }
}

fn no_keys() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unsupported,
        "the custom store cannot list its keys: implement `keys` for what needs that",
    )
}
