//! A disk that fails, on order, and what the stores make of it.

mod late;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::disk::{Disk, Real, Step};
use super::store_tests::on_every_engine;
use super::*;

on_every_engine! {
    after_a_failed_write_the_store_goes_on_by_itself
    a_store_that_is_being_opened_again_can_be_closed_or_dropped
    what_could_not_be_synced_is_never_read
    a_folder_that_was_taken_away_is_waited_for
    what_was_read_before_a_failure_is_read_again
    a_disk_that_hangs_blocks_no_worker
    a_tail_is_not_ahead_of_the_disk_at_open
    a_conflict_with_what_could_not_be_synced_is_none
    a_save_that_cannot_look_has_the_engine_looked_at
    a_restart_after_a_failed_sync_writes_the_cache_anew
    an_open_that_could_not_sync_has_the_next_write_the_cache_anew
    a_save_that_failed_within_the_engine_has_the_next_open_write_the_cache_anew_if_it_must
    a_removal_that_is_not_synced_is_not_listed_as_done
    a_read_waits_for_the_saves_before_it_alone
    a_save_that_was_accepted_is_read_though_its_caller_is_gone
    damage_that_is_found_when_it_is_opened_again_is_told_as_damage
    the_file_is_written_anew_once_after_a_failed_sync_and_not_after_another_failure
    a_save_whose_look_panics_shuts_nobody_else_out
    whoever_did_not_close_has_the_next_open_write_the_cache_anew
    a_sync_that_failed_within_an_open_has_the_next_write_the_cache_anew
    nothing_is_acknowledged_in_a_file_that_was_removed
    nobody_else_may_read_what_is_ours
    the_lock_is_on_the_file_that_the_next_one_finds
}

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fault {
    At(Step),
    /// The engine gives up by panicking.
    PanicAt(Step),
    Sync,
    /// The same from this step on.
    SyncAfter(Step),
    /// A sync does not come back until this is over.
    Hang,
    /// This step does not.
    HeldAt(Step),
}

/// A disk with faults. Clones are one disk.
#[derive(Clone, Default)]
struct Faulty(Arc<Shared>);

struct Shared {
    faults: Mutex<HashSet<Fault>>,
    changed: Condvar,
    /// How often it was tried to open the engine, how often it was opened, how often its file was
    /// written anew, and how often a sync was begun.
    tried: watch::Sender<u32>,
    opened: watch::Sender<u32>,
    rewritten: watch::Sender<u32>,
    syncs: watch::Sender<u32>,
    /// How often a step was held.
    held: watch::Sender<u32>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            faults: Mutex::default(),
            changed: Condvar::new(),
            tried: watch::Sender::new(0),
            opened: watch::Sender::new(0),
            rewritten: watch::Sender::new(0),
            syncs: watch::Sender::new(0),
            held: watch::Sender::new(0),
        }
    }
}

impl Faulty {
    fn break_by(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.faults.lock().extend(faults);
    }

    fn heal(&self) {
        self.0.faults.lock().clear();
        self.0.changed.notify_all();
    }

    fn mend(&self, fault: Fault) {
        self.0.faults.lock().remove(&fault);
        self.0.changed.notify_all();
    }

    fn rewritten(&self) -> u32 {
        *self.0.rewritten.borrow()
    }

    fn has(&self, fault: Fault) -> bool {
        self.0.faults.lock().contains(&fault)
    }

    /// Returns when it has no such fault.
    fn wait_out(&self, fault: Fault) {
        let mut faults = self.0.faults.lock();
        while faults.contains(&fault) {
            self.0.changed.wait(&mut faults);
        }
    }

    /// Opens a store on it.
    async fn open<E: Engine>(&self, folder: &Path) -> Embedded<E> {
        let disk = Arc::new(self.clone());
        Embedded::<E>::open_on(disk, folder).await.unwrap()
    }

    /// Waits until the engine was opened again, since the first time.
    async fn until_open_again<E: Engine>(&self, store: &Embedded<E>) {
        let mut opened = self.0.opened.subscribe();
        opened.wait_for(|opened| *opened > 1).await.unwrap();
        // The thread that does it answers this when it is through.
        store.writer.barrier().await.unwrap();
    }
}

