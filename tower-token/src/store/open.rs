//! Opening a store: its keyset is loaded, or made at the first start.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::contract::{
    ByteStore, Durability, Expected, Row, RowKey, SaveOutcome, SealedRow, SharedStore, StoreError,
    StoreErrorKind, Version,
};
use super::erased::DynByteStore;
use super::key_provider::{KeyProvider, provided};
use super::keyring::KeyRing;
use super::keyset::{KEY_POLL, Keyset, LiveKeyset, Seen};
use super::seal;
use super::sealed::{SealedStore, place};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind};

/// How many rows are looked at to know whether a keyset is theirs.
const PROBED: usize = 16;

/// Opens a [`SealedStore`] otherwise than by default; begin with [`SealedStore::builder`].
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), tower_token::Error> {
/// use std::time::Duration;
/// use tower_token::{KeyRing, MemoryStore, SealedStore};
///
/// let store = SealedStore::builder()
///     .key_poll(Duration::from_secs(10))
///     .open(MemoryStore::new(), KeyRing::generate()?)
///     .await?;
/// # let _ = store;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SealedStoreBuilder {
    poll: Duration,
    clock: Arc<dyn Clock>,
    keyset_of: Option<SealedStore>,
}

impl SealedStoreBuilder {
    pub(super) fn new() -> Self {
        Self {
            poll: KEY_POLL,
            clock: Arc::new(SystemClock::new()),
            keyset_of: None,
        }
    }

    /// How old what is known of the store's keys may be when something is sealed: a minute
    /// by default. Whoever writes then looks at them again: one more read for each of the writes
    /// that come at once.
    ///
    /// This is noted in the store when it is made, and never changed: a [rotation] waits for
    /// as long, so that no instance seals with a key that others do not know, or that is gone.
    /// An instance that sets less later looks more often; one that sets more does not look
    /// less often.
    ///
    /// [rotation]: crate::KeyRotation
    #[must_use]
    pub fn key_poll(mut self, every: Duration) -> Self {
        self.poll = every;
        self
    }

    /// Another clock than the system's. It only measures how long ago something was; dates
    /// are by the store's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Gives an empty store the keys of `source`, as they are wrapped there, and makes none: what
    /// is to hold [a copy](SealedStore::copy_to) is then the same vault. The outer keys that it is
    /// opened with have to be those of `source`.
    ///
    /// A store that has other keys already fails with [`ErrorKind::Config`].
    #[must_use]
    pub fn keyset_of(mut self, source: &SealedStore) -> Self {
        self.keyset_of = Some(source.clone());
        self
    }

    /// Opens `store` with the outer keys that `keys` has; see [`SealedStore::open`].
    pub async fn open(
        self,
        store: impl ByteStore,
        keys: impl KeyProvider,
    ) -> Result<SealedStore, Error> {
        let ring = provided(keys).await?;
        let given = match &self.keyset_of {
            Some(source) => Some(source.keys.look(&*source.store).await?.0.bytes.clone()),
            None => None,
        };
        let durability = store.durability();
        self.open_over(Arc::new(store), durability, ring, given)
            .await
    }

    /// Opens `store`, whose keyset is `given` if it has none and is empty, or if its rows are
    /// sealed under that one.
    pub(super) async fn open_over(
        self,
        store: Arc<dyn DynByteStore>,
        durability: Durability,
        ring: KeyRing,
        given: Option<Bytes>,
    ) -> Result<SealedStore, Error> {
        let given = given.map(|bytes| unwrapped(bytes, &ring)).transpose()?;
        let vault = given.as_ref().map(|given| *given.keyset.vault());
        let began = self.clock.now();
        let seen = load_or_create(&*store, &ring, began, self.poll, given).await?;
        if vault.is_some_and(|vault| vault != *seen.keyset.vault()) {
            return Err(Error::new(
                ErrorKind::Config,
                "the store has keys of its own, and keeps them: open it with those, and import \
                 or copy into it",
            ));
        }
        let keys = LiveKeyset::new(ring, self.poll, self.clock, seen, began);
        Ok(SealedStore::new(store, durability, keys))
    }

