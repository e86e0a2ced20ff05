//! A save that replaces a large row writes in many places. A disk that is full in the middle of
//! that leaves every row as it was, or the one that was saved as it was to be.
//!
//! On a small file system in memory, which takes root.

#![allow(clippy::print_stdout)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::acked::{Grants, row_key};
use tests::mounted::{Mounted, not_run};
use tower_token::{
    ByteStore, Expected, RedbStore, Row, SaveOutcome, SealedRow, SledStore, StoreError, Version,
};

const ROWS: usize = 6;
/// How often a disk is filled: what is left behind takes room, too.
const FAILURES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn sled() {
    tears_no_row(SledStore::open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redb() {
    tears_no_row(RedbStore::open).await;
}

async fn tears_no_row<S: ByteStore, O>(open: impl Fn(PathBuf) -> O)
where
    O: Future<Output = Result<S, StoreError>>,
{
    let grants = Grants::new().await.unwrap();
    let mut in_all = 0;
    for (len, room) in [(60_000, 200_000), (60_000, 700_000), (400_000, 1_500_000)] {
        let Ok(disk) = Mounted::in_memory(32 << 10) else {
            not_run("a full disk tears no row");
            return;
        };
        let store = open(disk.path().join("store")).await.unwrap();
        let mut known = Vec::new();
        for number in 0..ROWS {
            let row = grants.grant(len).await.unwrap();
            let version = save(&store, number, &row, Expected::Absent).await;
            known.push((version.unwrap(), row));
        }
        let ballast = disk.path().join("ballast");
        leave_room(&ballast, room);
        let mut failures = 0;
        for step in 0..100 {
            let number = step * 5 % ROWS;
            let row = grants.grant(len + step * 7_919 % len).await.unwrap();
            let expected = Expected::Version(known[number].0);
            if let Some(version) = save(&store, number, &row, expected).await {
                known[number] = (version, row);
                continue;
            }
            failures += 1;
            fs::remove_file(&ballast).unwrap();
            for (other, (version, was)) in known.iter_mut().enumerate() {
                let found = load(&store, other).await.unwrap();
                if other == number && found.bytes == *row.bytes() {
                    *version = found.version;
                    *was = row.clone();
                }
                assert!(found.bytes == *was.bytes(), "{other} of {step}");
                assert_eq!(found.version, *version, "{other} of {step}");
            }
            if failures == FAILURES {
                break;
            }
            leave_room(&ballast, room);
        }
        in_all += failures;
        store.close().await;
    }
    println!("the disk was full {in_all} times");
    assert!(in_all > 2);
}

/// The new version, if the disk had room for it.
async fn save(
    store: &impl ByteStore,
    number: usize,
    row: &SealedRow,
    expected: Expected,
) -> Option<Version> {
    let saved = store.save(&row_key(number), row.clone(), expected).await;
    match saved {
        Ok(SaveOutcome::Saved(version)) => Some(version),
        Ok(SaveOutcome::Unknown) | Err(_) => None,
        Ok(SaveOutcome::Conflict) => panic!("nobody else saves"),
    }
}

/// Waits until the store was opened again: it tries that every five seconds.
async fn load(store: &impl ByteStore, number: usize) -> Option<Row> {
    let load = async {
        loop {
            match store.load(&row_key(number)).await {
                Ok(found) => return found,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), load).await {
        Ok(found) => found,
        Err(_) => panic!("it stays shut: {:?}", store.load(&row_key(number)).await),
    }
}

/// Fills the disk but for so much.
fn leave_room(ballast: &Path, room: u64) {
    let mut file = File::create(ballast).unwrap();
    while file.write_all(&[1; 4_096]).is_ok() {}
    let len = file.metadata().unwrap().len();
    file.set_len(len.saturating_sub(room)).unwrap();
}