impl Disk for Faulty {
    fn before(&self, step: Step) -> io::Result<()> {
        if step == Step::Open {
            self.0.tried.send_modify(|tried| *tried += 1);
        }
        if self.has(Fault::HeldAt(step)) {
            self.0.held.send_modify(|held| *held += 1);
            self.wait_out(Fault::HeldAt(step));
        }
        if self.has(Fault::SyncAfter(step)) {
            self.break_by([Fault::Sync]);
        }
        assert!(!self.has(Fault::PanicAt(step)), "as told");
        if self.has(Fault::At(step)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        match step {
            Step::Open => self.0.opened.send_modify(|opened| *opened += 1),
            Step::Rewrite => self.0.rewritten.send_modify(|times| *times += 1),
            Step::Wait | Step::Look | Step::Apply | Step::Flush => {}
        }
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.0.syncs.send_modify(|syncs| *syncs += 1);
        self.wait_out(Fault::Hang);
        if self.has(Fault::Sync) {
            return Err(io::Error::other("as told"));
        }
        Real.sync(file)
    }
}

fn key() -> RowKey {
    RowKey::from_bytes(&[7; RowKey::LEN]).unwrap()
}

fn row(byte: u8) -> SealedRow {
    SealedRow::new(vec![byte; 9_000], None)
}

async fn saved<E: Engine>(store: &Embedded<E>, byte: u8, expected: Expected) -> Expected {
    match store.save(&key(), row(byte), expected).await.unwrap() {
        SaveOutcome::Saved(version) => Expected::Version(version),
        other => panic!("{other:?}"),
    }
}

fn is_unavailable<T>(result: Result<T, StoreError>) -> bool {
    result.is_err_and(|error| error.kind() == StoreErrorKind::Unavailable)
}

const FAULTS: [Fault; 5] = [
    Fault::At(Step::Apply),
    Fault::At(Step::Flush),
    Fault::Sync,
    Fault::PanicAt(Step::Apply),
    Fault::PanicAt(Step::Flush),
];

async fn after_a_failed_write_the_store_goes_on_by_itself<E: Engine>() {
    for fault in FAULTS {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
        let store = disk.open::<E>(folder.path()).await;
        let first = saved(&store, 1, Expected::Absent).await;

        disk.break_by([fault, Fault::At(Step::Open)]);
        let outcome = store.save(&key(), row(2), first).await.unwrap();
        assert_eq!(outcome, SaveOutcome::Unknown, "{fault:?}");

        // Meanwhile: no reads, no writes, an error that says what is being done, and nobody
        // else gets the folder.
        let error = store.load(&key()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(
            error.to_string().contains("no restart is needed"),
            "{error}"
        );
        assert!(is_unavailable(store.save(&key(), row(3), first).await));
        assert!(is_unavailable(store.scan(None, 10).await));
        assert!(is_unavailable(store.claim_due(10, Duration::ZERO).await));
        let other = Embedded::<E>::open(folder.path()).await.unwrap_err();
        assert_eq!(other.kind(), StoreErrorKind::InUse);

        disk.heal();
        disk.until_open_again(&store).await;
        // Unknown: the one or the other, and from here on for good.
        let found = store.load(&key()).await.unwrap().unwrap();
        assert!([1, 2].contains(&found.bytes[0]), "{fault:?}");
        let last = saved(&store, 4, Expected::Version(found.version)).await;
        store.close().await;

        let store = Embedded::<E>::open(folder.path()).await.unwrap();
        let found = store.load(&key()).await.unwrap().unwrap();
        assert_eq!(
            (Expected::Version(found.version), found.bytes[0]),
            (last, 4)
        );
    }
}

async fn a_store_that_is_being_opened_again_can_be_closed_or_dropped<E: Engine>() {
    for close in [true, false] {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
        let store = disk.open::<E>(folder.path()).await;
        let first = saved(&store, 1, Expected::Absent).await;
        disk.break_by([Fault::Sync, Fault::At(Step::Open)]);
        store.save(&key(), row(2), first).await.unwrap();
        if close {
            store.close().await;
            let error = store.load(&key()).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Closed);
            // Twice is once.
            store.close().await;
        }
        drop(store);
        // The folder is free, though the disk is as it was.
        let store = Embedded::<E>::open(folder.path()).await.unwrap();
        assert!(store.load(&key()).await.unwrap().is_some());
    }
}

async fn what_could_not_be_synced_is_never_read<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = Arc::new(disk.open::<E>(folder.path()).await);
    let first = saved(&store, 1, Expected::Absent).await;

