//! What is due, and who is given it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::bench::{
    ADA, BRIEF, Bench, Broken, Checked, HOUR, LONG_AGO, MOMENTS, NEVER_YET, a_moment, broken,
    bytes, clear, ensure, is_granted, key, saved, time,
};
use crate::clock::Timestamp;
use crate::store::contract::byte_store::{ByteStore, Expected, Row, RowKey, Version};

/// A row that is due then.
async fn due(store: &impl ByteStore, key: RowKey, due: Option<Timestamp>) -> Checked<Version> {
    saved(store, key, &bytes(9_000), due, Expected::Absent).await
}

/// Everything that can be claimed, by twos.
async fn claimed(store: &impl ByteStore, ttl: Duration) -> Checked<Vec<(RowKey, Row)>> {
    let mut rows = Vec::new();
    loop {
        let some = store.claim_due(2, ttl).await?;
        ensure(some.len() <= 2, "more was claimed than was asked for")?;
        if some.is_empty() {
            return Ok(rows);
        }
        rows.extend(some);
        ensure(
            rows.len() < 100,
            "what was claimed is claimed again and again",
        )?;
    }
}

pub(super) async fn what_is_due_is_claimed_by_one<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let store = bench.shared().await?;
    let mut wanted = BTreeMap::new();
    for id in 0..20 {
        due(&*store, key(22, id), LONG_AGO).await?;
        let row = store.load(&key(22, id)).await?;
        wanted.insert(key(22, id), row.ok_or(Broken("a row was lost".to_owned()))?);
    }
    due(&*store, key(22, 20), NEVER_YET).await?;
    due(&*store, key(22, 21), None).await?;
    let claimers: Vec<_> = (0..4)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { claimed(&*store, HOUR).await })
        })
        .collect();
    let mut found = BTreeMap::new();
    for claimer in claimers {
        for (key, row) in claimer.await?? {
            let twice = found.insert(key, row).is_some();
            ensure(!twice, "a row was claimed by two")?;
        }
    }
    ensure(
        claimed(&*store, HOUR).await?.is_empty(),
        "a row was claimed again before its time",
    )?;
    ensure(
        found.keys().eq(wanted.keys()),
        "what is claimed is not what is due, or not all of it",
    )?;
    ensure(
        found == wanted,
        "a row is claimed otherwise than it is read",
    )?;
    clear(&*store, (0..22).map(|id| key(22, id))).await
}

pub(super) async fn a_claim_ends_with_its_time<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(23, 1));
    due(&store, key, LONG_AGO).await?;
    let began = time(&store).await?;
    // Once: a store that takes its time could be asked again after the end.
    ensure(
        store.claim_due(2, BRIEF).await?.len() == 1,
        "what is due was not claimed, or more than once",
    )?;
    let over = time(&store).await? + BRIEF;
    for _ in 0..MOMENTS {
        let before = time(&store).await?;
        let rows = store.claim_due(2, HOUR).await?;
        if !rows.is_empty() {
            let now = time(&store).await?;
            ensure(now >= began + BRIEF, "a claim ended before its time")?;
            return clear(&store, [key]).await;
        }
        ensure(before < over, "a claim did not end with its time")?;
        a_moment().await;
    }
    broken("the store's time stands still")
}

pub(super) async fn due_is_what_the_row_says_now<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let store = bench.store().await?;
    // How each is due at first, and then.
    let rows = [
        (LONG_AGO, None),
        (LONG_AGO, NEVER_YET),
        (NEVER_YET, LONG_AGO),
        (None, LONG_AGO),
        (LONG_AGO, LONG_AGO),
    ];
    for (id, (first, then)) in (1..).zip(rows) {
        let version = due(&store, key(24, id), first).await?;
        saved(
            &store,
            key(24, id),
            b"then",
            then,
            Expected::Version(version),
        )
        .await?;
    }
    let gone = due(&store, key(24, 9), LONG_AGO).await?;
    store.purge(&key(24, 9), gone).await?;
    // It is another row, and not due.
    due(&store, key(24, 8), LONG_AGO).await?;
    clear(&store, [key(24, 8)]).await?;
    due(&store, key(24, 8), None).await?;
    let mut found = claimed(&store, HOUR).await?;
    found.sort_by_key(|(key, _)| *key);
    ensure(
        found.iter().all(|(_, row)| row.bytes == b"then"[..]),
        "a row was claimed as it was before",
    )?;
    let found = found.into_iter().map(|(key, _)| key);
    ensure(
        found.eq([3, 4, 5].map(|id| key(24, id))),
        "what is claimed goes by when a row was due before, or is gone",
    )?;
    clear(&store, [1, 2, 3, 4, 5, 8].map(|id| key(24, id))).await
}

pub(super) async fn claims_and_leases_are_apart<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(25, 1));
    due(&store, key, LONG_AGO).await?;
    store.lease(&key, ADA, HOUR).await?;
    ensure(
        claimed(&store, HOUR).await?.len() == 1,
        "a lease kept its row from being claimed",
    )?;
    store.release(&key, ADA).await?;
    ensure(
        claimed(&store, HOUR).await?.is_empty(),
        "a claim ended with a lease",
    )?;
    let free = is_granted(store.lease(&key, ADA, HOUR).await?);
    ensure(free, "a claim kept a lease from being taken")?;
    store.release(&key, ADA).await?;
    clear(&store, [key]).await
}
