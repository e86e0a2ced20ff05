//! The embedded store: sled with a durability protocol around it.

#[cfg(test)]
mod damage_tests;
mod disk;
mod door;
mod engine;
mod folder;
mod layout;
#[cfg(test)]
mod recovery_tests;
mod tail;
mod writer;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::disk::{Disk, Real};
use self::door::Door;
use self::engine::Engine;
use self::folder::Folder;
use self::writer::Writer;
use super::contract::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    StoreError, StoreErrorKind, Version,
};
use super::leases::{Claims, Leases};
use crate::clock::{Clock, SystemClock};

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
pub struct SledStore {
    door: Arc<Door>,
    writer: Writer,
    pending: Arc<Pending>,
    leases: Leases,
    claims: Claims,
    clock: SystemClock,
}

/// The rows whose save was accepted and not yet acknowledged.
#[derive(Debug, Default)]
struct Pending(Mutex<HashMap<RowKey, usize>>);

impl Pending {
    fn add(&self, key: &RowKey) {
        *self.0.lock().entry(*key).or_insert(0) += 1;
    }

    fn remove(&self, key: &RowKey) {
        let mut pending = self.0.lock();
        if let Some(count) = pending.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                pending.remove(key);
            }
        }
    }

    fn has(&self, key: &RowKey) -> bool {
        self.0.lock().contains_key(key)
    }

    fn has_any(&self, of_those: impl Fn(&RowKey) -> bool) -> bool {
        self.0.lock().keys().any(of_those)
    }
}

impl SledStore {
    /// Opens the store in `folder`, which is made if it is not there.
    pub async fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(Real), folder.as_ref()).await
    }

    async fn open_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let mut folder = Folder::take(&path, disk)?;
            // In this order: if nobody wants them any more, the engine goes before the lock.
            Engine::open(&mut folder).map(|engine| (engine, folder))
        });
        let (engine, folder) = opened.await.map_err(|error| {
            StoreError::new(StoreErrorKind::Unavailable, "the store was not opened")
                .with_source(error)
        })??;
        let door = Arc::new(Door::new(engine));
        let pending = Arc::new(Pending::default());
        let writer = Writer::start(folder, Arc::clone(&door), Arc::clone(&pending))?;
        Ok(Self {
            door,
            writer,
            pending,
            leases: Leases::default(),
            claims: Claims::default(),
            clock: SystemClock::new(),
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let found = self.door.read(read);
        if found.is_err() {
            self.writer.suspect();
        }
        found
    }

    /// Reads, and returns what was read when it is on the disk. `is_pending` says whether
    /// what it shows, a removal too, may still be on its way there.
    async fn settled<T>(
        &self,
        read: impl Fn(&Engine) -> Result<T, StoreError>,
        is_pending: impl Fn(&T, &Pending) -> bool,
    ) -> Result<T, StoreError> {
        loop {
            let turn = self.door.turn();
            let mut found = self.read(&read)?;
            // After the read: a save is pending from before it is applied until after
            // it is synced, so what was read is either pending now or on the disk.
            if is_pending(&found, &self.pending) {
                // What was accepted before counts, even if its caller is gone.
                self.writer.barrier().await?;
                found = self.read(&read)?;
                if is_pending(&found, &self.pending) {
                    // Whatever was applied by then is synced when this is answered. Not read
                    // once more, as saves may never end.
                    self.writer.barrier().await?;
                }
            }
            // Last: a save that could not be synced is no longer pending either.
            if turn == self.door.turn() {
                return Ok(found);
            }
        }
    }
}

impl ByteStore for SledStore {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.settled(|engine| engine.load(key), |_, pending| pending.has(key))
            .await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.writer.save(*key, Some(row), expected).await
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.door.check()?;
        Ok(self.leases.take(key, owner, ttl, self.clock.now()))
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.leases.release(key, owner);
        Ok(())
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.settled(
            |engine| engine.list(group),
            |_, pending| pending.has_any(|key| key.group() == group),
        )
        .await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.settled(
            |engine| engine.scan(after, limit),
            |rows, pending| {
                // Where it stopped; it went to the end if there were not enough.
                let last = rows.last().filter(|_| rows.len() == limit);
                pending.has_any(|key| {
                    after.is_none_or(|after| key > after)
                        && last.is_none_or(|(last, _)| key <= last)
                })
            },
        )
        .await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let now = self.clock.now();
        let mut damaged = false;
        let mut due = self.read(|engine| {
            let entries = engine.due(now).map_while(|entry| {
                damaged = entry.is_err();
                entry.ok()
            });
            Ok(self.claims.take(entries, limit, ttl, now))
        })?;
        if damaged {
            // It is an index only: the rows say it, too.
            let entries = self.read(|engine| Ok(engine.due_by_heads(now)))?;
            due.extend(self.claims.take(entries, limit - due.len(), ttl, now));
        }
        let mut claimed = Vec::new();
        for (key, due) in due {
            // One that cannot be read now is due again later, and holds up no other.
            let Ok(row) = self.load(&key).await else {
                continue;
            };
            // An entry may be ahead of its row, or behind it.
            if row.as_ref().is_none_or(|row| row.due != Some(due)) {
                self.writer.forget_due(key, due);
            }
            claimed.extend(row.filter(|row| row.is_due(now)).map(|row| (key, row)));
        }
        Ok(claimed)
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.writer.purge(*key, version).await
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::tail::Tail;
    use super::*;
    use crate::store::contract_suite;

