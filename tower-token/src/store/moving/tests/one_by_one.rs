//! Each promise of a move by itself.

use std::sync::Arc;

use bytes::Bytes;

use super::bad_store::{Answer, BadStore, Call, Fate};
use crate::error::{Error, ErrorKind};
use crate::store::KeyRing;
use crate::store::contract::suite::{Outcome, Suite};
use crate::store::contract::{
    Announce, ByteStore, Cursor, Expected, Group, RowKey, SaveOutcome, SealedRow, StoreErrorKind,
    Version,
};
use crate::store::keyset::Keyset;
use crate::store::memory::MemoryStore;
use crate::store::moving::MovingStore;
use crate::store::sealed::SealedStore;

fn key(n: u8) -> RowKey {
    RowKey::new(Group([n; 16]), [9; 32])
}

fn row(bytes: &'static str) -> SealedRow {
    SealedRow::new(bytes.as_bytes(), None)
}

async fn add(store: &impl ByteStore, key: RowKey, bytes: &'static str) -> Version {
    let saved = store.save(&key, row(bytes), Expected::Absent).await;
    match saved.unwrap() {
        SaveOutcome::Saved(version) => version,
        refused => panic!("{refused:?}"),
    }
}

async fn bytes_of(store: &impl ByteStore, key: RowKey) -> Option<Bytes> {
    store.load(&key).await.unwrap().map(|row| row.bytes)
}

async fn rows_of(store: &impl ByteStore) -> Vec<(RowKey, Bytes)> {
    let rows = store.scan(None, usize::MAX).await.unwrap().into_iter();
    rows.map(|(key, row)| (key, row.bytes)).collect()
}

/// Two stores that do as they are told; the first has a keyset and some rows.
async fn two() -> (BadStore, BadStore, MovingStore<BadStore, BadStore>) {
    let fate = Arc::new(Fate::new(7));
    let (from, to) = (BadStore::new(&fate), BadStore::new(&fate));
    add(&from.rows, Keyset::row_key(), "keyset").await;
    for n in 1..=8 {
        add(&from.rows, key(n), "old").await;
    }
    let moving = MovingStore::new(from.clone(), to.clone()).rows_per_step(2);
    // It has looked where it is.
    moving.load(&key(1)).await.unwrap();
    (from, to, moving)
}

async fn is_moved(from: &BadStore, to: &BadStore) -> bool {
    let opens = async |store: &BadStore| bytes_of(&store.rows, Keyset::row_key()).await;
    let is_keyset = |row: Option<Bytes>| row.is_some_and(|row| row == "keyset");
    let (from, to) = (is_keyset(opens(from).await), is_keyset(opens(to).await));
    assert_ne!(from, to, "one of both opens");
    to
}

