//! A table that compares, for as many processes as there are.

use std::fmt;
use std::time::Duration;

use super::marks;
use super::pages::{self, DUE_PAGE, Pages, Table};
use super::token::{Kind, SealedToken, TokenKey, version_of};
use super::traits::SharedUserTokenStore;
use crate::clock::Timestamp;
use crate::store::contract::byte_store::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    SharedStore, StoreError, Version,
};
use crate::store::gate::Gate;
use crate::store::version::unused;

/// A store over a [`SharedUserTokenStore`], for several processes: each has one of its own over
/// the same table.
///
/// Leases and claims are rows of the table, too: a refresh writes four instead of two. Those
/// whose process died are removed when their time is over, if the table can list its
/// [`keys`](SharedUserTokenStore::keys).
pub struct MultiProcess<T> {
    table: T,
    gate: Gate,
}

impl<T: SharedUserTokenStore> MultiProcess<T> {
    /// A store over `table`.
    pub fn new(table: T) -> Self {
        Self {
            table,
            gate: Gate::default(),
        }
    }

    /// The row that is due under `key`, if nobody else has claimed it.
    async fn claim(
        &self,
        key: &RowKey,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Row>, StoreError> {
        // A claim has no owner, so each is somebody else's.
        let mut owner = [0; 16];
        owner[..8].copy_from_slice(&unused()?.to_be_bytes());
        let mark = TokenKey::of(key, Kind::Claim);
        match marks::take(&self.table, &mark, LeaseOwner(owner), ttl).await? {
            Lease::Held { .. } => Ok(None),
            // It may have changed since it was listed.
            Lease::Granted { .. } => {
                Ok(pages::load(self, key).await?.filter(|row| row.is_due(now)))
            }
        }
    }
}

impl<T: SharedUserTokenStore> Table for MultiProcess<T> {
    async fn find(&self, key: &TokenKey) -> Result<Option<SealedToken>, StoreError> {
        self.table.retrieve(key).await
    }

    async fn page(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> Result<Vec<(TokenKey, Option<Timestamp>)>, StoreError> {
        self.table.keys(after, limit).await
    }
}

impl<T: SharedUserTokenStore> SharedStore for MultiProcess<T> {}

impl<T: SharedUserTokenStore> ByteStore for MultiProcess<T> {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let _pass = self.gate.pass().await?;
        pages::load(self, key).await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let _pass = self.gate.pass().await?;
        let (key, token) = (TokenKey::of(key, Kind::Row), SealedToken::written(&row)?);
        let saved = SaveOutcome::Saved(Version(token.version));
        let version = token.version;
        match self.table.store(&key, token, version_of(expected)).await {
            Ok(true) => Ok(saved),
            Ok(false) => Ok(SaveOutcome::Conflict),
            // What was sent may still arrive.
            Err(_) => match self.table.retrieve(&key).await {
                Ok(Some(found)) if found.version == version => Ok(saved),
                Ok(_) | Err(_) => Ok(SaveOutcome::Unknown),
            },
        }
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        let _pass = self.gate.pass().await?;
        marks::take(&self.table, &TokenKey::of(key, Kind::Lease), owner, ttl).await
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        let _pass = self.gate.pass().await?;
        marks::release(&self.table, &TokenKey::of(key, Kind::Lease), owner).await
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.gate.pass().await?;
        pages::list(self, group).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.gate.pass().await?;
        pages::scan(self, after, limit).await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.gate.pass().await?;
        let now = self.table.now().await?;
        let (mut pages, mut claimed) = (Pages::all(self), Vec::new());
        while claimed.len() < limit {
            let page = pages.next(DUE_PAGE).await?;
            if page.is_empty() {
                break;
            }
            for (key, row_key, kind) in pages::due(page, now) {
                match kind {
                    Kind::Row if claimed.len() < limit => {
                        let row = self.claim(&row_key, ttl, now).await?;
                        claimed.extend(row.map(|row| (row_key, row)));
                    }
                    Kind::Row => {}
                    Kind::Lease | Kind::Claim => marks::expire(&self.table, &key, now).await?,
                }
            }
        }
        Ok(claimed)
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        let _pass = self.gate.pass().await?;
        let key = TokenKey::of(key, Kind::Row);
        self.table.clear(&key, version.0).await
    }

    fn durability(&self) -> Durability {
        self.table.durability()
    }

    async fn close(&self) {
        self.gate.close().await;
    }
}

impl<T> fmt::Debug for MultiProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiProcess").finish_non_exhaustive()
    }
}
