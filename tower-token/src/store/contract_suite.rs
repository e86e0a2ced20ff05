//! One suite for every back end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::contract::{
    ByteStore, Expected, Group, Lease, LeaseOwner, RowKey, SaveOutcome, SealedRow, StoreError,
    StoreErrorKind, Version,
};
use crate::clock::Timestamp;

/// Checks an empty store against the promises of [`ByteStore`], and closes it.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), tower_token::StoreError> {
/// use tower_token::{MemoryStore, testkit::contract_suite};
///
/// contract_suite(MemoryStore::new()).await
/// # }
/// ```
///
/// # Panics
///
/// If a promise is broken.
///
/// # Errors
///
/// Whatever the store fails with.
pub async fn contract_suite(store: impl ByteStore) -> Result<(), StoreError> {
    compare_and_set(&store).await?;
    rows_of_any_size(&store).await?;
    groups_and_order(&store).await?;
    leases(&store).await?;
    claims(&store).await?;
    purges(&store).await?;
    let store = Arc::new(store);
    one_winner(&store).await?;
    store.close().await;
    let after = store.load(&key(1, 1)).await.map_err(|error| error.kind());
    assert_eq!(
        after,
        Err(StoreErrorKind::Closed),
        "a closed store was read"
    );
    let after = save(&*store, key(1, 1), b"late", Expected::Absent).await;
    let after = after.map_err(|error| error.kind());
    assert_eq!(
        after,
        Err(StoreErrorKind::Closed),
        "a closed store was written"
    );
    Ok(())
}

fn key(group: u8, id: u8) -> RowKey {
    RowKey::new(Group([group; 16]), [id; 32])
}

async fn save(
    store: &impl ByteStore,
    key: RowKey,
    bytes: &[u8],
    expected: Expected,
) -> Result<SaveOutcome, StoreError> {
    store
        .save(&key, SealedRow::new(bytes.to_vec(), None), expected)
        .await
}

/// Saves until the outcome is known, as a caller has to.
async fn saved(
    store: &impl ByteStore,
    key: RowKey,
    bytes: &[u8],
    expected: Expected,
) -> Result<Version, StoreError> {
    let outcome = save(store, key, bytes, expected).await?;
    let SaveOutcome::Saved(version) = outcome else {
        assert_eq!(
            outcome,
            SaveOutcome::Unknown,
            "an expected save was refused"
        );
        let found = store.load(&key).await?;
        assert!(found.is_some(), "a save came to nothing");
        return Ok(found.map_or(Version(0), |row| row.version));
    };
    Ok(version)
}

async fn compare_and_set(store: &impl ByteStore) -> Result<(), StoreError> {
    let key = key(1, 1);
    assert_eq!(store.load(&key).await?, None, "the store is not empty");
    let nowhere = Expected::Version(Version(1));
    let refused = save(store, key, b"x", nowhere).await?;
    assert_eq!(
        refused,
        SaveOutcome::Conflict,
        "a row that is not there was replaced"
    );

    let first = saved(store, key, b"one", Expected::Absent).await?;
    let second = saved(store, key, b"two", Expected::Version(first)).await?;
    assert_ne!(first, second, "a version was used twice");
    for stale in [Expected::Absent, Expected::Version(first)] {
        let refused = save(store, key, b"x", stale).await?;
        assert_eq!(
            refused,
            SaveOutcome::Conflict,
            "{stale:?} replaced {second:?}"
        );
    }
    let row = store.load(&key).await?;
    assert!(
        row.is_some_and(|row| row.version == second && &row.bytes[..] == b"two"),
        "the row is not the one that was saved last"
    );
    Ok(())
}

async fn rows_of_any_size(store: &impl ByteStore) -> Result<(), StoreError> {
    let key = key(2, 1);
    let mut expected = Expected::Absent;
    // Up and down again: what a longer row leaves behind must not show.
    for len in [0, 1, 4_086, 4_087, 40_000, SealedRow::MAX_LEN, 4_097, 10] {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let version = saved(store, key, &bytes, expected).await?;
        let row = store.load(&key).await?;
        assert!(
            row.is_some_and(|row| row.version == version && row.bytes == bytes),
            "a row of {len} bytes was not read as it was written"
        );
        expected = Expected::Version(version);
    }
    Ok(())
}