fn refused<T>(result: Result<T, Error>, message: &str) {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(format!("{error:?}").contains(message), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_before_its_move_and_after() {
    let pair = || MovingStore::new(MemoryStore::new(), MemoryStore::new());
    let before = Suite::new(move || async move { Ok(pair()) });
    before.with_changes().run().await.assert_kept();
    let after = Suite::new(move || async move {
        let moving = pair();
        add(&moving, Keyset::row_key(), "keyset").await;
        moving.run().await.unwrap();
        Ok(moving)
    });
    for (case, outcome) in after.with_changes().run().await.outcomes() {
        // Which takes an empty place where the keyset is.
        if case.name() != "a_key_is_48_bytes_of_any_value" {
            assert!(
                !matches!(outcome, Outcome::Broken(_)),
                "{case}: {outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn all_rows_are_there_and_the_first_store_opens_no_more() {
    let (old, new, keys) = (
        MemoryStore::new(),
        MemoryStore::new(),
        KeyRing::generate().unwrap(),
    );
    let moving = MovingStore::new(old.clone(), new.clone());
    refused(moving.run().await, "nothing to move");
    let store = SealedStore::open(moving.clone(), keys.clone()).await;
    let store = store.unwrap();
    let bystander = SealedStore::open(old.clone(), keys.clone()).await.unwrap();
    for n in 1..=200 {
        add(&moving, key(n), "sealed").await;
    }
    let rows = rows_of(&old).await;
    let moved = moving.run().await.unwrap();
    assert_eq!((moved.examined, moved.written, moved.pauses), (200, 200, 1));
    assert!(moved.is_done && moved.fraction() == 1.0);
    assert_eq!(rows_of(&new).await, rows);
    assert_eq!(rows_of(&moving).await, rows);

    let left = "were moved to another: open that one";
    refused(SealedStore::open(old.clone(), keys.clone()).await, left);
    // Whoever has it open is told when it looks at the keys.
    refused(bystander.key_rotation().add_key().await, left);
    SealedStore::open(new.clone(), keys.clone()).await.unwrap();
    store.key_rotation().add_key().await.unwrap();
    assert_eq!(rows_of(&old).await[1..], rows[1..]);

    // The same two once more, as after a restart.
    let again = MovingStore::new(old, new);
    assert!(again.run().await.unwrap().is_done);
    SealedStore::open(again, keys).await.unwrap();
}

#[tokio::test]
async fn nothing_is_touched_of_a_store_that_is_not_empty() {
    let keys = KeyRing::generate().unwrap();
    let left = MemoryStore::new();
    let moving = MovingStore::new(left.clone(), MemoryStore::new());
    SealedStore::open(moving.clone(), keys.clone())
        .await
        .unwrap();
    moving.run().await.unwrap();

    let own = MemoryStore::new();
    SealedStore::open(own.clone(), keys.clone()).await.unwrap();
    let lost = MemoryStore::new();
    add(&lost, key(1), "a row without its keys").await;
    let begun = MemoryStore::new();
    let other = BadStore::new(&Arc::new(Fate::new(1)));
    SealedStore::open(other.clone(), keys.clone())
        .await
        .unwrap();
    let stopped = MovingStore::new(other.clone(), begun.clone());
    other.script([Answer::Good, Answer::Fails]);
    stopped.run().await.unwrap_err();
    refused(
        SealedStore::open(begun.clone(), keys.clone()).await,
        "a move into this store is not finished",
    );

    for (to, why) in [
        (left, "itself moved to another"),
        (own, "has keys"),
        (lost, "has rows"),
        (begun, "part of another move"),
    ] {
        let before = rows_of(&to).await;
        let moving = MovingStore::new(MemoryStore::new(), to.clone());
        if why != "has rows" {
            // A store that was emptied, or is another one than is meant.
            let opened = SealedStore::open(moving.clone(), keys.clone()).await;
            refused(opened, "is not: open that one by itself");
        }
        let from = MemoryStore::new();
        SealedStore::open(from.clone(), keys.clone()).await.unwrap();
        let moving = MovingStore::new(from.clone(), to.clone());
        let rows = rows_of(&from).await;
        refused(moving.run().await, why);
        assert_eq!(rows_of(&to).await, before);
        assert_eq!(rows_of(&from).await, rows);
        SealedStore::open(moving, keys.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn what_was_moved_elsewhere_is_not_looked_for_here() {
    let keys = KeyRing::generate().unwrap();
    let old = MemoryStore::new();
    let moving = MovingStore::new(old.clone(), MemoryStore::new());
    SealedStore::open(moving.clone(), keys.clone())
        .await
        .unwrap();
    moving.run().await.unwrap();

    let elsewhere = MovingStore::new(old.clone(), MemoryStore::new());
    let error = elsewhere.load(&key(1)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Moved);
    refused(
        SealedStore::open(elsewhere, keys.clone()).await,
        "not into the store that is given",
    );
    // Not even as where something else is to go.
    let back = MovingStore::new(MemoryStore::new(), old);
    refused(
        SealedStore::open(back, keys).await,
        "is not: open that one by itself",
    );
}

/// Both count, and come to the same number for what is not the same.
#[tokio::test]
async fn a_version_of_the_first_store_is_none_of_the_second() {
    let (from, to, moving) = two().await;
    let key = key(2);
    let number = from.rows.load(&key).await.unwrap();
    let stale = moving.load(&key).await.unwrap().unwrap().version;
    let saved = moving
        .save(&key, row("newer"), Expected::Version(stale))
        .await;
    assert!(matches!(saved, Ok(SaveOutcome::Saved(_))));
    moving.clone().rows_per_step(1).run().await.unwrap();
    assert!(is_moved(&from, &to).await);
    let there = to.rows.load(&key).await.unwrap().unwrap();
    assert_eq!(there.version, number.unwrap().version);

    let saved = moving
        .save(&key, row("lost"), Expected::Version(stale))
        .await;
    assert_eq!(saved.unwrap(), SaveOutcome::Conflict);
    assert!(!moving.purge(&key, stale).await.unwrap());
    assert_eq!(bytes_of(&moving, key).await.unwrap(), "newer");
}

/// The last rows are copied while nobody writes: not for longer than that.
#[tokio::test(start_paused = true)]
async fn a_second_store_that_hangs_at_the_end_lets_writes_go_on() {
    let (from, to, moving) = two().await;
    // At the last look, after the copy.
    let (reached, go) = to.hold(Call::Load(Keyset::row_key()), 1);
    let run = tokio::spawn({
        let moving = moving.clone();
        async move { moving.run().await }
    });
    reached.notified().await;
    let write = tokio::spawn({
        let moving = moving.clone();
        async move { add(&moving, key(50), "meanwhile").await }
    });
    // A read waits for nobody.
    assert!(moving.load(&key(1)).await.unwrap().is_some());
    write.await.unwrap();
    assert!(!is_moved(&from, &to).await);
    go.notify_one();
    assert!(run.await.unwrap().unwrap().pauses > 1);
    assert!(is_moved(&from, &to).await);
    assert_eq!(bytes_of(&to, key(50)).await.unwrap(), "meanwhile");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_either_store_leaves_everything_where_it_is() {
    for n in 0..9 {
        let (from, to, moving) = two().await;
        let good = std::iter::repeat_n(Answer::Good, n);
        to.script(good.chain([Answer::Fails]));
        moving.run().await.unwrap_err();
        assert!(!is_moved(&from, &to).await);
        add(&moving, key(50), "after").await;
        assert!(moving.run().await.unwrap().is_done);
        assert!(is_moved(&from, &to).await);
        assert_eq!(rows_of(&moving).await.len(), 10);
    }
    // Its mark is not written.
    let (from, to, moving) = two().await;
    from.script([Answer::Fails]);
    moving.run().await.unwrap_err();
    assert!(!is_moved(&from, &to).await);
    add(&moving, key(50), "after").await;
    assert!(moving.run().await.unwrap().is_done);
}

#[tokio::test(start_paused = true)]
async fn once_the_mark_may_be_there_it_is_found_out() {
    use Answer::{Fails, FalseConflict, Late, Lost, LostWrite};
    for answers in [
        [Lost, Fails],
        [LostWrite, Fails],
        [Late, Fails],
        [Late, LostWrite],
        [FalseConflict, LostWrite],
    ] {
        let (from, to, moving) = two().await;
        from.script(answers);
        // And the keyset is not written at once: by then there is no way back.
        assert!(moving.run().await.unwrap().is_done, "{answers:?}");
        from.arrive().await;
        assert!(is_moved(&from, &to).await);
    }
    // The keyset goes as badly.
    for answers in [[Lost, Fails], [LostWrite, Late], [Fails, FalseConflict]] {
        let (from, to, moving) = two().await;
        let (reached, go) = from.hold(Call::Save(Keyset::row_key()), 0);
        let run = tokio::spawn({
            let moving = moving.clone();
            async move { moving.run().await }
        });
        reached.notified().await;
        to.script(answers);
        go.notify_one();
        assert!(run.await.unwrap().unwrap().is_done, "{answers:?}");
        to.arrive().await;
        assert!(is_moved(&from, &to).await);
    }
}

/// It was sent, and its process died: the next one goes on in the first store, and is not undone
/// by what arrives then.
#[tokio::test(start_paused = true)]
async fn a_mark_of_a_process_that_died_comes_too_late() {
    let (from, to, moving) = two().await;
    from.script([Answer::Late]);
    let (reached, _never) = from.hold(Call::Save(Keyset::row_key()), 1);
    tokio::select! {
        _ = moving.run() => panic!("it was held"),
        () = reached.notified() => {}
    }
    let next = MovingStore::new(from.clone(), to.clone());
    add(&next, key(50), "after").await;
    from.arrive().await;
    assert!(!is_moved(&from, &to).await);
    assert_eq!(bytes_of(&next, key(50)).await.unwrap(), "after");
    assert!(next.run().await.unwrap().is_done);
    assert!(is_moved(&from, &to).await);
    assert_eq!(bytes_of(&to, key(50)).await.unwrap(), "after");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_stops_and_another_goes_on() {
    for passing in 0..8 {
        let (from, to, moving) = two().await;
        let (reached, go) = to.hold(Call::Save(key(passing + 1)), 0);
        tokio::select! {
            _ = moving.run() => panic!("it was held"),
            () = reached.notified() => {}
        }
        // Nobody waits for it.
        add(&moving, key(50), "meanwhile").await;
        go.notify_one();
        assert!(moving.run().await.unwrap().is_done);
        assert!(is_moved(&from, &to).await);
        assert_eq!(bytes_of(&to, key(50)).await.unwrap(), "meanwhile");
    }
    // In the last step it goes on by itself.
    let (from, to, moving) = two().await;
    let (reached, go) = from.hold(Call::Save(Keyset::row_key()), 0);
    tokio::select! {
        _ = moving.run() => panic!("it was held"),
        () = reached.notified() => {}
    }
    assert!(moving.load(&key(1)).await.unwrap().is_some());
    go.notify_one();
    add(&moving, key(50), "after").await;
    assert!(is_moved(&from, &to).await);
    assert_eq!(bytes_of(&to, key(50)).await.unwrap(), "after");
}

/// A write whose answer was lost arrives after its row was copied, and is found: it was told.
#[tokio::test]
async fn what_arrives_late_and_was_seen_is_copied() {
    let (from, to, moving) = two().await;
    let old = moving.load(&key(1)).await.unwrap().unwrap().version;
    from.script([Answer::Late]);
    let saved = moving
        .save(&key(1), row("late"), Expected::Version(old))
        .await;
    assert_eq!(saved.unwrap(), SaveOutcome::Unknown);
    let (reached, go) = to.hold(Call::Save(key(8)), 0);
    let run = tokio::spawn({
        let moving = moving.clone();
        async move { moving.run().await }
    });
    reached.notified().await;
    from.arrive().await;
    assert_eq!(bytes_of(&moving, key(1)).await.unwrap(), "late");
    go.notify_one();
    run.await.unwrap().unwrap();
    assert_eq!(bytes_of(&moving, key(1)).await.unwrap(), "late");
}

/// It arrives after the last copy: then it was never written, and nobody is told otherwise.
#[tokio::test]
async fn what_arrives_too_late_is_seen_by_nobody() {
    let (from, to, moving) = two().await;
    let old = moving.load(&key(1)).await.unwrap().unwrap().version;
    from.script([Answer::Late]);
    let saved = moving
        .save(&key(1), row("late"), Expected::Version(old))
        .await;
    assert_eq!(saved.unwrap(), SaveOutcome::Unknown);
    let (reached, go) = from.hold(Call::Save(Keyset::row_key()), 0);
    let run = tokio::spawn({
        let moving = moving.clone();
        async move { moving.run().await }
    });
    reached.notified().await;
    from.arrive().await;
    let mut seen = Box::pin(bytes_of(&moving, key(1)));
    tokio::select! {
        biased;
        seen = &mut seen => panic!("{seen:?} was told"),
        () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {}
    }
    go.notify_one();
    run.await.unwrap().unwrap();
    assert_eq!(seen.await.unwrap(), "old");
    assert_eq!(bytes_of(&to, key(1)).await.unwrap(), "old");
}

/// A caller that is dropped may have written after all: not after the move.
#[tokio::test]
async fn a_write_of_one_who_left_is_waited_for() {
    let (from, to, moving) = two().await;
    let (reached, go) = from.hold(Call::Save(key(50)), 0);
    tokio::select! {
        _ = add(&moving, key(50), "left") => panic!("it was held"),
        () = reached.notified() => {}
    }
    let mut run = Box::pin(moving.run());
    tokio::select! {
        biased;
        _ = &mut run => panic!("somebody writes"),
        () = async { for _ in 0..100 { tokio::task::yield_now().await } } => {}
    }
    go.notify_one();
    run.await.unwrap();
    assert!(is_moved(&from, &to).await);
    assert_eq!(bytes_of(&to, key(50)).await.unwrap(), "left");
}

#[tokio::test]
async fn a_cursor_of_the_first_store_has_missed_something_in_the_second() {
    let (_, to, moving) = two().await;
    let begin = moving.changes_since(None, 9).await.unwrap();
    let next = moving.changes_since(Some(&begin.next), 9).await.unwrap();
    assert!(!next.missed && next.rows.is_empty());
    moving.run().await.unwrap();
    let missed = moving.changes_since(Some(&next.next), 9).await.unwrap();
    assert!(missed.missed);
    let left = row("left").announced(Announce::EveryoneAtOnce);
    to.save(&key(50), left, Expected::Absent).await.unwrap();
    let told = moving.changes_since(Some(&missed.next), 9).await.unwrap();
    assert!(!told.missed && told.rows.len() == 1);
    assert_eq!(told.rows[0].0, key(50));
    let nowhere = moving.changes_since(Some(&Cursor::new(&b""[..])), 9).await;
    assert!(nowhere.unwrap().missed);
}

#[tokio::test]
async fn who_still_has_the_first_store_open_hears_of_it() {
    let (old, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
    let moving = MovingStore::new(old.clone(), MemoryStore::new());
    SealedStore::open(moving.clone(), keys.clone())
        .await
        .unwrap();
    let bystander = SealedStore::open(old, keys).await.unwrap();
    let begin = bystander.changes_since(None, 9).await.unwrap();
    moving.run().await.unwrap();
    // Long before it looks by itself.
    bystander.keys.current(&*bystander.store).await.unwrap();
    bystander.changes_since(Some(&begin.next), 9).await.unwrap();
    refused(
        bystander.keys.current(&*bystander.store).await,
        "were moved to another: open that one",
    );
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn an_acknowledged_write_survives_what_it_does_in_the_lesser_of_both() {
    use crate::store::sled::SledStore;
    let folder = tempfile::tempdir().unwrap();
    let disk = SledStore::open(folder.path()).await.unwrap();
    let moving = MovingStore::new(MemoryStore::new(), disk);
    add(&moving, Keyset::row_key(), "keyset").await;
    assert_eq!(
        moving.durability(),
        crate::store::contract::Durability::Memory
    );
    moving.run().await.unwrap();
    assert_eq!(
        moving.durability(),
        crate::store::contract::Durability::Disk
    );
}
