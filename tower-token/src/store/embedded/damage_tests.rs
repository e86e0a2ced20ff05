//! Pages that cannot be read, and what was cut off half-way, cost no other row anything.

use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use super::layout::due_key;
use super::*;
use crate::store::sled::engine::Sled;

type Store = Embedded<Sled>;

const ROWS: u8 = 100;
const LEN: usize = 40_000;

/// Before our own marks, and behind them.
fn key(id: u8) -> RowKey {
    RowKey::from_bytes(&[2 * id; RowKey::LEN]).unwrap()
}

fn due(id: u8) -> Timestamp {
    Timestamp::from_unix_millis(1_000_000 + u64::from(id))
}

fn row(byte: u8, due: Timestamp) -> SealedRow {
    SealedRow::new(vec![byte; LEN], Some(due))
}

async fn save(store: &Store, id: u8, row: SealedRow, expected: Expected) -> Version {
    match store.save(&key(id), row, expected).await {
        Ok(SaveOutcome::Saved(version)) => version,
        other => panic!("{id}: {other:?}"),
    }
}

/// Saves rows, all of them due, and returns their versions.
async fn fill(folder: &Path) -> Vec<Version> {
    let store = Store::open(folder).await.unwrap();
    let mut versions = Vec::new();
    for id in 1..=ROWS {
        versions.push(save(&store, id, row(1, due(id)), Expected::Absent).await);
    }
    store.close().await;
    // A snapshot is made when it is opened: of all, from the second time on.
    for _ in 0..2 {
        Store::open(folder).await.unwrap().close().await;
    }
    versions
}

/// Damages the entries of these rows in the index.
fn damage_index(folder: &Path, ids: Range<u8>) {
    let path = folder.join("db");
    let mut log = fs::read(&path).unwrap();
    for id in ids {
        // sled keeps what neighbours have in common once: only the end of an entry is sure to
        // be found.
        let entry = due_key(due(id), &key(id));
        let end = &entry[entry.len() - RowKey::LEN - 1..];
        let places: Vec<usize> = (0..log.len() - end.len())
            .filter(|at| log[*at..].starts_with(end))
            .collect();
        assert!(!places.is_empty());
        for at in places {
            log[at + 4] ^= 0xff;
        }
    }
    fs::write(path, log).unwrap();
}

/// What a save had done when it met a page that cannot be read, its own or any other that sled
/// cleans up on the way, must leave the row as it was, or as it is to be.
#[tokio::test]
async fn a_page_that_cannot_be_read_tears_no_other_row() {
    let folder = tempfile::tempdir().unwrap();
    let versions = fill(folder.path()).await;
    // Far from the end of the index, beside which our own marks are.
    let damaged = 20..30;
    damage_index(folder.path(), damaged.clone());

    let store = Store::open(folder.path()).await.unwrap();
    let all_are_whole = || async {
        for id in 1..=ROWS {
            let found = store.load(&key(id)).await.unwrap().unwrap();
            assert_eq!(found.bytes.len(), LEN, "{id}");
        }
    };
    // Their own pages are sound.
    all_are_whole().await;
    for id in damaged {
        let expected = Expected::Version(versions[usize::from(id) - 1]);
        save(&store, id, row(2, due(0)), expected).await;
    }
    all_are_whole().await;
}

/// A crash leaves entries of the index and chunks behind.
#[tokio::test]
async fn what_a_row_contradicts_is_removed_and_the_row_claimed_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let first = save(&store, 1, row(1, due(3)), Expected::Absent).await;
    let read = |rows: &Rows<Sled>| {
        let mut entries = Vec::new();
        rows.due(store.clock.now(), None, usize::MAX, &mut entries)?;
        Ok((entries, rows.count_chunks(&key(1))))
    };
    let left = || store.door.read(read).unwrap();
    let (_, whole) = left();
    let leave = |rows: &Rows<Sled>| {
        // Of the row before it was saved, and of one that was removed.
        rows.leave(&key(1), due(2), Version(first.0 + 1_000));
        rows.leave(&key(2), due(1), first);
        Ok(())
    };
    store.door.read(leave).unwrap();
    let (entries, chunks) = left();
    assert_eq!((entries.len(), chunks), (3, whole + 1));

    let claimed = store.claim_due(10, Duration::ZERO).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].0, claimed[0].1.version), (key(1), first));
    store.writer.barrier().await.unwrap();
    assert_eq!(left().0, [(key(1), due(3))]);

    let second = save(&store, 1, row(2, due(3)), Expected::Version(first)).await;
    assert_eq!(left(), (vec![(key(1), due(3))], whole));
    assert!(store.purge(&key(1), second).await.unwrap());
    assert_eq!(left(), (vec![], 0));
}

#[tokio::test]
async fn a_damaged_page_of_the_index_keeps_no_other_row_from_being_claimed_or_scanned() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path()).await;
    damage_index(folder.path(), 20..21);
    let store = Store::open(folder.path()).await.unwrap();

    let (mut scanned, mut after) = (0, None);
    loop {
        let rows = store.scan(after.as_ref(), 10).await.unwrap();
        let Some((last, _)) = rows.last() else { break };
        after = Some(*last);
        scanned += rows.len();
    }
    assert_eq!(scanned, usize::from(ROWS));

    let mut claimed = HashSet::new();
    loop {
        let rows = store.claim_due(30, Duration::from_secs(3_600)).await;
        let rows = rows.unwrap();
        if rows.is_empty() {
            break;
        }
        assert!(rows.len() <= 30);
        assert!(rows.iter().all(|(key, _)| claimed.insert(*key)));
    }
    assert_eq!(claimed.len(), usize::from(ROWS));
}