    /// The same where several processes have the store open; see [`SealedStore::open_shared`].
    pub async fn open_shared(
        self,
        store: impl SharedStore,
        keys: impl KeyProvider,
    ) -> Result<SealedStore, Error> {
        let mut store = self.open(store, keys).await?;
        store.is_shared = true;
        Ok(store)
    }
}

impl SealedStore {
    /// Opens `store` for one of several processes, as [`open`](Self::open) does for one alone.
    ///
    /// What is for a single process does not compile here: two would spend the same refresh
    /// token.
    ///
    /// ```compile_fail,E0277
    /// # async fn f() -> Result<(), tower_token::Error> {
    /// use tower_token::{KeyRing, MemoryStore, SealedStore};
    ///
    /// SealedStore::open_shared(MemoryStore::new(), KeyRing::generate()?).await?;
    /// # Ok(()) }
    /// ```
    pub async fn open_shared(
        store: impl SharedStore,
        keys: impl KeyProvider,
    ) -> Result<Self, Error> {
        Self::builder().open_shared(store, keys).await
    }
}

async fn load_or_create(
    store: &dyn DynByteStore,
    ring: &KeyRing,
    now: Timestamp,
    poll: Duration,
    given: Option<Seen>,
) -> Result<Seen, Error> {
    let row_key = Keyset::row_key();
    if let Some(row) = store.load(&row_key).await? {
        return unwrapped(row.bytes, ring);
    }
    let rows = first_rows(store).await?;
    let is_own = |given: &Seen| rows.iter().any(|(key, row)| opens(&given.keyset, key, row));
    if !rows.is_empty() && !given.as_ref().is_some_and(is_own) {
        // Another first start may have come between the two looks.
        return match store.load(&row_key).await? {
            Some(row) => unwrapped(row.bytes, ring),
            None => Err(Error::new(
                ErrorKind::Key,
                "the store holds rows but not the keyset that opens them: restore an export of \
                 this very store into it; without it they cannot be read",
            )),
        };
    }
    let first = match given {
        Some(given) => given,
        None => {
            let keyset = Keyset::generate(now, poll)?;
            let bytes = keyset.wrap(ring.first()?)?.bytes().clone();
            Seen { keyset, bytes }
        }
    };
    let row = SealedRow::new(first.bytes.to_vec(), None);
    match store.save(&row_key, row, Expected::Absent).await? {
        SaveOutcome::Saved(_) => Ok(first),
        // Somebody else's first start came first, or ours did and its answer was lost:
        // either way the store knows.
        SaveOutcome::Conflict | SaveOutcome::Unknown => match store.load(&row_key).await? {
            Some(row) => unwrapped(row.bytes, ring),
            None => Err(Error::new(
                ErrorKind::Store,
                "the keyset could not be written",
            )),
        },
    }
}

/// Some rows, of which there are none in an empty store. One that cannot tell is taken for that.
async fn first_rows(store: &dyn DynByteStore) -> Result<Vec<(RowKey, Row)>, StoreError> {
    match store.scan(None, PROBED).await {
        Err(error) if error.kind() == StoreErrorKind::Unsupported => Ok(Vec::new()),
        rows => rows,
    }
}

/// Whether `row` was sealed under `keyset`.
fn opens(keyset: &Keyset, row_key: &RowKey, row: &Row) -> bool {
    let by = seal::key_id(&row.bytes).ok();
    let key = by.and_then(|id| keyset.by_id(id).ok());
    key.is_some_and(|key| seal::open(key, place(keyset, row_key), &row.bytes).is_ok())
}

/// A keyset as it stands in a row, or in an export.
pub(super) fn unwrapped(bytes: Bytes, ring: &KeyRing) -> Result<Seen, Error> {
    let row = Row::new(Version(0), None, bytes);
    let keyset = Keyset::unwrap(&row, ring)?;
    let bytes = row.bytes;
    Ok(Seen { keyset, bytes })
}
