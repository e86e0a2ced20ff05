//! What other processes did to a store that is shared with them.

use std::future::Future;

use super::contract::{Cursor, RowKey};
use super::keyset::Keyset;
use super::sealed::{Found, SealedStore};
use crate::error::Error;
use crate::key::GrantKey;

/// What was announced since the last look.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) found: Vec<Found>,
    /// It may not be all.
    pub(crate) missed: bool,
    pub(crate) next: Cursor,
}

impl SealedStore {
    /// Whether other processes may have it open.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// What was announced since `cursor`; see
    /// [`changes_since`](crate::ByteStore::changes_since).
    pub(crate) async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Heard, Error> {
        let changes = self.store.changes_since(cursor, limit).await?;
        if changes
            .rows
            .iter()
            .any(|(key, _)| *key == Keyset::row_key())
        {
            // Only when the store was moved: nothing more is to be written here.
            self.keys.forget_look();
        }
        let found = self.all_found(changes.rows).await?;
        Ok(Heard {
            found: found.into_iter().map(|(_, found)| found).collect(),
            missed: changes.missed,
            next: changes.next,
        })
    }

    /// Ends when something may have been announced since the call, or soon after it.
    pub(crate) fn announced(&self) -> impl Future<Output = ()> + Send + '_ {
        self.store.announced()
    }

    /// The row of `key`, to hear by it when its lease is [released](Self::released).
    pub(crate) fn row_of(&self, key: &GrantKey) -> RowKey {
        self.row(key)
    }

    /// Ends when the lease on a row may have been released since the call, or soon after it.
    pub(crate) fn released<'a>(&'a self, row: &'a RowKey) -> impl Future<Output = ()> + Send + 'a {
        self.store.released(row)
    }
}