    disk.break_by([Fault::Hang, Fault::Sync, Fault::At(Step::Open)]);
    let mut syncs = disk.0.syncs.subscribe();
    syncs.mark_unchanged();
    let saver = Arc::clone(&store);
    let save = tokio::spawn(async move { saver.save(&key(), row(2), first).await });
    syncs.changed().await.unwrap();
    // Applied now, and on no disk.
    let reader = Arc::clone(&store);
    let read = tokio::spawn(async move { reader.load(&key()).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!read.is_finished());
    disk.mend(Fault::Hang);
    assert_eq!(save.await.unwrap().unwrap(), SaveOutcome::Unknown);
    assert!(is_unavailable(read.await.unwrap()));
}

/// As where a disk was unmounted: what stands in its place is not taken for an empty store.
async fn a_folder_that_was_taken_away_is_waited_for<E: Engine>() {
    let (parent, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let (folder, elsewhere) = (parent.path().join("store"), parent.path().join("elsewhere"));
    let store = disk.open::<E>(&folder).await;
    let first = saved(&store, 1, Expected::Absent).await;

    fs::rename(&folder, &elsewhere).unwrap();
    fs::create_dir(&folder).unwrap();
    disk.break_by([Fault::Sync]);
    store.save(&key(), row(2), first).await.unwrap();
    disk.heal();
    let until = |what: &'static str| {
        let store = &store;
        async move {
            while !store
                .load(&key())
                .await
                .unwrap_err()
                .to_string()
                .contains(what)
            {
                store.writer.barrier().await.unwrap();
            }
        }
    };
    until("is gone").await;
    File::create(folder.join("tower-token.lock")).unwrap();
    until("not the folder that was opened").await;
    // Ours by its lock, and yet without what was in it.
    fs::remove_dir_all(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::hard_link(
        elsewhere.join("tower-token.lock"),
        folder.join("tower-token.lock"),
    )
    .unwrap();
    until("has lost its file").await;
    File::create(folder.join(E::FILE)).unwrap();
    until("was emptied").await;

    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    while store.load(&key()).await.is_err() {
        store.writer.barrier().await.unwrap();
    }
    assert!(store.load(&key()).await.unwrap().is_some());
}

/// Between a read and the look at what is pending the engine may fail, and be opened again.
async fn what_was_read_before_a_failure_is_read_again<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    saved(&store, 1, Expected::Absent).await;
    store
        .pending
        .add(&RowKey::from_bytes(&[8; RowKey::LEN]).unwrap());
    let fail = |_: &Option<Row>, _: &Pending| {
        let error = StoreError::new(StoreErrorKind::Unavailable, "as told");
        store.door.shut(error);
        false
    };
    let read = store
        .settled(|| async { store.read(|rows| rows.load(&key())) }, fail)
        .await;
    assert!(is_unavailable(read));
}

/// On one thread, which would stand still if anything but the writer waited for the disk.
async fn a_disk_that_hangs_blocks_no_worker<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = Arc::new(disk.open::<E>(folder.path()).await);
    disk.break_by([Fault::Hang]);
    let mut syncs = disk.0.syncs.subscribe();
    syncs.mark_unchanged();
    let saves: Vec<_> = (0..=255)
        .map(|id| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let key = RowKey::from_bytes(&[id; RowKey::LEN]).unwrap();
                let saved = store.save(&key, row(id), Expected::Absent).await;
                (saved.unwrap(), store.load(&key).await.unwrap())
            })
        })
        .collect();
    syncs.changed().await.unwrap();
    let beats = async {
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
    };
    beats.await;
    assert!(saves.iter().all(|save| !save.is_finished()));
    // What nobody writes can be read meanwhile.
    let mut other = [3; RowKey::LEN];
    other[0] = 4;
    let other = RowKey::from_bytes(&other).unwrap();
    assert!(store.load(&other).await.unwrap().is_none());

    disk.heal();
    for (id, save) in (0..=255).zip(saves) {
        let (saved, found) = save.await.unwrap();
        assert!(matches!(saved, SaveOutcome::Saved(_)));
        assert_eq!(found.unwrap().bytes, *row(id).bytes());
    }
}

