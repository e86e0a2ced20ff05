//! What others are told of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bench::{
    Bench, Broken, Checked, added, broken, bytes, clear, ensure, key, saved_as, version,
};
use crate::store::contract::byte_store::{ByteStore, Expected, RowKey, Version};
use crate::store::contract::changes::{Announce, Changes, Cursor};

const LIMIT: usize = 1_000;

async fn begin(store: &impl ByteStore) -> Checked<Cursor> {
    let begin = store.changes_since(None, LIMIT).await?;
    ensure(
        begin.rows.is_empty() && !begin.missed,
        "without a cursor something is told of",
    )?;
    Ok(begin.next)
}

fn told(changes: &Changes) -> BTreeMap<RowKey, Version> {
    let rows = changes.rows.iter();
    rows.map(|(key, row)| (*key, row.version)).collect()
}

pub(super) async fn what_is_announced_is_told_to_all<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let store = bench.store().await?;
    let announced = async |id, as_what| {
        saved_as(&store, key(27, id), &bytes(900), as_what, Expected::Absent).await
    };
    announced(1, Announce::Everyone).await?;
    let cursor = begin(&store).await?;
    added(&store, key(27, 2), b"routine").await?;
    let third = announced(3, Announce::Everyone).await?;
    let fourth = announced(4, Announce::EveryoneAtOnce).await?;
    let wanted = BTreeMap::from([(key(27, 3), third), (key(27, 4), fourth)]);
    for _ in 0..2 {
        let changes = store.changes_since(Some(&cursor), LIMIT).await?;
        ensure(!changes.missed, "two changes are too many")?;
        ensure(
            told(&changes) == wanted,
            "what is told of is not what was announced",
        )?;
        for (key, row) in changes.rows {
            ensure(
                store.load(&key).await?.as_ref() == Some(&row),
                "a row is told of otherwise than it is read",
            )?;
        }
    }
    let next = store.changes_since(Some(&cursor), LIMIT).await?.next;
    // What is saved as a routine afterwards is still what was announced.
    let later = saved_as(
        &store,
        key(27, 4),
        b"later",
        Announce::Nobody,
        Expected::Version(fourth),
    )
    .await?;
    let changes = store.changes_since(Some(&cursor), LIMIT).await?;
    ensure(
        told(&changes).get(&key(27, 4)) == Some(&later),
        "a row is told of as it was before",
    )?;
    let changes = store.changes_since(Some(&next), LIMIT).await?;
    ensure(
        changes.rows.is_empty(),
        "what was told of before is told of again, or a routine is",
    )?;
    let again = Expected::Version(later);
    let again = saved_as(&store, key(27, 4), b"gone", Announce::EveryoneAtOnce, again).await?;
    let changes = store.changes_since(Some(&next), LIMIT).await?;
    ensure(
        told(&changes) == BTreeMap::from([(key(27, 4), again)]),
        "a row that is announced once more is not told of once more",
    )?;
    clear(&store, [1, 2, 3, 4].map(|id| key(27, id))).await?;
    let changes = store.changes_since(Some(&next), LIMIT).await?;
    ensure(changes.rows.is_empty(), "a row that was purged is told of")
}

pub(super) async fn no_change_is_passed_over<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    const WRITERS: u8 = 8;
    const EACH: u8 = 24;
    let store = bench.shared().await?;
    let mut cursor = begin(&*store).await?;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0..EACH {
                    let key = key(28, writer * EACH + n);
                    saved_as(&*store, key, b"x", Announce::Everyone, Expected::Absent).await?;
                }
                Ok::<_, Broken>(())
            })
        })
        .collect();
    let mut seen = BTreeMap::new();
    loop {
        // Asked before the look: what was acknowledged by then has to be in it.
        let is_over = writers.iter().all(|writer| writer.is_finished());
        let changes = store.changes_since(Some(&cursor), LIMIT).await?;
        ensure(!changes.missed, "changes are said to be missed")?;
        seen.extend(told(&changes));
        cursor = changes.next;
        if is_over {
            break;
        }
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await??;
    }
    let keys = || (0..WRITERS * EACH).map(|id| key(28, id));
    for key in keys() {
        let row = store.load(&key).await?;
        ensure(
            seen.get(&key).copied() == version(row.as_ref()),
            "a change was passed over",
        )?;
    }
    clear(&*store, keys()).await
}

pub(super) async fn too_many_changes_are_not_left_out<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let store = bench.store().await?;
    let cursor = begin(&store).await?;
    for id in 0..4 {
        let absent = Expected::Absent;
        saved_as(&store, key(29, id), b"x", Announce::Everyone, absent).await?;
    }
    let all = store.changes_since(Some(&cursor), 4).await?;
    ensure(
        !all.missed && all.rows.len() == 4,
        "as many changes as were asked for are not told of",
    )?;
    let changes = store.changes_since(Some(&cursor), 3).await?;
    ensure(changes.missed, "of too many changes some are left out")?;
    let changes = store.changes_since(Some(&changes.next), 3).await?;
    ensure(
        !changes.missed && changes.rows.is_empty(),
        "it does not go on where changes were missed",
    )?;
    let unknown = Cursor::new(&b"a place that no store has ever told of"[..]);
    match store.changes_since(Some(&unknown), 3).await {
        Ok(changes) => ensure(changes.missed, "a cursor of nowhere is taken for one")?,
        Err(error) => return broken(format!("a cursor of nowhere is an error: {error}")),
    }
    clear(&store, (0..4).map(|id| key(29, id))).await
}
