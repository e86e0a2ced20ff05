//! Rows: what is written, over what, and what is seen of it.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::bench::{
    Bench, Broken, Checked, LONG_AGO, NEVER_YET, a_moment, added, broken, bytes, clear, ensure,
    key, save, saved, version,
};
use crate::store::contract::byte_store::{
    ByteStore, Expected, Row, RowKey, SaveOutcome, SealedRow, Version,
};

pub(super) async fn a_row_is_read_as_it_was_written<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(1, 1));
    ensure(
        store.load(&key).await?.is_none(),
        "a row is there that nobody wrote",
    )?;
    let mut expected = Expected::Absent;
    // Up and down again: what a longer row leaves behind must not show.
    let lens = [0, 1, 4_095, 4_096, 4_097, 10, 65_536, SealedRow::MAX_LEN];
    let lens = lens.into_iter().chain([8_193, 0, 100]);
    for (len, due) in lens.zip([None, LONG_AGO, NEVER_YET].into_iter().cycle()) {
        let written = bytes(len);
        let version = saved(&store, key, &written, due, expected).await?;
        let found = store.load(&key).await?;
        let wanted = Row::new(version, due, written.into());
        ensure(
            found.as_ref() == Some(&wanted),
            format!("a row of {len} bytes, due {due:?}, was not read as it was written"),
        )?;
        expected = Expected::Version(version);
    }
    clear(&store, [key]).await
}

pub(super) async fn a_save_replaces_only_what_it_expects<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let (store, key) = (bench.store().await?, key(2, 1));
    let refused = async |expected| -> Checked {
        let outcome = save(&store, key, b"x", expected).await?;
        ensure(
            outcome == SaveOutcome::Conflict,
            format!("a save that expected {expected:?} was answered {outcome:?}"),
        )
    };
    refused(Expected::Version(Version(1))).await?;
    let first = added(&store, key, b"one").await?;
    refused(Expected::Absent).await?;
    let second = saved(&store, key, b"two", None, Expected::Version(first)).await?;
    refused(Expected::Absent).await?;
    refused(Expected::Version(first)).await?;
    store.purge(&key, second).await?;
    refused(Expected::Version(second)).await?;
    added(&store, key, b"anew").await?;
    clear(&store, [key]).await
}

pub(super) async fn a_refused_save_changes_nothing<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(3, 1));
    save(&store, key, b"x", Expected::Version(Version(7))).await?;
    ensure(
        store.load(&key).await?.is_none(),
        "a refused save made a row",
    )?;
    let first = added(&store, key, &bytes(9_000)).await?;
    let expected = Expected::Version(first);
    saved(&store, key, &bytes(5_000), LONG_AGO, expected).await?;
    let before = store.load(&key).await?;
    for stale in [Expected::Absent, Expected::Version(first)] {
        save(&store, key, &bytes(9_001), stale).await?;
        let now = store.load(&key).await?;
        ensure(now == before, "a refused save changed the row")?;
    }
    clear(&store, [key]).await
}

pub(super) async fn of_many_savers_one_wins<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.shared().await?, key(4, 1));
    let mut expected = Expected::Absent;
    for round in 0..32u8 {
        let begin = Arc::new(Barrier::new(16));
        let tasks: Vec<_> = (0..16u8)
            .map(|writer| {
                let (store, begin) = (Arc::clone(&store), Arc::clone(&begin));
                tokio::spawn(async move {
                    begin.wait().await;
                    save(&*store, key, &[round, writer], expected).await
                })
            })
            .collect();
        let (mut winners, mut unknown) = (Vec::new(), 0);
        for (writer, task) in (0u8..).zip(tasks) {
            match task.await?? {
                SaveOutcome::Saved(version) => winners.push((writer, version)),
                SaveOutcome::Unknown => unknown += 1,
                SaveOutcome::Conflict => {}
            }
        }
        let Some(found) = store.load(&key).await? else {
            return broken("sixteen wrote a row, and none is there");
        };
        let is_one = match winners[..] {
            [(writer, version)] => found.bytes == vec![round, writer] && found.version == version,
            // One of those who do not know.
            [] => unknown > 0 && found.bytes.first() == Some(&round),
            _ => false,
        };
        ensure(
            is_one,
            format!(
                "{} of 16 replaced {expected:?}, or another's row is there",
                winners.len()
            ),
        )?;
        expected = Expected::Version(found.version);
    }
    clear(&*store, [key]).await
}

pub(super) async fn a_version_is_never_used_twice<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(5, 1));
    let mut used = Vec::new();
    for _ in 0..4 {
        let mut expected = Expected::Absent;
        for _ in 0..3 {
            // The same bytes: a version is of a write, not of what was written.
            let version = saved(&store, key, b"same", None, expected).await?;
            ensure(
                !used.contains(&version),
                format!("{version:?} was used twice for one key"),
            )?;
            used.push(version);
            expected = Expected::Version(version);
        }
        clear(&store, [key]).await?;
    }
    Ok(())
}