async fn a_tail_is_not_ahead_of_the_disk_at_open<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    saved(&store, 1, Expected::Absent).await;
    store.close().await;
    // As after a kill between sled's flush and our sync: the log is in the cache, the tail
    // behind it.
    let tail = folder.path().join("tower-token.tail");
    fs::write(&tail, b"").unwrap();
    for fault in [Fault::Sync, Fault::At(Step::Flush)] {
        disk.heal();
        disk.break_by([fault]);
        let opened = Embedded::<E>::open_on(Arc::new(disk.clone()), folder.path()).await;
        assert!(is_unavailable(opened));
        assert!(fs::read(&tail).unwrap().is_empty());
    }
}

/// What it conflicts with may be gone after the next open.
async fn a_conflict_with_what_could_not_be_synced_is_none<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = Arc::new(disk.open::<E>(folder.path()).await);
    let first = saved(&store, 1, Expected::Absent).await;

    disk.break_by([Fault::Hang]);
    let mut syncs = disk.0.syncs.subscribe();
    syncs.mark_unchanged();
    let other = RowKey::from_bytes(&[8; RowKey::LEN]).unwrap();
    let save = |key: RowKey, byte, expected| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.save(&key, row(byte), expected).await })
    };
    let before = save(other, 1, Expected::Absent);
    syncs.changed().await.unwrap();
    // Both wait for the next round, which fails.
    let (winner, loser) = (save(key(), 2, first), save(key(), 3, first));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    disk.break_by([Fault::At(Step::Flush)]);
    disk.mend(Fault::Hang);
    assert!(matches!(before.await.unwrap(), Ok(SaveOutcome::Saved(_))));
    assert_eq!(winner.await.unwrap().unwrap(), SaveOutcome::Unknown);
    assert!(is_unavailable(loser.await.unwrap()));
}

async fn a_save_that_cannot_look_has_the_engine_looked_at<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    let first = saved(&store, 1, Expected::Absent).await;
    disk.break_by([Fault::At(Step::Look), Fault::Sync, Fault::At(Step::Open)]);
    assert!(is_unavailable(store.save(&key(), row(2), first).await));
    assert!(!store.door.is_open());
    disk.heal();
    disk.until_open_again(&store).await;
    saved(&store, 3, first).await;
}

/// What the failed sync left in the cache reads as if it were on the disk, for a new process too.
async fn a_restart_after_a_failed_sync_writes_the_cache_anew<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    let first = saved(&store, 1, Expected::Absent).await;
    disk.break_by([Fault::Sync, Fault::At(Step::Open)]);
    store.save(&key(), row(2), first).await.unwrap();
    store.close().await;
    // It may fail there as well: it is not forgotten.
    let opened = Embedded::<E>::open_on(Arc::new(disk.clone()), folder.path()).await;
    assert!(is_unavailable(opened));

    disk.heal();
    for expected in [1, 0] {
        let before = disk.rewritten();
        let store = disk.open::<E>(folder.path()).await;
        assert_eq!(disk.rewritten() - before, expected);
        assert!(store.load(&key()).await.unwrap().is_some());
        store.close().await;
    }
}

async fn an_open_that_could_not_sync_has_the_next_write_the_cache_anew<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    disk.open::<E>(folder.path()).await.close().await;
    for fault in [
        Fault::Sync,
        Fault::At(Step::Flush),
        Fault::PanicAt(Step::Flush),
    ] {
        disk.break_by([fault]);
        let opened = Embedded::<E>::open_on(Arc::new(disk.clone()), folder.path()).await;
        assert!(opened.is_err());
        disk.heal();
        let before = disk.rewritten();
        disk.open::<E>(folder.path()).await.close().await;
        assert_eq!(disk.rewritten() - before, 1, "{fault:?}");
    }
}

/// An engine may write and sync by itself, too, as its file grows.
async fn a_save_that_failed_within_the_engine_has_the_next_open_write_the_cache_anew_if_it_must<
    E: Engine,
>() {
    for (sync_fails, rewritten) in [(true, 1), (false, 0)] {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
        let store = disk.open::<E>(folder.path()).await;
        let first = saved(&store, 1, Expected::Absent).await;
        disk.break_by([Fault::At(Step::Apply), Fault::At(Step::Open)]);
        if sync_fails {
            disk.break_by([Fault::Sync]);
        }
        store.save(&key(), row(2), first).await.unwrap();
        store.close().await;
        disk.heal();
        let before = disk.rewritten();
        disk.open::<E>(folder.path()).await.close().await;
        assert_eq!(disk.rewritten() - before, rewritten);
    }
}

