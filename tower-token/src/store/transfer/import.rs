//! A stream of bytes into a store.

use std::fmt;
use std::sync::Arc;

use super::format::{Body, Chain, Head, changed, invalid};
use super::keys;
use super::progress::TransferProgress;
use super::put::{Incoming, put_all};
use super::reader::{Piece, Reader};
use crate::error::{Error, ErrorKind};
use crate::store::contract::{ByteStore, Durability};
use crate::store::erased::DynByteStore;
use crate::store::key_provider::{KeyProvider, provided};
use crate::store::keyring::KeyRing;
use crate::store::open::{SealedStoreBuilder, unwrapped};
use crate::store::sealed::{Opener, SealedStore};

/// How much is taken apart at once.
const PIECE: usize = 64 << 10;

/// Takes an export in; see [`SealedStore::import`] and [`SealedStoreBuilder::restore`].
///
/// What is [written](Self::write) to it has to be the bytes of one [`Export`](super::Export), in
/// whatever pieces. Nothing is believed before it is authenticated: a frame that was changed,
/// left out or moved is refused with [`ErrorKind::InvalidExport`], and so is all that comes after
/// it. That the end is missing is known only [there](Self::finish). What was written until then
/// stays in the store, which is right: each row is as it was exported, none was made older.
///
/// After an error, or a call that was dropped, begin again: another import, from the first byte.
/// What is there by then costs a read.
#[derive(Debug)]
pub struct Import {
    /// Where the records go to, once it is open.
    target: Option<SealedStore>,
    to_open: Option<Box<ToOpen>>,
    source: Option<Source>,
    source_keys: KeyRing,
    reader: Reader,
    /// How many rows were authenticated.
    rows: u64,
    progress: TransferProgress,
    is_broken: bool,
}

/// A store that is given the keyset of the export, if it is empty.
struct ToOpen {
    builder: SealedStoreBuilder,
    store: Arc<dyn DynByteStore>,
    durability: Durability,
    ring: KeyRing,
}

/// Where they come from.
#[derive(Debug)]
struct Source {
    opener: Opener,
    chain: Chain,
}

impl SealedStoreBuilder {
    /// Restores an export into `store`, which is empty: with the keyset that it carries, as it is
    /// wrapped there, so that the same outer keys open it. A restore that was stopped is begun
    /// anew, over what it has written. A store that has rows and has lost its keyset gets that back
    /// from an export of its own.
    ///
    /// A store that has other keys already fails with [`ErrorKind::Config`], once the beginning of
    /// the export was [written](Import::write): open such a one, and [import](SealedStore::import).
    pub async fn restore(
        self,
        store: impl ByteStore,
        keys: impl KeyProvider,
    ) -> Result<Import, Error> {
        let ring = provided(keys).await?;
        let to_open = ToOpen {
            builder: self,
            durability: store.durability(),
            store: Arc::new(store),
            ring: ring.clone(),
        };
        Ok(Import::new(None, Some(Box::new(to_open)), ring))
    }
}

impl Import {
    pub(super) fn into_store(store: SealedStore) -> Self {
        let ring = store.keys.ring().clone();
        Self::new(Some(store), None, ring)
    }

    fn new(
        target: Option<SealedStore>,
        to_open: Option<Box<ToOpen>>,
        source_keys: KeyRing,
    ) -> Self {
        Self {
            target,
            to_open,
            source: None,
            source_keys,
            reader: Reader::default(),
            rows: 0,
            progress: TransferProgress::default(),
            is_broken: false,
        }
    }

    /// The outer keys that the export can be opened with, where they are not those of the store
    /// that it goes to.
    #[must_use]
    pub fn source_keys(mut self, keys: KeyRing) -> Self {
        self.source_keys = keys;
        self
    }

    /// How far it has come.
    pub fn progress(&self) -> &TransferProgress {
        &self.progress
    }

    /// Takes the bytes that come next, any number of them. When this is done so are the rows that
    /// they complete: they are as durable as the store makes them.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check()?;
        // Until it is known that nothing went wrong, a drop included.
        self.is_broken = true;
        for piece in bytes.chunks(PIECE) {
            self.reader.push(piece);
            self.take().await?;
        }
        self.is_broken = false;
        Ok(())
    }

    /// Says that there is no more, and gives the store. Fails if the export goes on.
    pub async fn finish(&mut self) -> Result<SealedStore, Error> {
        self.check()?;
        match &self.target {
            Some(store) if self.progress.is_done => Ok(store.clone()),
            _ => {
                self.is_broken = true;
                Err(invalid(
                    "the export ends too early: what came is in the store, and whoever has the \
                     rest can import it again from its beginning",
                ))
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        if !self.is_broken {
            return Ok(());
        }
        let message = "this import has failed: begin another, from the first byte of the export";
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Takes in what has come: of a piece that is refused somewhere, all that stands before.
    async fn take(&mut self) -> Result<(), Error> {
        let mut records = Vec::new();
        let read = self.read(&mut records).await;
        if let (Some(store), Some(source)) = (&self.target, &self.source) {
            let from = &source.opener.seen.keyset;
            put_all(store, from, records, &mut self.progress).await?;
        }
        self.progress.is_done |= read?;
        Ok(())
    }

    /// Adds the rows that have come to `records`; whether they end there.
    async fn read(&mut self, records: &mut Vec<Incoming>) -> Result<bool, Error> {
        let mut is_done = false;
        while let Some(piece) = self.reader.next()? {
            let frame = match piece {
                Piece::Head(head) => {
                    self.begin(&head).await?;
                    continue;
                }
                Piece::Frame(frame) => frame,
            };
            let Some(Source { opener, chain }) = &mut self.source else {
                return Err(changed());
            };
            match chain.check(&frame)? {
                Body::Row(row_key, row) => {
                    self.rows += 1;
                    let (due, record) = (row.due, opener.record(&row_key, &row));
                    records.push(Incoming {
                        row_key,
                        due,
                        record,
                    });
                }
                Body::End { rows, unreadable } => {
                    if rows != self.rows {
                        return Err(invalid("the export has not as many rows as it says"));
                    }
                    self.progress.unreadable += unreadable;
                    is_done = true;
                }
            }
        }
        Ok(is_done)
    }

    /// Learns by which keys the export was sealed, and opens the store that it goes to.
    async fn begin(&mut self, head: &Head) -> Result<(), Error> {
        let seen = unwrapped(head.keyset.clone(), &self.source_keys).map_err(|cause| {
            let message = "the export's keyset does not open: it takes an outer key of the store \
                           that was exported";
            Error::with_source(ErrorKind::Key, message, cause)
        })?;
        let chain = Chain::of(keys::open_key(&seen.keyset, &head.sealed_key)?, head)?;
        if let Some(to_open) = self.to_open.take() {
            let ToOpen {
                builder,
                store,
                durability,
                ring,
            } = *to_open;
            let given = Some(head.keyset.clone());
            self.target = Some(builder.open_over(store, durability, ring, given).await?);
        }
        let opener = Opener {
            seen: Arc::new(seen),
        };
        self.source = Some(Source { opener, chain });
        Ok(())
    }
}

impl fmt::Debug for ToOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToOpen")
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}
