//! What outlives a store.

use super::bench::{Bench, Checked, LONG_AGO, added, bytes, clear, ensure, key, saved, version};
use super::rows::polled;
use crate::store::contract::byte_store::{ByteStore, Expected, SealedRow};

pub(super) async fn what_was_acknowledged_is_there_after_a_reopen<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    for close in [true, false] {
        let open = bench.place();
        let store = open().await?;
        let mut wanted = Vec::new();
        for (id, len) in (1..).zip([1, 5_000, 70_000, 0, 9_000]) {
            let first = added(&store, key(27, id), &bytes(len / 2)).await?;
            let expected = Expected::Version(first);
            saved(&store, key(27, id), &bytes(len), LONG_AGO, expected).await?;
            wanted.push((key(27, id), store.load(&key(27, id)).await?));
        }
        clear(&store, [key(27, 5)]).await?;
        wanted[4].1 = None;
        if close {
            store.close().await;
        }
        drop(store);
        let store = open().await?;
        for (key, row) in &wanted {
            ensure(
                store.load(key).await? == *row,
                "a row is not as it was when it was acknowledged",
            )?;
        }
    }
    Ok(())
}

pub(super) async fn versions_go_on_after_a_reopen<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let open = bench.place();
    let mut used = Vec::new();
    for purge in [false, true, false] {
        let store = open().await?;
        for _ in 0..3 {
            let found = store.load(&key(28, 1)).await?;
            let expected = version(found.as_ref()).map_or(Expected::Absent, Expected::Version);
            let saved = saved(&store, key(28, 1), b"same", None, expected).await?;
            ensure(
                !used.contains(&saved),
                format!("{saved:?} was used before the store was opened again"),
            )?;
            used.push(saved);
        }
        if purge {
            clear(&store, [key(28, 1)]).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_load_shows_nothing_that_could_be_undone<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let open = bench.place();
    let store = open().await?;
    let mut seen = Vec::new();
    for polls in 1..24 {
        let key = key(29, polls);
        // Nobody waits for the acknowledgement, so that it is under way when it is looked at.
        let row = SealedRow::new(bytes(6_000), None);
        polled(polls, store.save(&key, row, Expected::Absent)).await;
        seen.extend(store.load(&key).await?.map(|row| (key, row)));
    }
    drop(store);
    let store = open().await?;
    for (key, row) in seen {
        ensure(
            store.load(&key).await? == Some(row),
            "a row was read that was not there any more after a reopen",
        )?;
    }
    Ok(())
}
