//! What an engine does: it keeps bytes under bytes, in the order of the keys.

use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;

use super::super::contract::{StoreError, StoreErrorKind};
use super::folder::{Folder, advice};

/// Something is put under a key, or what is there is removed.
pub(in super::super) struct Change {
    pub(in super::super) key: Vec<u8>,
    pub(in super::super) value: Option<Vec<u8>>,
    /// Whether the others count without it.
    #[cfg_attr(
        not(feature = "sled"),
        expect(dead_code, reason = "redb writes all at once")
    )]
    pub(in super::super) is_hint: bool,
}

impl Change {
    pub(super) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: Some(value.into()),
            is_hint: false,
        }
    }

    pub(super) fn remove(key: impl Into<Vec<u8>>) -> Self {
        Self {
            key: key.into(),
            value: None,
            is_hint: false,
        }
    }

    pub(super) fn hint(self) -> Self {
        Self {
            is_hint: true,
            ..self
        }
    }
}

/// One engine, open. It may panic on files that are damaged: whoever asks it guards that.
pub(in super::super) trait Engine: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// The file in the folder that has all of it.
    const FILE: &'static str;
    /// A row that is longer is cut.
    const MAX_VALUE: usize;
    /// What is written from one commit to the next.
    type Round;

    /// Opens what is in the folder; where there is nothing, something new.
    fn open(folder: &Folder) -> Result<Self, StoreError>;

    /// Removes what would keep it from opening, and counts for nothing.
    fn tidy(_folder: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Whether nobody ever put anything into it, be it in a way that is not ours.
    fn is_new(&self) -> Result<bool, StoreError>;

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Adds what `pick` makes of the keys in a range, until there are `limit`. After an error
    /// what was found before it counts.
    fn pick<T>(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
        pick: impl Fn(&[u8]) -> Option<T>,
        found: &mut Vec<T>,
    ) -> Result<(), StoreError>;

    /// One round at a time.
    fn begin(&self) -> Result<Self::Round, StoreError>;

    /// Like `get`, and sees what the round has written.
    fn look(&self, round: &Self::Round, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// In this order, if not all at once: after an error, or a crash, some of the first may be
    /// there.
    fn write(&self, round: &mut Self::Round, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Puts everything that was written on the disk.
    fn commit(&self, round: Self::Round) -> Result<(), StoreError>;
}

/// Damaged files make an engine panic, on whatever is asked of it. `panic = "abort"` would
/// defeat this.
pub(in super::super) fn guarded<T>(
    ask: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        Err(damaged(
            "the token store is damaged, its engine gave up reading it",
        ))
    })
}

/// `what` is wrong, and will be.
pub(in super::super) fn damaged(what: &str) -> StoreError {
    let message = format!("{what}: restore its folder from a backup, or name another");
    StoreError::new(StoreErrorKind::Damaged, message)
}

pub(in super::super) fn from_io(error: io::Error) -> StoreError {
    let message = format!(
        "the token store cannot be read or written: {}",
        advice(error.kind())
    );
    StoreError::new(StoreErrorKind::Unavailable, message).with_source(error)
}