async fn groups_and_order(store: &impl ByteStore) -> Result<(), StoreError> {
    let mut written = HashSet::new();
    for (group, id) in [(3, 2), (3, 1), (4, 1), (3, 3)] {
        // Long ones too: nothing but whole rows may be listed.
        saved(store, key(group, id), &[id; 9_000], Expected::Absent).await?;
        written.insert(key(group, id));
    }
    let listed = store.list(Group([3; 16])).await?;
    let listed: HashSet<RowKey> = listed.into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        listed,
        [key(3, 1), key(3, 2), key(3, 3)].into(),
        "a group is its rows"
    );
    assert!(
        store.list(Group([9; 16])).await?.is_empty(),
        "an empty group has rows"
    );

    let (mut scanned, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(after.as_ref(), 2).await?;
        assert!(page.len() <= 2, "a page is longer than its limit");
        let Some((last, _)) = page.last() else {
            break;
        };
        after = Some(*last);
        scanned.extend(page.into_iter().map(|(key, _)| key));
    }
    assert!(scanned.is_sorted(), "a scan is not in order");
    written.extend([key(1, 1), key(2, 1)]);
    assert_eq!(
        scanned.len(),
        written.len(),
        "a scan returned a row twice, or left one out"
    );
    assert_eq!(
        scanned.into_iter().collect::<HashSet<_>>(),
        written,
        "a scan is every row"
    );
    Ok(())
}

async fn leases(store: &impl ByteStore) -> Result<(), StoreError> {
    let (ada, bob) = (LeaseOwner([1; 16]), LeaseOwner([2; 16]));
    let key = key(5, 1);
    let ttl = Duration::from_secs(60);
    let granted = |lease| matches!(lease, Lease::Granted { .. });
    assert!(
        granted(store.lease(&key, ada, ttl).await?),
        "a free lease was refused"
    );
    assert!(
        granted(store.lease(&key, ada, ttl).await?),
        "a holder could not extend"
    );
    let second = store.lease(&key, bob, ttl).await?;
    assert!(
        matches!(second, Lease::Held { now, until } if until > now),
        "a lease was given twice, or has ended early"
    );
    store.release(&key, bob).await?;
    assert!(
        !granted(store.lease(&key, bob, ttl).await?),
        "a stranger released a lease"
    );
    store.release(&key, ada).await?;
    assert!(
        granted(store.lease(&key, bob, ttl).await?),
        "a released lease is not free"
    );
    store.release(&key, bob).await?;
    assert!(granted(store.lease(&key, bob, Duration::ZERO).await?));
    assert!(
        granted(store.lease(&key, ada, ttl).await?),
        "a lease outlived its time"
    );
    store.release(&key, ada).await
}

