//! What the cases share.

use std::sync::Arc;
use std::time::Duration;

use super::Place;
use crate::clock::Timestamp;
use crate::rt::Mutex;
use crate::store::contract::byte_store::{
    ByteStore, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow, StoreError,
    Version,
};
use crate::store::contract::changes::Announce;

/// How a promise was broken.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

pub(super) type Checked<T = ()> = Result<T, Broken>;

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("the store failed ({:?}): {error}", error.kind()))
    }
}

impl From<tokio::task::JoinError> for Broken {
    fn from(_: tokio::task::JoinError) -> Self {
        Self("the store panicked".to_owned())
    }
}

pub(super) fn ensure(kept: bool, else_what: impl Into<String>) -> Checked {
    match kept {
        true => Ok(()),
        false => Err(Broken(else_what.into())),
    }
}

pub(super) fn broken<T>(what: impl Into<String>) -> Checked<T> {
    Err(Broken(what.into()))
}

/// Where a case gets its stores from.
pub(super) struct Bench<'a, S> {
    place: &'a (dyn Fn() -> Place<S> + Send + Sync),
    /// A folder that removes itself has to be there for as long as its store.
    in_use: Mutex<Vec<Place<S>>>,
}

impl<'a, S: ByteStore> Bench<'a, S> {
    pub(super) fn new(place: &'a (dyn Fn() -> Place<S> + Send + Sync)) -> Self {
        Self {
            place,
            in_use: Mutex::default(),
        }
    }

    /// A new place, whose store can be opened again and again.
    pub(super) fn place(&self) -> Place<S> {
        (self.place)()
    }

    pub(super) async fn store(&self) -> Checked<S> {
        let place = self.place();
        let opening = place();
        self.in_use.lock().push(place);
        Ok(opening.await?)
    }

    /// The same for several tasks.
    pub(super) async fn shared(&self) -> Checked<Arc<S>> {
        Ok(Arc::new(self.store().await?))
    }
}

/// How often a save may be unknown in a row.
const TRIES: u32 = 8;

pub(super) const ADA: LeaseOwner = LeaseOwner([1; 16]);
pub(super) const BOB: LeaseOwner = LeaseOwner([2; 16]);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
/// Soon over, and far longer than a call takes.
pub(super) const BRIEF: Duration = Duration::from_millis(50);
/// The past of any clock.
pub(super) const LONG_AGO: Option<Timestamp> = Some(Timestamp::from_unix_millis(1_000));
/// The future of any.
pub(super) const NEVER_YET: Option<Timestamp> = Some(Timestamp::from_unix_millis(u64::MAX / 2));

/// The key of one of a group's rows. A group belongs to one case: they may share a store.
pub(super) fn key(group: u8, id: u8) -> RowKey {
    RowKey::new(Group([group; 16]), [id; 32])
}

/// Bytes that say where they are.
pub(super) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

pub(super) async fn save(
    store: &impl ByteStore,
    key: RowKey,
    bytes: &[u8],
    expected: Expected,
) -> Result<SaveOutcome, StoreError> {
    let row = SealedRow::new(bytes.to_vec(), None);
    store.save(&key, row, expected).await
}

/// Saves until the outcome is known, as a caller has to.
pub(super) async fn saved(
    store: &impl ByteStore,
    key: RowKey,
    bytes: &[u8],
    due: Option<Timestamp>,
    expected: Expected,
) -> Checked<Version> {
    put(store, key, bytes, (due, Announce::Nobody), expected).await
}

/// The same for a row that others are told of.
pub(super) async fn saved_as(
    store: &impl ByteStore,
    key: RowKey,
    bytes: &[u8],
    announce: Announce,
    expected: Expected,
) -> Checked<Version> {
    put(store, key, bytes, (None, announce), expected).await
}

async fn put(
    store: &impl ByteStore,
    key: RowKey,
    bytes: &[u8],
    (due, announce): (Option<Timestamp>, Announce),
    expected: Expected,
) -> Checked<Version> {
    for _ in 0..TRIES {
        let row = SealedRow::new(bytes.to_vec(), due).announced(announce);
        match store.save(&key, row, expected).await? {
            SaveOutcome::Saved(version) => return Ok(version),
            SaveOutcome::Conflict => return broken("a save over what was expected was refused"),
            SaveOutcome::Unknown => {}
        }
        match store.load(&key).await? {
            found if expected.matches(version(found.as_ref())) => {}
            Some(row) if row.bytes == bytes && row.due == due => return Ok(row.version),
            _ => {
                return broken("an unknown save left neither what was there nor what was saved");
            }
        }
    }
    broken("what came of a save was unknown time after time")
}

/// A row that was not there before.
pub(super) async fn added(store: &impl ByteStore, key: RowKey, bytes: &[u8]) -> Checked<Version> {
    saved(store, key, bytes, None, Expected::Absent).await
}

pub(super) fn version(row: Option<&Row>) -> Option<Version> {
    row.map(|row| row.version)
}

/// Removes what a case has left, for others on the same store.
pub(super) async fn clear(
    store: &impl ByteStore,
    keys: impl IntoIterator<Item = RowKey>,
) -> Checked {
    for key in keys {
        if let Some(row) = store.load(&key).await? {
            store.purge(&key, row.version).await?;
        }
    }
    Ok(())
}

pub(super) fn is_granted(lease: Lease) -> bool {
    matches!(lease, Lease::Granted { .. })
}

/// The store's time, which its leases tell.
pub(super) async fn time(store: &impl ByteStore) -> Checked<Timestamp> {
    let key = key(250, 0);
    match store.lease(&key, ADA, BRIEF).await? {
        Lease::Granted { now } => {
            store.release(&key, ADA).await?;
            Ok(now)
        }
        Lease::Held { now, .. } => Ok(now),
    }
}

/// Lets some of the store's time pass.
pub(super) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// How many moments something brief may take to be over.
pub(super) const MOMENTS: u32 = 4_000;
