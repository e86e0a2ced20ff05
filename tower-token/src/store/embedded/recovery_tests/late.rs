//! Saves that join a round which has begun, and which fails.

use tokio::task::JoinHandle;

use super::*;

on_every_engine! {
    whoever_comes_late_to_a_round_that_fails_is_told_so
}

/// From how many saves on the next round is waited for.
const MANY: u8 = 20;

fn nth(id: u8) -> RowKey {
    RowKey::from_bytes(&[id; RowKey::LEN]).unwrap()
}

type Saving = JoinHandle<Result<SaveOutcome, StoreError>>;

/// A save that is queued when this returns.
async fn queued<E: Engine>(store: &Arc<Embedded<E>>, key: RowKey, byte: u8) -> Saving {
    let (saver, before) = (Arc::clone(store), store.pending.count(&key));
    let saving = async move { saver.save(&key, row(byte), Expected::Absent).await };
    let saving = tokio::spawn(saving);
    // On this one thread nobody sees it between what it does at first and the queue.
    tokio::task::yield_now().await;
    assert_eq!(store.pending.count(&key), before + 1);
    saving
}

/// Has the writer do a round of `MANY`.
async fn round_of_many<E: Engine>(disk: &Faulty, store: &Arc<Embedded<E>>) {
    disk.break_by([Fault::Hang]);
    let mut syncs = disk.0.syncs.subscribe();
    syncs.mark_unchanged();
    let mut saves = vec![queued(store, nth(100), 0).await];
    syncs.changed().await.unwrap();
    for id in 0..MANY {
        saves.push(queued(store, nth(101 + id), 0).await);
    }
    disk.mend(Fault::Hang);
    for save in saves {
        let saved = save.await.unwrap().unwrap();
        assert!(matches!(saved, SaveOutcome::Saved(_)));
    }
}

/// While the round waits for more, and while its first save is applied.
async fn whoever_comes_late_to_a_round_that_fails_is_told_so<E: Engine>() {
    for (held, fault) in [Step::Wait, Step::Apply]
        .into_iter()
        .flat_map(|held| FAULTS.map(|fault| (held, fault)))
    {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Faulty::default());
        let store = Arc::new(disk.open::<E>(folder.path()).await);
        round_of_many(&disk, &store).await;

        disk.break_by([Fault::HeldAt(held)]);
        let mut holds = disk.0.held.subscribe();
        holds.mark_unchanged();
        let first = queued(&store, nth(1), 1).await;
        holds.changed().await.unwrap();
        let late = queued(&store, nth(2), 2).await;
        let rival = queued(&store, nth(1), 3).await;
        disk.break_by([fault, Fault::At(Step::Open)]);
        disk.mend(Fault::HeldAt(held));

        let first = first.await.unwrap().unwrap();
        assert_eq!(first, SaveOutcome::Unknown, "{held:?} {fault:?}");
        let late = late.await.unwrap();
        let is_applying = [Fault::At(Step::Apply), Fault::PanicAt(Step::Apply)].contains(&fault);
        if is_applying && held == Step::Apply {
            // The round had failed before it: nothing of it was written.
            assert!(is_unavailable(late), "{held:?} {fault:?}");
        } else {
            assert_eq!(late.unwrap(), SaveOutcome::Unknown, "{held:?} {fault:?}");
        }
        // What it conflicts with is not known to stay.
        assert!(is_unavailable(rival.await.unwrap()), "{held:?} {fault:?}");

        let after = store.save(&nth(3), row(3), Expected::Absent).await;
        assert!(is_unavailable(after), "{held:?} {fault:?}");
        disk.heal();
        disk.until_open_again(&store).await;
        for id in 100..=100 + MANY {
            let found = store.load(&nth(id)).await.unwrap();
            assert!(found.is_some(), "{id} {held:?} {fault:?}");
        }
        for id in 1..=3 {
            let found = store.load(&nth(id)).await.unwrap();
            let expected = found.map_or(Expected::Absent, |row| Expected::Version(row.version));
            let saved = store.save(&nth(id), row(4), expected).await.unwrap();
            assert!(matches!(saved, SaveOutcome::Saved(_)), "{held:?} {fault:?}");
        }
    }
}