pub(super) async fn what_was_saved_is_seen_at_once<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(6, 1));
    for _ in 0..4 {
        let mut expected = Expected::Absent;
        for n in 0..8u8 {
            let saved = saved(&store, key, &[n], None, expected).await?;
            let found = store.load(&key).await?;
            let wanted = Row::new(saved, None, Bytes::copy_from_slice(&[n]));
            ensure(
                found == Some(wanted),
                "a row was read as it was before a save that had been acknowledged",
            )?;
            expected = Expected::Version(saved);
        }
        clear(&store, [key]).await?;
        let gone = store.load(&key).await?.is_none();
        ensure(gone, "a row was read after its purge")?;
    }
    Ok(())
}

pub(super) async fn a_row_is_seen_whole<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.shared().await?, key(7, 1));
    let row = |n: u8| vec![n; 20_000 + 9_000 * usize::from(n % 5)];
    let first = added(&*store, key, &row(0)).await?;
    let writer = {
        let store = Arc::clone(&store);
        async move {
            let mut written = HashMap::from([(first, 0)]);
            let mut last = first;
            for n in 1..40u8 {
                last = saved(&*store, key, &row(n), None, Expected::Version(last)).await?;
                written.insert(last, n);
            }
            Ok::<_, Broken>(written)
        }
    };
    let writer = tokio::spawn(writer);
    // Ended with the case, however that ends.
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let store = Arc::clone(&store);
        readers.spawn(async move {
            let mut seen = Vec::new();
            loop {
                let Some(found) = store.load(&key).await? else {
                    return broken("a row that is replaced was not there for a moment");
                };
                let n = found.bytes.first().copied().unwrap_or_default();
                ensure(
                    found.bytes == row(n),
                    "a row was seen that is part of one and part of another",
                )?;
                seen.push((found.version, n));
                if n == 39 {
                    return Ok(seen);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let written: HashMap<Version, u8> = writer.await??;
    while let Some(reader) = readers.join_next().await {
        let mut last = 0;
        for (version, n) in reader?? {
            ensure(
                written.get(&version) == Some(&n),
                "a version was seen with the bytes of another",
            )?;
            ensure(n >= last, "a row was seen as it was before, once more")?;
            last = n;
        }
    }
    clear(&*store, [key]).await
}

pub(super) async fn a_key_is_48_bytes_of_any_value<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let store = bench.store().await?;
    let mut keys = vec![[0; RowKey::LEN], [0xff; RowKey::LEN], [8; RowKey::LEN]];
    for at in [0, 15, 16, 47] {
        for byte in [0, 1, b'\n', b'%', b'\'', b'/', 0x80] {
            let mut key = [8; RowKey::LEN];
            key[at] = byte;
            keys.push(key);
        }
    }
    let keys = keys.iter().filter_map(|key| RowKey::from_bytes(key));
    let keys: Vec<RowKey> = keys.collect();
    for key in &keys {
        ensure(
            store.load(key).await?.is_none(),
            format!("there is a row under {key:?} before it is written"),
        )?;
        added(&store, *key, key.as_bytes()).await?;
    }
    for key in &keys {
        let found = store.load(key).await?;
        ensure(
            found.is_some_and(|row| row.bytes == key.as_bytes()[..]),
            format!("under {key:?} is the row of another key, or none"),
        )?;
    }
    clear(&store, keys).await
}

pub(super) async fn a_dropped_save_wrote_all_or_nothing<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let (store, key) = (bench.store().await?, key(9, 1));
    let mut here = added(&store, key, b"begin").await?;
    for polls in 1..32u8 {
        let dropped = bytes(5_000 + usize::from(polls));
        let row = SealedRow::new(dropped.clone(), None);
        let expected = Expected::Version(here);
        polled(polls, store.save(&key, row, expected)).await;
        // Whoever goes on writes over what is there, until that is not changed any more.
        let next = [polls; 3];
        here = loop {
            tokio::task::yield_now().await;
            let Some(found) = store.load(&key).await? else {
                return broken("a save that was dropped removed the row");
            };
            let is_old = found.version == here;
            ensure(
                is_old || found.bytes == dropped,
                "of a save that was dropped a part was written",
            )?;
            match save(&store, key, &next, Expected::Version(found.version)).await? {
                SaveOutcome::Saved(version) => break version,
                // What was dropped came in between, which it can do once.
                SaveOutcome::Conflict => ensure(is_old, "a save over what was found was refused")?,
                SaveOutcome::Unknown => {
                    let row = store.load(&key).await?;
                    if let Some(row) = row.filter(|row| row.bytes == next[..]) {
                        break row.version;
                    }
                }
            }
        };
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
        a_moment().await;
        let found = store.load(&key).await?;
        ensure(
            version(found.as_ref()) == Some(here),
            "a save that was dropped came later, and over another's row",
        )?;
    }
    clear(&store, [key]).await
}

/// Drops `work` after so many polls, if it has not ended.
pub(super) async fn polled(polls: u8, work: impl Future) {
    let mut work = pin!(work);
    for _ in 0..polls {
        let ended = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_ready())).await;
        if ended {
            return;
        }
        tokio::task::yield_now().await;
    }
}
