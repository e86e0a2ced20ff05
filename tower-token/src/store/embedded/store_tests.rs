//! What holds for a store over any engine.

use super::super::contract_suite;
use super::tail::Tail;
use super::*;

/// Runs each of these tests on each engine.
macro_rules! on_every_engine {
    ($($test:ident)*) => {
        #[cfg(feature = "sled")]
        mod sled {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test::<crate::store::sled::engine::Sled>().await;
                }
            )*
        }

        #[cfg(feature = "redb")]
        mod redb {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test::<crate::store::redb::engine::Redb>().await;
                }
            )*
        }
    };
}
pub(super) use on_every_engine;

on_every_engine! {
    it_keeps_the_contract
    what_was_acknowledged_is_there_after_a_reopen_and_versions_go_on
    no_version_comes_back_after_a_purge_and_a_reopen
    a_row_of_any_length_fits
    a_row_that_is_damaged_is_found_and_can_be_replaced
    more_than_a_page_is_listed_scanned_and_claimed
    a_second_open_is_a_typed_error_that_names_the_way_out
    a_folder_of_another_engine_is_refused_and_left_alone
    an_end_that_is_missing_is_noticed
}

fn key(id: u8) -> RowKey {
    RowKey::from_bytes(&[id; RowKey::LEN]).unwrap()
}

async fn save<E: Engine>(
    store: &Embedded<E>,
    key: &RowKey,
    row: SealedRow,
    expected: Expected,
) -> Version {
    match store.save(key, row, expected).await.unwrap() {
        SaveOutcome::Saved(version) => version,
        other => panic!("{other:?}"),
    }
}

async fn it_keeps_the_contract<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::<E>::open(folder.path()).await.unwrap();
    contract_suite(store).await.unwrap();
}

async fn what_was_acknowledged_is_there_after_a_reopen_and_versions_go_on<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = None;
    for round in 0..5u8 {
        let store = Embedded::<E>::open(folder.path()).await.unwrap();
        let found = store.load(&key(7)).await.unwrap();
        assert_eq!(found.as_ref().map(|row| row.version), last);
        let expected = last.map_or(Expected::Absent, Expected::Version);
        let row = SealedRow::new(vec![round; 5_000 * usize::from(round)], None);
        let version = save(&store, &key(7), row, expected).await;
        assert!(Some(version) > last);
        last = Some(version);
        // Now and then without a close: as after a crash, but for the lock.
        if round % 2 == 0 {
            store.close().await;
        }
    }
}

async fn no_version_comes_back_after_a_purge_and_a_reopen<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = Version(0);
    for close in [true, false, true] {
        let store = Embedded::<E>::open(folder.path()).await.unwrap();
        for _ in 0..2 {
            let row = SealedRow::new(vec![7], None);
            let version = save(&store, &key(7), row, Expected::Absent).await;
            assert!(version > last);
            last = version;
            assert!(store.purge(&key(7), version).await.unwrap());
            assert!(store.load(&key(7)).await.unwrap().is_none());
        }
        if close {
            store.close().await;
        }
    }
}

async fn a_row_of_any_length_fits<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::<E>::open(folder.path()).await.unwrap();
    let lens = [0, 1, 4_077, 4_078, 4_079, 65_536, SealedRow::MAX_LEN];
    for (id, len) in (0..).zip(lens) {
        let row = SealedRow::new(vec![id; len], None);
        save(&store, &key(id), row, Expected::Absent).await;
    }
    store.close().await;
    let store = Embedded::<E>::open(folder.path()).await.unwrap();
    for (id, len) in (0..).zip(lens) {
        let found = store.load(&key(id)).await.unwrap().unwrap();
        assert_eq!(found.bytes, vec![id; len]);
    }
}