async fn a_removal_that_is_not_synced_is_not_listed_as_done<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = Arc::new(disk.open::<E>(folder.path()).await);
    let Expected::Version(version) = saved(&store, 1, Expected::Absent).await else {
        panic!("not saved");
    };
    disk.break_by([Fault::Hang]);
    let mut syncs = disk.0.syncs.subscribe();
    syncs.mark_unchanged();
    let purger = Arc::clone(&store);
    let purge = tokio::spawn(async move { purger.purge(&key(), version).await });
    syncs.changed().await.unwrap();
    // Applied now, and on no disk.
    let reads = [0, 1, 2].map(|what| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            match what {
                0 => store.load(&key()).await.unwrap().is_none(),
                1 => store.list(key().group()).await.unwrap().is_empty(),
                _ => store.scan(None, 10).await.unwrap().is_empty(),
            }
        })
    });
    // What lies elsewhere does not wait.
    let behind = RowKey::from_bytes(&[8; RowKey::LEN]).unwrap();
    assert!(store.list(behind.group()).await.unwrap().is_empty());
    assert!(store.scan(Some(&behind), 10).await.unwrap().is_empty());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(reads.iter().all(|read| !read.is_finished()));
    disk.heal();
    for read in reads {
        assert!(read.await.unwrap());
    }
    assert!(purge.await.unwrap().unwrap());
}

/// Of those that never end, too.
async fn a_read_waits_for_the_saves_before_it_alone<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    saved(&store, 1, Expected::Absent).await;
    store.pending.add(&key());
    assert!(store.load(&key()).await.unwrap().is_some());
    assert_eq!(store.scan(None, 10).await.unwrap().len(), 1);
    assert_eq!(store.list(key().group()).await.unwrap().len(), 1);
}

/// Its token would be refreshed a second time.
async fn a_save_that_was_accepted_is_read_though_its_caller_is_gone<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = Arc::new(disk.open::<E>(folder.path()).await);
    let first = saved(&store, 1, Expected::Absent).await;
    disk.break_by([Fault::Hang]);
    let mut syncs = disk.0.syncs.subscribe();
    syncs.mark_unchanged();
    let save = |key: RowKey, byte, expected| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.save(&key, row(byte), expected).await })
    };
    let other = RowKey::from_bytes(&[8; RowKey::LEN]).unwrap();
    let before = save(other, 1, Expected::Absent);
    syncs.changed().await.unwrap();
    // Waits for the next round, and is not applied yet.
    let gone = save(key(), 2, first);
    while !store.pending.has(&key()) {
        tokio::task::yield_now().await;
    }
    gone.abort();
    let reader = Arc::clone(&store);
    let read = tokio::spawn(async move { reader.load(&key()).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    disk.heal();
    assert!(before.await.unwrap().is_ok());
    assert_eq!(read.await.unwrap().unwrap().unwrap().bytes[0], 2);
}

/// Nobody should wait for that to pass.
async fn damage_that_is_found_when_it_is_opened_again_is_told_as_damage<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    let first = saved(&store, 1, Expected::Absent).await;
    disk.break_by([Fault::Sync, Fault::At(Step::Open)]);
    store.save(&key(), row(2), first).await.unwrap();
    File::create(folder.path().join(E::FILE)).unwrap();
    disk.heal();
    disk.until_open_again(&store).await;
    let error = store.load(&key()).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
    assert!(!error.to_string().contains("no restart"), "{error}");
    let saved = store.save(&key(), row(3), first).await.unwrap_err();
    assert_eq!(saved.kind(), StoreErrorKind::Damaged);
}

/// It may be large, and the disk is full.
async fn the_file_is_written_anew_once_after_a_failed_sync_and_not_after_another_failure<
    E: Engine,
