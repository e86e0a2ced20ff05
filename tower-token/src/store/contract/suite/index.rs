//! What takes an index: groups, and the order of all rows.

use std::collections::BTreeMap;

use super::bench::{Bench, Broken, Checked, HOUR, added, bytes, clear, ensure, key, saved};
use crate::store::contract::byte_store::{
    ByteStore, Expected, Group, Row, RowKey, StoreError, StoreErrorKind,
};

pub(super) async fn a_group_is_its_rows<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let store = bench.store().await?;
    let empty = store.list(Group([11; 16])).await?.is_empty();
    ensure(empty, "a group without rows has some")?;
    // Groups beside it in the order of keys, too.
    for (group, id) in [(11, 2), (10, 255), (11, 0), (12, 0), (11, 255)] {
        // Long ones: nothing but whole rows may be listed.
        added(&store, key(group, id), &bytes(9_000 + usize::from(id))).await?;
    }
    let listed = |rows: Vec<(RowKey, Row)>| {
        let mut keys: Vec<RowKey> = rows.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    };
    let rows = store.list(Group([11; 16])).await?;
    for (key, row) in &rows {
        let id = usize::from(key.as_bytes()[47]);
        let is_whole =
            row.bytes == bytes(9_000 + id) && store.load(key).await?.as_ref() == Some(row);
        ensure(is_whole, "a row is listed otherwise than it is read")?;
    }
    let wanted = [key(11, 0), key(11, 2), key(11, 255)];
    ensure(
        listed(rows) == wanted,
        "a list is not the rows of its group, or of others, too",
    )?;
    clear(&store, [key(11, 2)]).await?;
    ensure(
        listed(store.list(Group([11; 16])).await?) == [key(11, 0), key(11, 255)],
        "a row is listed after its purge",
    )?;
    let all = [key(10, 255), key(11, 0), key(12, 0), key(11, 255)];
    clear(&store, all).await
}

pub(super) async fn a_scan_is_every_row_in_order<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let store = bench.store().await?;
    let mut wanted: BTreeMap<RowKey, Row> = scanned(&store, 100).await?.into_iter().collect();
    let ids = [
        (13, 2),
        (1, 9),
        (13, 1),
        (255, 255),
        (14, 0),
        (0, 1),
        (13, 3),
    ];
    for (group, id) in ids {
        let key = key(group, id);
        added(&store, key, &bytes(3_000 * usize::from(id % 4))).await?;
        let row = store.load(&key).await?;
        wanted.insert(key, row.ok_or(Broken("a row was lost".to_owned()))?);
    }
    for limit in [1, 2, 3, 100] {
        let rows = scanned(&store, limit).await?;
        let in_order = rows.windows(2).all(|two| two[0].0 < two[1].0);
        ensure(
            in_order,
            format!("a scan by {limit} is not in the order of keys"),
        )?;
        ensure(
            rows.into_iter().eq(wanted.clone()),
            format!("a scan by {limit} leaves rows out, has others, or has them otherwise"),
        )?;
    }
    let page = store.scan(Some(&key(13, 1)), 1).await?;
    ensure(
        page.first().is_some_and(|(found, _)| *found == key(13, 2)),
        "a scan does not begin after the key that it was given",
    )?;
    clear(&store, ids.map(|(group, id)| key(group, id))).await
}

/// All rows, in pages of so many.
async fn scanned(store: &impl ByteStore, limit: usize) -> Checked<Vec<(RowKey, Row)>> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(after.as_ref(), limit).await?;
        ensure(
            page.len() <= limit,
            format!("a page of {limit} has {} rows", page.len()),
        )?;
        let Some((last, _)) = page.last() else {
            return Ok(rows);
        };
        ensure(
            after.is_none_or(|after| *last > after),
            "a scan does not come forward",
        )?;
        after = Some(*last);
        rows.extend(page);
    }
}

pub(super) async fn a_scan_goes_on_though_rows_come_and_go<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let store = bench.store().await?;
    let ids = [10, 20, 30, 40, 50, 60];
    for id in ids {
        added(&store, key(15, id), &[id]).await?;
    }
    let (mut seen, mut after) = (Vec::new(), key(14, 255));
    loop {
        let page = store.scan(Some(&after), 2).await?;
        let Some((last, _)) = page.last() else {
            break;
        };
        ensure(*last > after, "a scan does not come forward")?;
        after = *last;
        let ours = page
            .iter()
            .filter(|(key, _)| key.group() == Group([15; 16]));
        seen.extend(ours.map(|(key, _)| key.as_bytes()[47]));
        if seen == [10, 20] {
            // Behind it, before it, and where it stands.
            added(&store, key(15, 5), b"behind").await?;
            added(&store, key(15, 35), b"before").await?;
            clear(&store, [key(15, 10), key(15, 20), key(15, 40)]).await?;
        }
    }
    ensure(
        seen == [10, 20, 30, 35, 50, 60],
        format!("a scan came by {seen:?}: it does not go on where it stopped"),
    )?;
    clear(&store, [5, 30, 35, 50, 60].map(|id| key(15, id))).await
}

pub(super) async fn what_takes_an_index_says_so<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(16, 1));
    // Nothing there is no reason to say that nothing is.
    for _ in 0..2 {
        let list = store.list(Group([16; 16])).await;
        let (scan, claim) = (store.scan(None, 9).await, store.claim_due(9, HOUR).await);
        for (what, answer) in [("list", list), ("scan", scan), ("claim_due", claim)] {
            let kind = answer.as_ref().map_err(StoreError::kind);
            ensure(
                kind == Err(StoreErrorKind::Unsupported),
                format!("{what} of a store without an index was answered {answer:?}"),
            )?;
        }
        saved(&store, key, b"x", None, Expected::Absent).await.ok();
    }
    clear(&store, [key]).await
}
