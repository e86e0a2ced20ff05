//! What a back end implements: opaque bytes with versions, and leases.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::changes::{Announce, Changes, Cursor};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::rt::sleep;

/// How long a store that cannot wake anybody keeps those waiting who want to hear of an
/// announcement, or of a lease.
const ANNOUNCED_WITHIN: Duration = Duration::from_millis(500);
const RELEASED_WITHIN: Duration = Duration::from_millis(250);

/// Where sealed rows live.
///
/// A back end sees keys that are hashes and bytes that are sealed; it needs to know
/// neither users nor tokens. [`SealedStore`](crate::SealedStore) is what the manager
/// uses, over any of these. [How to write one](crate::store::contract) numbers the promises
/// below, and has the suite that checks them; for tokens in a table of your own there are
/// [three calls](crate::store::custom) instead of ten.
///
/// What a store cannot do at all fails with [`StoreErrorKind::Unsupported`], each time. Only
/// [`list`](Self::list), [`scan`](Self::scan), [`claim_due`](Self::claim_due) and
/// [`changes_since`](Self::changes_since) may: the manager does without them as far as that is
/// possible.
pub trait ByteStore: Send + Sync + 'static {
    /// The row under `key`. Never one whose save could still be undone by a crash.
    fn load(&self, key: &RowKey) -> impl Future<Output = Result<Option<Row>, StoreError>> + Send;

    /// Writes a row if the one that is there is as `expected`, atomically.
    ///
    /// `Saved` means what [`durability`](Self::durability) declares. An error means that
    /// nothing was written; where that is not certain, the outcome is `Unknown`. A caller
    /// that is dropped meanwhile may or may not have written. A version is never used
    /// twice for one key.
    fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> impl Future<Output = Result<SaveOutcome, StoreError>> + Send;

    /// Takes, or extends, the lease on `key` for `owner` until `ttl` from now. A lease
    /// only avoids work: losing it must not lose data.
    fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Gives the lease up, if `owner` holds it.
    fn release(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Every row of one group.
    fn list(
        &self,
        group: Group,
    ) -> impl Future<Output = Result<Vec<(RowKey, Row)>, StoreError>> + Send;

    /// At most `limit` rows, in the order of their keys, from the first key after
    /// `after`.
    fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(RowKey, Row)>, StoreError>> + Send;

    /// At most `limit` rows whose [`SealedRow::due`] has passed by the store's clock, and none
    /// only if there are none but those that somebody is writing right now. Each is claimed:
    /// before `ttl` is over nobody is given it again. Claims and leases do not touch each other.
    fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> impl Future<Output = Result<Vec<(RowKey, Row)>, StoreError>> + Send;

    /// Removes the row under `key`, if its version is `version`. Whether it was. After an error
    /// only the row says whether it is gone.
    fn purge(
        &self,
        key: &RowKey,
        version: Version,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The rows that were saved as [`SealedRow::announce`] says since the cursor was taken, by
    /// whichever process; without one none, and the place where changes begin now.
    ///
    /// A row is told of when its save is acknowledged, at the latest, and never left out: not
    /// because another save began before and ended after it. A store that would have to tell of
    /// more than `limit` rows, or no longer knows, says [`missed`](Changes::missed).
    ///
    /// What is for one process need not have it: then nobody else writes.
    fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Changes, StoreError>> + Send {
        let (_, _) = (cursor, limit);
        let message = "the store does not tell of changes";
        std::future::ready(Err(StoreError::new(StoreErrorKind::Unsupported, message)))
    }

    /// Ends when a row may have been saved as [`Announce::EveryoneAtOnce`] since the call, or
    /// earlier, or half a second later: there may be no news, and there is no promise that these
    /// come. It only saves a wait.
    fn announced(&self) -> impl Future<Output = ()> + Send {
        sleep(ANNOUNCED_WITHIN)
    }

    /// Ends when the lease on `key` may have been released since the call, in the same sense.
    fn released(&self, key: &RowKey) -> impl Future<Output = ()> + Send {
        let _ = key;
        sleep(RELEASED_WITHIN)
    }

    /// What `Saved` means here.
    fn durability(&self) -> Durability;

    /// Finishes what was accepted and lets go of files and connections. Everything
    /// asked of the store afterwards fails with [`StoreErrorKind::Closed`], but a release, which
    /// may as well have nothing to do. Closing it once more does nothing.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A [`ByteStore`] that several processes may have open at once: what it promises, it promises
/// to all of them together, and its time is one for all.
///
/// [`SealedStore::open_shared`](crate::SealedStore::open_shared) takes no other. Implement it
/// for a store of yours if rows, versions, leases and claims are where all processes see them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is a store for one process",
    note = "several processes need a store that compares before it writes, whoever writes: a \
            shared database, or `MultiProcess` over a table of yours"
)]
pub trait SharedStore: ByteStore {}

/// The rows of one user: a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub(crate) [u8; 16]);

