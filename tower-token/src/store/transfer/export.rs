//! A store as a stream of bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::format::{self, Chain};
use super::keys;
use super::progress::TransferProgress;
use super::put::Fate;
use crate::error::{Error, ErrorKind};
use crate::store::contract::{Row, RowKey};
use crate::store::keyset::Seen;
use crate::store::seal::{self, Key};
use crate::store::sealed::{Found, SealedStore};

/// How many rows are read at once. They may be large.
const ROWS: usize = 16;

/// A store as bytes, some at a time; see [`SealedStore::export`].
///
/// Nothing can be read in them without the outer key: they are what the store has, sealed. One
/// that is dropped before its [end](Self::chunk) leaves bytes that no import takes for whole.
#[derive(Debug)]
pub struct Export {
    store: SealedStore,
    begun: Option<Begun>,
    progress: TransferProgress,
}

#[derive(Debug)]
struct Begun {
    /// What stands in the head. Every row is under a key of it.
    seen: Arc<Seen>,
    chain: Chain,
}

impl Export {
    pub(super) fn new(store: SealedStore) -> Self {
        Self {
            store,
            begun: None,
            progress: TransferProgress::default(),
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> &TransferProgress {
        &self.progress
    }

    /// The bytes that come next; `None` after the last. Mostly some tens of kilobytes.
    ///
    /// The store is read only when this is asked for. After an error the same rows are taken up
    /// again, and so they are after a call that was dropped.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.progress.is_done {
            return Ok(None);
        }
        let Some(begun) = &mut self.begun else {
            let (head, begun) = begin(&self.store).await?;
            self.begun = Some(begun);
            return Ok(Some(head));
        };
        loop {
            let after = self.progress.cursor;
            let rows = self.store.rows_after(after.as_ref(), ROWS).await?;
            let found = self.store.all_found(rows.clone()).await?;
            let mut exported = Vec::with_capacity(rows.len());
            for ((row_key, row), (_, found)) in rows.into_iter().zip(found) {
                exported.push((
                    row_key,
                    begun.readable(&self.store, row_key, row, &found).await?,
                ));
            }
            // From here on nothing is waited for.
            let mut chunk = BytesMut::new();
            if exported.is_empty() {
                let TransferProgress {
                    written,
                    unreadable,
                    ..
                } = self.progress;
                begun.chain.end(&mut chunk, written, unreadable);
                self.progress.is_done = true;
                return Ok(Some(chunk.freeze()));
            }
            let fates = exported.into_iter().map(|(row_key, row)| match row {
                Some(row) => {
                    begun.chain.row(&mut chunk, &row_key, &row);
                    (row_key, Ok(Fate::Written))
                }
                None => (row_key, Ok(Fate::Unreadable)),
            });
            self.progress.add(fates)?;
            if !chunk.is_empty() {
                return Ok(Some(chunk.freeze()));
            }
        }
    }
}

async fn begin(store: &SealedStore) -> Result<(Bytes, Begun), Error> {
    let (seen, _) = store.keys.look(&*store.store).await?;
    if seen.bytes.len() > format::MAX_KEYSET {
        let message = "the store's keyset is too large to be exported";
        return Err(Error::new(ErrorKind::Store, message));
    }
    let key = Key::random()?;
    let sealed_key = keys::seal_key(&seen.keyset, &key)?;
    let (head, chain) = format::head(key, &sealed_key, &seen.bytes);
    Ok((head.freeze(), Begun { seen, chain }))
}

impl Begun {
    /// A row that opens with the keys of the head; `None` for one that does not open at all.
    async fn readable(
        &self,
        store: &SealedStore,
        row_key: RowKey,
        row: Row,
        found: &Found,
    ) -> Result<Option<Row>, Error> {
        if found.record.is_err() || !format::fits(&row) {
            return Ok(None);
        }
        let keyset = &self.seen.keyset;
        if keyset.by_id(seal::key_id(&row.bytes)?).is_ok() {
            return Ok(Some(row));
        }
        // Sealed by a key that was added since.
        let text = store.opener_of(&row).await?.text(&row_key, &row)?;
        let bytes = keys::seal_row(keyset, &row_key, &text)?;
        Ok(Some(Row::new(row.version, row.due, bytes.into())))
    }
}
