//! The embedded store: sled with a durability protocol around it.

pub(super) mod engine;

use std::path::Path;
use std::time::Duration;

use self::engine::Sled;
use super::contract::{
    Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, Version,
};
use super::delegate::byte_store_by;
use super::embedded::Embedded;

/// Keeps rows in a folder, for one process.
///
/// A save is acknowledged when it is on the disk. sled's own flush is not enough for
/// that on Linux, so one thread applies what is queued, flushes, syncs the file itself,
/// and acknowledges all of it at once. Reads are inline and never wait for that, unless
/// they ask for a row whose save is under way.
///
/// After a write that failed (a full disk, a failing one) nothing is acknowledged or read until
/// sled was opened anew. That is tried by itself, at once and then every few seconds, for as
/// long as the store lives; it gives [`StoreErrorKind::Unavailable`] meanwhile (or what
/// else the attempt came to), and keeps its folder.
///
/// Close it before the process ends. Where that was not done, the next open writes all of its file
/// anew before anything is read, as a sync that was under way may have failed: some tenths of a
/// second for 100 MB, or what the disk takes for that. A save and a close end when the disk, or
/// sled, does: where one may hang, put a timeout around them.
///
/// To copy its folder, close the store first, or take a snapshot of the file system: the files
/// of a copy made meanwhile do not fit together. A store whose last writes are missing is not
/// opened; that is [`StoreErrorKind::Damaged`], and its message says what to do.
///
/// One process at a time: a second one gets [`StoreErrorKind::InUse`]. Damage is noticed
/// by unwinding, so do not build with `panic = "abort"`.
///
/// [`StoreErrorKind::Unavailable`]: crate::StoreErrorKind::Unavailable
/// [`StoreErrorKind::Damaged`]: crate::StoreErrorKind::Damaged
/// [`StoreErrorKind::InUse`]: crate::StoreErrorKind::InUse
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path().join("tokens.sled");
/// use tower_token::{KeyRing, SealedStore, SledStore};
///
/// let store = SealedStore::open(SledStore::open(folder).await?, KeyRing::generate()?).await?;
/// # let _ = store;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SledStore(Embedded<Sled>);

impl SledStore {
    /// Opens the store in `folder`, which is made if it is not there.
    pub async fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        Embedded::open(folder.as_ref()).await.map(Self)
    }
}

byte_store_by!([] SledStore, self => self.0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::StoreErrorKind;

    #[tokio::test]
    async fn an_unfinished_snapshot_does_not_stop_the_next_open() {
        let folder = tempfile::tempdir().unwrap();
        let first = Embedded::<Sled>::open(folder.path()).await.unwrap();
        drop(first);
        let left = folder.path().join("snap.0000000000000AAA.generating");
        std::fs::write(&left, b"cut off").unwrap();
        SledStore::open(folder.path()).await.unwrap();
        assert!(!left.exists());
    }

    #[tokio::test]
    // Another program's.
    #[allow(clippy::disallowed_methods)]
    async fn a_folder_that_is_no_token_store_is_refused_and_left_alone() {
        for tree in ["", "a tree of theirs"] {
            let folder = tempfile::tempdir().unwrap();
            {
                let other = sled::open(folder.path()).unwrap();
                let insert = |into: &sled::Tree| into.insert(b"somebody's", b"data").unwrap();
                match tree {
                    "" => insert(&other),
                    name => insert(&other.open_tree(name).unwrap()),
                };
                other.flush().unwrap();
            }
            let theirs = folder.path().join("snap.0000000000000AAA.generating");
            for under_way in [false, true] {
                if under_way {
                    std::fs::write(&theirs, b"under way").unwrap();
                }
                let error = SledStore::open(folder.path()).await.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
                assert_eq!(theirs.exists(), under_way);
                for entry in std::fs::read_dir(folder.path()).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    assert!(!name.starts_with("tower-token"), "{name}");
                }
            }
        }
    }
}