>() {
    for fault in FAULTS {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
        let store = disk.open::<E>(folder.path()).await;
        let first = saved(&store, 1, Expected::Absent).await;
        disk.break_by([fault, Fault::At(Step::Open)]);
        let outcome = store.save(&key(), row(2), first).await.unwrap();
        assert_eq!(outcome, SaveOutcome::Unknown);
        disk.mend(fault);

        // The first try was that of the first open.
        let mut tried = disk.0.tried.subscribe();
        tried.wait_for(|tried| *tried >= 2).await.unwrap();
        let applying = [Fault::At(Step::Apply), Fault::PanicAt(Step::Apply)].contains(&fault);
        assert_eq!(disk.rewritten(), u32::from(!applying), "{fault:?}");
        tried.wait_for(|tried| *tried >= 4).await.unwrap();
        assert_eq!(disk.rewritten(), u32::from(!applying), "{fault:?}");
    }
}

/// One row whose page makes its engine give up is not to take the store from all others.
async fn a_save_whose_look_panics_shuts_nobody_else_out<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    let first = saved(&store, 1, Expected::Absent).await;
    disk.break_by([Fault::PanicAt(Step::Look), Fault::At(Step::Open)]);
    let outcome = store.save(&key(), row(2), first).await;
    // Nothing was written, and that is known.
    assert_eq!(outcome.unwrap_err().kind(), StoreErrorKind::Damaged);
    assert!(store.load(&key()).await.unwrap().is_some());
}

/// It may have been killed while a sync failed, or did not come back.
async fn whoever_did_not_close_has_the_next_open_write_the_cache_anew<E: Engine>() {
    let (parent, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let folder = parent.path().join("store");
    let store = disk.open::<E>(&folder).await;
    saved(&store, 1, Expected::Absent).await;
    let copied = |to: &str| {
        let to = parent.path().join(to);
        store_tests::copy_files(&folder, &to);
        to
    };
    let open = copied("open");
    store.close().await;
    let closed = copied("closed");
    for (folder, expected) in [(open, 1), (closed, 0)] {
        let before = disk.rewritten();
        let store = disk.open::<E>(&folder).await;
        assert_eq!(disk.rewritten() - before, expected);
        assert!(store.load(&key()).await.unwrap().is_some());
    }
}

/// An engine may sync on its way, and forget what came of it.
async fn a_sync_that_failed_within_an_open_has_the_next_write_the_cache_anew<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    let first = saved(&store, 1, Expected::Absent).await;
    store.close().await;
    // The first sync is the one before.
    disk.break_by([Fault::SyncAfter(Step::Open), Fault::At(Step::Open)]);
    let opened = Embedded::<E>::open_on(Arc::new(disk.clone()), folder.path()).await;
    assert!(is_unavailable(opened));
    disk.heal();
    let before = disk.rewritten();
    let store = disk.open::<E>(folder.path()).await;
    assert_eq!(disk.rewritten() - before, 1);
    saved(&store, 2, first).await;
}

/// What is written to it is gone with this process.
async fn nothing_is_acknowledged_in_a_file_that_was_removed<E: Engine>() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
    let store = disk.open::<E>(folder.path()).await;
    let first = saved(&store, 1, Expected::Absent).await;
    fs::remove_dir_all(folder.path()).unwrap();
    let outcome = store.save(&key(), row(2), first).await.unwrap();
    assert_eq!(outcome, SaveOutcome::Unknown);
    assert!(is_unavailable(store.load(&key()).await));
}

async fn nobody_else_may_read_what_is_ours<E: Engine>() {
    use std::os::unix::fs::PermissionsExt as _;

    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    Embedded::<E>::open(&folder).await.unwrap().close().await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in ["tower-token.lock", "tower-token.tail"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
}

/// Whoever fails first takes its lock file away while another waits for it.
async fn the_lock_is_on_the_file_that_the_next_one_finds<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let take = |path: &Path| Folder::take::<E>(path, Arc::new(Real));
    let first = take(folder.path()).unwrap();
    let second = {
        let folder = folder.path().to_owned();
        std::thread::spawn(move || Folder::take::<E>(&folder, Arc::new(Real)).unwrap())
    };
    let lock = fs::canonicalize(folder.path())
        .unwrap()
        .join("tower-token.lock");
    let handles = || {
        let handles = fs::read_dir("/proc/self/fd").unwrap();
        let paths = handles.filter_map(|handle| fs::read_link(handle.ok()?.path()).ok());
        paths.filter(|path| *path == lock).count()
    };
    while handles() < 2 {
        std::thread::yield_now();
    }
    drop(first);
    let _second = second.join().unwrap();
    let third = take(folder.path()).err().map(|error| error.kind());
    assert_eq!(third, Some(StoreErrorKind::InUse));
}