impl Group {
    /// The hash itself.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The key of a row: a group and a keyed hash, 48 bytes that say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey([u8; RowKey::LEN]);

impl RowKey {
    /// How long a key is.
    pub const LEN: usize = 48;

    pub(crate) fn new(group: Group, id: [u8; 32]) -> Self {
        let mut key = [0; Self::LEN];
        key[..16].copy_from_slice(&group.0);
        key[16..].copy_from_slice(&id);
        Self(key)
    }

    /// The key's bytes; those of one group share their first 16.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// A key as it was stored, if `bytes` has the length of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The group it belongs to.
    pub fn group(&self) -> Group {
        let mut group = [0; 16];
        group.copy_from_slice(&self.0[..16]);
        Group(group)
    }
}

/// Bytes to be written. Only this crate can make one, and only by sealing, so that
/// plaintext cannot be stored by mistake.
#[derive(Debug, Clone)]
pub struct SealedRow {
    bytes: Bytes,
    due: Option<Timestamp>,
    announce: Announce,
}

impl SealedRow {
    pub(in crate::store) fn new(bytes: impl Into<Bytes>, due: Option<Timestamp>) -> Self {
        Self {
            bytes: bytes.into(),
            due,
            announce: Announce::Nobody,
        }
    }

    pub(in crate::store) fn announced(mut self, announce: Announce) -> Self {
        self.announce = announce;
        self
    }

    /// The sealed bytes: mostly less than 4 KiB, at most [`MAX_LEN`](Self::MAX_LEN).
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// When [`ByteStore::claim_due`] is to find the row, if ever. Only a hint: who claims
    /// it opens it and decides anew.
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Who has to hear of it, where several processes share the store.
    pub fn announce(&self) -> Announce {
        self.announce
    }

    /// No row is longer than this: 4 MiB. A connect brings at most 1 MiB, and so does each
    /// answer of a token service; what one leaves out is carried forward.
    pub const MAX_LEN: usize = 4 << 20;
}

/// A row as it was stored.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The store's number of this write; see [`ByteStore::save`].
    pub version: Version,
    /// What was given as [`SealedRow::due`].
    pub due: Option<Timestamp>,
    /// What was given as [`SealedRow::bytes`].
    pub bytes: Bytes,
}

impl Row {
    /// A row as it was stored.
    pub fn new(version: Version, due: Option<Timestamp>, bytes: Bytes) -> Self {
        Self {
            version,
            due,
            bytes,
        }
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// A store's number of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// What a save expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No row.
    Absent,
    /// The row of this version.
    Version(Version),
}

impl Expected {
    /// Whether a row of `found` version is what was expected.
    pub fn matches(self, found: Option<Version>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }
}

/// How a save ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveOutcome {
    /// Written, as this version.
    Saved(Version),
    /// Nothing was written: the row was not as expected.
    Conflict,
    /// It may or may not have been written. Load the row to know.
    Unknown,
}

/// Who takes leases: one manager, 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseOwner(pub(crate) [u8; 16]);

impl LeaseOwner {
    /// An owner as it was kept beside a lease.
    pub fn from_bytes(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// The bits.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// How a lease was answered. Both times are the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// It is the caller's now.
    Granted {
        /// The store's time.
        now: Timestamp,
    },
    /// Somebody else has it.
    Held {
        /// The store's time.
        now: Timestamp,
        /// When it ends, unless it is extended.
        until: Timestamp,
    },
}

/// What an acknowledged save survives.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Nothing: it is gone with the process.
    Memory,
    /// A power cut.
    Disk,
}

/// Why a store could not do its work.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What kind of failure a [`StoreError`] is.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It does not answer now; it may later.
    Unavailable,
    /// Another process has it open.
    InUse,
    /// What is stored cannot be read.
    Damaged,
    /// It was closed.
    Closed,
    /// It cannot do this at all: see [`ByteStore`].
    Unsupported,
    /// It was set up wrongly, and opening it again will not help: the message says what is wrong.
    Misconfigured,
    /// Its rows were moved to another store, or are not in this one yet; see
    /// [`MovingStore`](crate::MovingStore).
    Moved,
}

impl StoreError {
    /// A failure; the message says what to do about it.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same failure, with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let (kind, message) = match error.kind {
            StoreErrorKind::Unavailable => (ErrorKind::Store, "the token store is unavailable"),
            StoreErrorKind::InUse => (ErrorKind::StoreInUse, "the token store is in use"),
            StoreErrorKind::Damaged => (ErrorKind::Damaged, "the token store is damaged"),
            StoreErrorKind::Closed => (ErrorKind::ShutDown, "the token store was closed"),
            StoreErrorKind::Unsupported => {
                (ErrorKind::Unsupported, "the token store cannot do this")
            }
            StoreErrorKind::Misconfigured => {
                (ErrorKind::Config, "the token store was set up wrongly")
            }
            StoreErrorKind::Moved => (ErrorKind::Config, "the token store was moved"),
        };
        Self::with_source(kind, message, error)
    }
}
