//! How processes that share a store hear of each other.

use bytes::Bytes;

use super::byte_store::{Row, RowKey};

/// Who has to hear of a row that is saved. Refreshes are told to nobody: whoever needs what they
/// brought finds it. The rest is rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Announce {
    /// Nobody in particular.
    #[default]
    Nobody,
    /// All who ask for [`changes_since`](crate::ByteStore::changes_since): a user has connected,
    /// or has to connect anew.
    Everyone,
    /// The same, and it is worth waking those who wait for
    /// [`announced`](crate::ByteStore::announced): a user has left.
    EveryoneAtOnce,
}

/// A place among the changes of a store: only the store knows what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Bytes);

impl Cursor {
    /// A place that the store will know again.
    pub fn new(place: impl Into<Bytes>) -> Self {
        Self(place.into())
    }

    /// What it was made of.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What was announced since a [`Cursor`].
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct Changes {
    /// The rows, each as it is now. One that was purged since is left out, and one may be told
    /// of twice.
    pub rows: Vec<(RowKey, Row)>,
    /// Whether that may not be all: the store no longer knows the cursor, or there were too many.
    /// Whatever is in memory may then be out of date.
    pub missed: bool,
    /// Where the next look goes on.
    pub next: Cursor,
}

impl Changes {
    /// All that was announced, and where the next look goes on.
    pub fn new(rows: Vec<(RowKey, Row)>, next: Cursor) -> Self {
        Self {
            rows,
            missed: false,
            next,
        }
    }

    /// Nobody knows what was announced; it can be told again from `next` on.
    pub fn missed(next: Cursor) -> Self {
        Self {
            rows: Vec::new(),
            missed: true,
            next,
        }
    }
}