/// A row is found when its time has come, and given to one at a time.
async fn claims(store: &impl ByteStore) -> Result<(), StoreError> {
    let due = |id, millis| (key(7, id), Some(Timestamp::from_unix_millis(millis)));
    // The future of any clock, and the past of any.
    let later = u64::MAX / 2;
    let rows = [
        due(1, 1_000),
        due(2, 2_000),
        due(3, later),
        (key(7, 4), None),
        // Long, so that a store that cuts rows has to find the whole.
        due(5, 3_000),
    ];
    let mut versions = Vec::new();
    for (key, due) in rows {
        let bytes = vec![7; if key == rows[4].0 { 9_000 } else { 9 }];
        let row = SealedRow::new(bytes, due);
        let saved = store.save(&key, row, Expected::Absent).await?;
        assert!(
            !matches!(saved, SaveOutcome::Conflict),
            "an expected save was refused"
        );
        let row = store.load(&key).await?;
        assert_eq!(row.as_ref().and_then(|row| row.due), due, "due was lost");
        versions.push(row.map_or(Version(0), |row| row.version));
    }
    let ttl = Duration::from_secs(3_600);
    let first = store.claim_due(2, ttl).await?;
    assert_eq!(first.len(), 2, "of three due rows two were asked for");
    let mut claimed: HashSet<RowKey> = first.into_iter().map(|(key, _)| key).collect();
    let rest = store.claim_due(10, ttl).await?;
    assert_eq!(
        rest.len(),
        1,
        "a claimed row was claimed again, or one left"
    );
    for (key, row) in &rest {
        assert_eq!(
            Some(&row.version),
            versions.get(usize::from(key.as_bytes()[47]) - 1),
            "a claim brings the row as it is"
        );
    }
    claimed.extend(rest.into_iter().map(|(key, _)| key));
    assert_eq!(
        claimed,
        [key(7, 1), key(7, 2), key(7, 5)].into(),
        "what is due is claimed, and nothing else"
    );
    // A claim is no lease.
    let lease = store.lease(&key(7, 1), LeaseOwner([1; 16]), ttl).await?;
    assert!(
        matches!(lease, Lease::Granted { .. }),
        "a claim kept a lease from being taken"
    );
    store.release(&key(7, 1), LeaseOwner([1; 16])).await?;
    assert!(store.claim_due(10, ttl).await?.is_empty());

    // Put off, or never due any more: it is not found.
    let again = |due| SealedRow::new(vec![8], due);
    for (id, due) in [(1, None), (2, Some(Timestamp::from_unix_millis(later)))] {
        let expected = Expected::Version(versions[usize::from(id - 1_u8)]);
        store.save(&key(7, id), again(due), expected).await?;
    }
    let brief = Duration::ZERO;
    let (soon, expected) = (Some(Timestamp::from_unix_millis(5)), versions[2]);
    store
        .save(&key(7, 3), again(soon), Expected::Version(expected))
        .await?;
    for _ in 0..2 {
        // A claim that is over at once.
        let claimed = store.claim_due(10, brief).await?;
        let claimed: HashSet<RowKey> = claimed.into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            claimed,
            [key(7, 3)].into(),
            "due is what the row says now, and a claim ends with its time"
        );
    }
    for id in 1..=5 {
        let row = store.load(&key(7, id)).await?;
        if let Some(row) = row {
            store.purge(&key(7, id), row.version).await?;
        }
    }
    Ok(())
}

async fn purges(store: &impl ByteStore) -> Result<(), StoreError> {
    let key = key(8, 1);
    let bytes = [9; 9_000];
    let first = saved(store, key, &bytes, Expected::Absent).await?;
    let second = saved(store, key, &bytes, Expected::Version(first)).await?;
    assert!(
        !store.purge(&key, first).await?,
        "a row was purged that had changed"
    );
    assert!(store.load(&key).await?.is_some());
    assert!(store.purge(&key, second).await?, "a row was not purged");
    assert_eq!(store.load(&key).await?, None, "a purged row is there");
    assert!(!store.purge(&key, second).await?, "it was purged twice");
    let third = saved(store, key, b"anew", Expected::Absent).await?;
    assert!(
        third != first && third != second,
        "a version was used again after a purge"
    );
    Ok(())
}

/// Of many who expect the same, one wins.
async fn one_winner<S: ByteStore>(store: &Arc<S>) -> Result<(), StoreError> {
    let key = key(6, 1);
    let mut version = saved(&**store, key, b"0", Expected::Absent).await?;
    for round in 0..8u8 {
        let tasks: Vec<_> = (0..16u8)
            .map(|writer| {
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    save(&*store, key, &[round, writer], Expected::Version(version)).await
                })
            })
            .collect();
        let mut winners = Vec::new();
        for (writer, task) in (0u8..).zip(tasks) {
            let Ok(outcome) = task.await else {
                return Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    "a writer panicked",
                ));
            };
            if let SaveOutcome::Saved(version) = outcome? {
                winners.push((writer, version));
            }
        }
        let found = store.load(&key).await?;
        assert_eq!(
            winners.len(),
            1,
            "{} writers replaced one version",
            winners.len()
        );
        let (writer, saved) = winners[0];
        let won = found.is_some_and(|row| row.bytes == vec![round, writer] && row.version == saved);
        assert!(won, "the winner's row is not there");
        version = saved;
    }
    Ok(())
}