/// What does not open can be replaced: its user connects again.
async fn a_row_that_is_damaged_is_found_and_can_be_replaced<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::<E>::open(folder.path()).await.unwrap();
    // One without a chunk, if it has any, and one without its head.
    let keys = [1, 2].map(key);
    for key in &keys {
        let row = SealedRow::new(vec![7; 9_000], None);
        save(&store, key, row, Expected::Absent).await;
    }
    let harm = |rows: &Rows<E>| {
        rows.harm(&keys[0], &keys[1]);
        Ok(())
    };
    store.door.read(harm).unwrap();
    for (key, is_cut) in keys.iter().zip([E::MAX_VALUE < 9_000, true]) {
        let found = store.load(key).await.unwrap().unwrap();
        assert_eq!(found.bytes.is_empty(), is_cut);
        let row = SealedRow::new(vec![8; 9_000], None);
        save(&store, key, row, Expected::Version(found.version)).await;
        let found = store.load(key).await.unwrap().unwrap();
        assert_eq!(found.bytes, vec![8; 9_000]);
    }
}

/// One that is behind a chunk or a mark, too.
async fn more_than_a_page_is_listed_scanned_and_claimed<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::<E>::open(folder.path()).await.unwrap();
    let due = Some(Timestamp::from_unix_millis(1));
    let (group, other) = (Group([b't'; 16]), Group([b'u'; 16]));
    let count = 2 * PAGE + 1;
    for n in 0..count {
        let mut id = [0; 32];
        id[0] = n as u8;
        for group in [group, other] {
            let row = SealedRow::new(vec![n as u8; 40 * n], due);
            save(&store, &RowKey::new(group, id), row, Expected::Absent).await;
        }
    }
    let all = store.scan(None, usize::MAX).await.unwrap();
    assert_eq!(all.len(), 2 * count);
    assert!(all.is_sorted_by_key(|(key, _)| *key));
    assert_eq!(store.list(group).await.unwrap(), all[..count]);
    assert_eq!(store.list(other).await.unwrap(), all[count..]);
    let (after, wanted) = (&all[PAGE].0, PAGE + 3);
    let some = store.scan(Some(after), wanted).await.unwrap();
    assert_eq!(some, all[PAGE + 1..][..wanted]);

    let first = store.claim_due(PAGE + 1, Duration::MAX / 4).await;
    assert_eq!(first.unwrap().len(), PAGE + 1);
    let rest = store.claim_due(usize::MAX, Duration::MAX / 4).await;
    assert_eq!(rest.unwrap().len(), 2 * count - PAGE - 1);
}

async fn a_second_open_is_a_typed_error_that_names_the_way_out<E: Engine>() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Embedded::<E>::open(folder.path()).await.unwrap();
    let error = Embedded::<E>::open(folder.path()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::InUse);
    assert!(error.to_string().contains("shared store"), "{error}");
}

async fn a_folder_of_another_engine_is_refused_and_left_alone<E: Engine>() {
    for file in ["db", "rows.redb"]
        .into_iter()
        .filter(|file| *file != E::FILE)
    {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), b"another's").unwrap();
        let error = Embedded::<E>::open(folder.path()).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
        assert!(error.to_string().contains("open it with"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

/// An engine alone opens it, without a word about what is missing.
async fn an_end_that_is_missing_is_noticed<E: Engine>() {
    let parent = tempfile::tempdir().unwrap();
    let (folder, earlier) = (parent.path().join("now"), parent.path().join("earlier"));
    for (id, put_away) in [(1, true), (2, false)] {
        let store = Embedded::<E>::open(&folder).await.unwrap();
        let row = SealedRow::new(vec![id; 20_000], None);
        save(&store, &key(id), row, Expected::Absent).await;
        store.close().await;
        if put_away {
            copy_files(&folder, &earlier);
        }
    }
    Embedded::<E>::open(&folder).await.unwrap().close().await;
    // As it was, but for the file beside it.
    std::fs::copy(folder.join(Tail::FILE), earlier.join(Tail::FILE)).unwrap();
    let error = Embedded::<E>::open(&earlier).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Damaged);
    assert!(error.to_string().contains("writes are missing"), "{error}");
    // Whoever would rather go on without them is told how.
    assert!(error.to_string().contains(Tail::FILE), "{error}");
    std::fs::remove_file(earlier.join(Tail::FILE)).unwrap();
    Embedded::<E>::open(&earlier).await.unwrap();
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