    #[tokio::test(flavor = "multi_thread")]
    async fn sled_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        contract_suite(SledStore::open(folder.path()).await.unwrap())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_reopen_and_versions_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let key = RowKey::from_bytes(&[7; RowKey::LEN]).unwrap();
        let mut last = None;
        for round in 0..5u8 {
            let store = SledStore::open(folder.path()).await.unwrap();
            let found = store.load(&key).await.unwrap();
            assert_eq!(found.as_ref().map(|row| row.version), last);
            let expected = last.map_or(Expected::Absent, Expected::Version);
            let row = SealedRow::new(vec![round; 5_000 * usize::from(round)], None);
            let SaveOutcome::Saved(version) = store.save(&key, row, expected).await.unwrap() else {
                panic!("not saved");
            };
            assert!(Some(version) > last);
            last = Some(version);
            // Now and then without a close: as after a crash, but for the lock.
            if round % 2 == 0 {
                store.close().await;
            }
        }
    }

    /// What does not open can be replaced: its user connects again.
    #[tokio::test]
    async fn a_row_that_lost_a_part_is_found_and_can_be_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledStore::open(folder.path()).await.unwrap();
        let keys = [1, 2].map(|id| RowKey::from_bytes(&[id; RowKey::LEN]).unwrap());
        for key in &keys {
            let row = SealedRow::new(vec![7; 9_000], None);
            store.save(key, row, Expected::Absent).await.unwrap();
        }
        let harm = |engine: &Engine| {
            engine.harm(&keys[0], &keys[1]);
            Ok(())
        };
        store.door.read(harm).unwrap();
        for key in &keys {
            let found = store.load(key).await.unwrap().unwrap();
            assert!(found.bytes.is_empty());
            let row = SealedRow::new(vec![8; 9_000], None);
            let expected = Expected::Version(found.version);
            let saved = store.save(key, row, expected).await.unwrap();
            assert!(matches!(saved, SaveOutcome::Saved(_)));
            assert_eq!(store.load(key).await.unwrap().unwrap().bytes.len(), 9_000);
        }
    }

    #[tokio::test]
    async fn a_second_open_is_a_typed_error_that_names_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let _first = SledStore::open(folder.path()).await.unwrap();
        let error = SledStore::open(folder.path()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::InUse);
        assert!(error.to_string().contains("shared store"), "{error}");
    }

    #[tokio::test]
    async fn an_unfinished_snapshot_does_not_stop_the_next_open() {
        let folder = tempfile::tempdir().unwrap();
        SledStore::open(folder.path()).await.unwrap().close().await;
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

    /// sled alone opens it, without a word about what is missing.
    #[tokio::test]
    async fn a_log_that_ends_too_soon_is_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, earlier) = (parent.path().join("now"), parent.path().join("earlier"));
        let key = |id| RowKey::from_bytes(&[id; RowKey::LEN]).unwrap();
        for (id, put_away) in [(1, true), (2, false)] {
            let store = SledStore::open(&folder).await.unwrap();
            let row = SealedRow::new(vec![id; 20_000], None);
            let saved = store.save(&key(id), row, Expected::Absent).await;
            assert!(matches!(saved.unwrap(), SaveOutcome::Saved(_)));
            store.close().await;
            if put_away {
                copy_files(&folder, &earlier);
            }
        }
        SledStore::open(&folder).await.unwrap().close().await;
        // The same log without its end: all as it was, but for the file beside it.
        std::fs::copy(folder.join(Tail::FILE), earlier.join(Tail::FILE)).unwrap();
        let error = SledStore::open(&earlier).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
        assert!(error.to_string().contains("writes are missing"), "{error}");
        // Whoever would rather go on without them is told how.
        assert!(error.to_string().contains(Tail::FILE), "{error}");
        std::fs::remove_file(earlier.join(Tail::FILE)).unwrap();
        SledStore::open(&earlier).await.unwrap();
    }

    pub(super) fn copy_files(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
}
