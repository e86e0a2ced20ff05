//! Opening a store: its keyset is loaded, or made at the first start.

use std::sync::Arc;
use std::time::Duration;

use super::contract::{
    ByteStore, Expected, Row, SaveOutcome, SharedStore, StoreError, StoreErrorKind,
};
use super::erased::DynByteStore;
use super::key_provider::{KeyProvider, provided};
use super::keyring::KeyRing;
use super::keyset::{KEY_POLL, Keyset, LiveKeyset, Seen};
use super::sealed::SealedStore;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind};

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
}

impl SealedStoreBuilder {
    pub(super) fn new() -> Self {
        Self {
            poll: KEY_POLL,
            clock: Arc::new(SystemClock::new()),
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

    /// Opens `store` with the outer keys that `keys` has; see [`SealedStore::open`].
    pub async fn open(
        self,
        store: impl ByteStore,
        keys: impl KeyProvider,
    ) -> Result<SealedStore, Error> {
        let ring = provided(keys).await?;
        let began = self.clock.now();
        let seen = load_or_create(&store, &ring, began, self.poll).await?;
        let keys = LiveKeyset::new(ring, self.poll, self.clock, seen, began);
        Ok(SealedStore::new(store, keys))
    }

    /// The same where several processes have the store open; see [`SealedStore::open_shared`].
    pub async fn open_shared(
        self,
        store: impl SharedStore,
        keys: impl KeyProvider,
    ) -> Result<SealedStore, Error> {
        self.open(store, keys).await
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
) -> Result<Seen, Error> {
    let row_key = Keyset::row_key();
    if let Some(row) = store.load(&row_key).await? {
        return unwrapped(row, ring);
    }
    if has_rows(store).await? {
        // Another first start may have come between the two looks.
        return match store.load(&row_key).await? {
            Some(row) => unwrapped(row, ring),
            None => Err(Error::new(
                ErrorKind::Key,
                "the store holds rows but not the keyset that opens them: restore the keyset row \
                 from a backup; without it they cannot be read",
            )),
        };
    }
    let keyset = Keyset::generate(now, poll)?;
    let row = keyset.wrap(ring.first()?)?;
    let bytes = row.bytes().clone();
    match store.save(&row_key, row, Expected::Absent).await? {
        SaveOutcome::Saved(_) => Ok(Seen { keyset, bytes }),
        // Somebody else's first start came first, or ours did and its answer was lost:
        // either way the store knows.
        SaveOutcome::Conflict | SaveOutcome::Unknown => match store.load(&row_key).await? {
            Some(row) => unwrapped(row, ring),
            None => Err(Error::new(
                ErrorKind::Store,
                "the keyset could not be written",
            )),
        },
    }
}

/// Whether there is any row. A store that cannot tell is taken for an empty one.
async fn has_rows(store: &dyn DynByteStore) -> Result<bool, StoreError> {
    match store.scan(None, 1).await {
        Ok(rows) => Ok(!rows.is_empty()),
        Err(error) if error.kind() == StoreErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}

fn unwrapped(row: Row, ring: &KeyRing) -> Result<Seen, Error> {
    let keyset = Keyset::unwrap(&row, ring)?;
    Ok(Seen {
        keyset,
        bytes: row.bytes,
    })
}
