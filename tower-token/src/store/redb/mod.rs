//! The other embedded store: redb, in the same protocol.

pub(super) mod engine;

use std::path::Path;
use std::time::Duration;

use self::engine::Redb;
use super::contract::{
    Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, Version,
};
use super::delegate::byte_store_by;
use super::embedded::Embedded;

/// Keeps rows in a folder, for one process, as [`SledStore`](crate::SledStore) does, in an
/// engine that is maintained and whose file format is stable.
///
/// A save is acknowledged when redb has committed and synced it; one thread does that for
/// all that is queued, at once. Reads are inline and never wait for that, unless they ask for
/// a row whose save is under way.
///
/// After a write that failed (a full disk, a failing one) nothing is acknowledged or read until
/// redb was opened anew. That is tried by itself, at once and then every few seconds, for as
/// long as the store lives; it gives [`StoreErrorKind::Unavailable`] meanwhile (or what
/// else the attempt came to), and keeps its folder.
///
/// Close it before the process ends. Where that was not done, the next open writes all of its file
/// anew before anything is read, as a sync that was under way may have failed: some tenths of a
/// second for 100 MB, or what the disk takes for that. A save and a close end when the disk, or
/// redb, does: where one may hang, put a timeout around them.
///
/// To copy its folder, close the store first, or take a snapshot of the file system. redb does
/// not check what it reads: a row that was damaged on the disk is refused by
/// [`SealedStore`](crate::SealedStore), whose seal it breaks. A store whose last writes are
/// missing is not opened; that is [`StoreErrorKind::Damaged`], and its message says what to do.
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
/// # let folder = folder.path().join("tokens.redb");
/// use tower_token::{KeyRing, RedbStore, SealedStore};
///
/// let store = SealedStore::open(RedbStore::open(folder).await?, KeyRing::generate()?).await?;
/// # let _ = store;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct RedbStore(Embedded<Redb>);

impl RedbStore {
    /// Opens the store in `folder`, which is made if it is not there.
    pub async fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        Embedded::open(folder.as_ref()).await.map(Self)
    }
}

byte_store_by!([] RedbStore, self => self.0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::StoreErrorKind;

    #[tokio::test]
    async fn a_folder_that_is_no_token_store_is_refused() {
        for (what, bytes) in [("not redb's", &[b'x'; 9_000][..]), ("too short", b"redb")] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("rows.redb");
            std::fs::write(&file, bytes).unwrap();
            let error = RedbStore::open(folder.path()).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Damaged, "{what}: {error:?}");
            assert_eq!(std::fs::read(&file).unwrap(), bytes);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[tokio::test]
    async fn another_programs_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        {
            let file = folder.path().join("rows.redb");
            let other = ::redb::Database::create(file).unwrap();
            let write = other.begin_write().unwrap();
            let table = ::redb::TableDefinition::<u64, u64>::new("somebody's");
            write.open_table(table).unwrap().insert(1, 2).unwrap();
            write.commit().unwrap();
        }
        let error = RedbStore::open(folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
        assert!(error.to_string().contains("not made by"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
