//! What is copied or imported replaces nothing that is newer, so that it can be done again, and
//! behind live traffic.

use tests::any::{AnyStore, Kind};
use tests::flaky::{Flaky, Save};
use tests::veiled::Veiled;
use tower_token::{ErrorKind, MemoryStore, SealedStore, TokenResponse};

use crate::support::HOUR;
use crate::transfer_rig::{Rig, Vault, counts, key, taken_in};

/// Two vaults, with the same keys or not.
async fn two_vaults(rig: &Rig, (from, to): (Kind, Kind), same_keyset: bool) -> (Vault, Vault) {
    let old = rig.vault(from).await;
    if !same_keyset {
        return (old, rig.vault(to).await);
    }
    let rows = to.make().await.unwrap();
    let builder = SealedStore::builder().keyset_of(&old.store);
    let store = builder.open(rows.clone(), rig.ring.clone()).await.unwrap();
    let new = rig.over(rows, store).await;
    assert_eq!(old.all_rows().await, new.all_rows().await);
    (old, new)
}

#[tokio::test]
async fn a_second_pass_catches_up_with_live_traffic() {
    for (pair, same_keyset) in Kind::pairs().flat_map(|pair| [(pair, true), (pair, false)]) {
        let rig = Rig::new();
        let (old, new) = two_vaults(&rig, pair, same_keyset).await;
        for user in ["ada", "bob", "carol", "dave"] {
            old.connect(user).await;
        }
        let first = old.store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&first), [4, 0, 0, 0, 0, 0]);
        assert_eq!((first.examined, first.fraction()), (4, 1.0));

        // Refreshed, gone, back with other tokens, and new.
        rig.clock.advance(HOUR);
        old.manager.token(&key("ada")).await.unwrap();
        old.manager.disconnect(&key("bob")).await.unwrap();
        old.manager.disconnect(&key("carol")).await.unwrap();
        let tokens = TokenResponse::new("again").expires_in(HOUR);
        old.manager.connect(&key("carol"), tokens).await.unwrap();
        old.connect("erin").await;
        let second = old.store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&second), [4, 1, 0, 0, 0, 0]);
        let third = old.store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&third), [0, 5, 0, 0, 0, 0]);

        let served = async |user| rig.served(&new, user).await;
        assert_eq!(served("ada").await.unwrap(), "a1");
        assert_eq!(
            served("bob").await.unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        assert_eq!(served("carol").await.unwrap(), "again");
        assert_eq!(served("erin").await.unwrap(), "access-erin");
        assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
        // With the refresh token that the first refresh brought.
        rig.clock.advance(HOUR);
        assert_eq!(served("ada").await.unwrap(), "a2");
        assert_eq!(rig.fake.reused(), 0);
    }
}

#[tokio::test]
async fn an_old_backup_undoes_nothing_that_came_after_it() {
    for (pair, same_keyset) in Kind::pairs().flat_map(|pair| [(pair, true), (pair, false)]) {
        let rig = Rig::new();
        let (old, new) = two_vaults(&rig, pair, same_keyset).await;
        for user in ["ada", "bob", "carol"] {
            old.connect(user).await;
        }
        let backup = old.export().await;
        let (_, progress) = taken_in(new.store.import(), &backup).await.unwrap();
        assert_eq!(counts(&progress), [3, 0, 0, 0, 0, 0]);
        rig.clock.advance(HOUR);
        new.manager.token(&key("ada")).await.unwrap();
        new.manager.disconnect(&key("bob")).await.unwrap();
        let rows = new.all_rows().await;
        let (_, progress) = taken_in(new.store.import(), &backup).await.unwrap();
        assert_eq!(counts(&progress), [0, 1, 2, 0, 0, 0]);
        assert_eq!(new.all_rows().await, rows, "nothing was written");
        let copied = old.store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&copied), [0, 1, 2, 0, 0, 0]);
        assert_eq!(rig.served(&new, "ada").await.unwrap(), "a1");
        let gone = rig.served(&new, "bob").await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotConnected);
    }
}

/// Both stores went on from one backup, and nobody can tell by the numbers what came last.
#[tokio::test]
async fn where_histories_part_who_left_last_stays_gone() {
    for (pair, same_keyset) in Kind::pairs().flat_map(|pair| [(pair, true), (pair, false)]) {
        let rig = Rig::new();
        let (old, new) = two_vaults(&rig, pair, same_keyset).await;
        for user in ["ada", "bob"] {
            old.connect(user).await;
        }
        old.store.copy_to(&new.store).finish().await.unwrap();
        // Ada comes back here, for more writes than one, and leaves there. Bob does it the other
        // way round.
        old.connect("ada").await;
        new.connect("bob").await;
        rig.clock.advance(HOUR);
        old.manager.token(&key("ada")).await.unwrap();
        new.manager.token(&key("bob")).await.unwrap();
        new.manager.disconnect(&key("ada")).await.unwrap();
        old.manager.disconnect(&key("bob")).await.unwrap();

        let (_, progress) = taken_in(new.store.import(), &old.export().await)
            .await
            .unwrap();
        assert_eq!(counts(&progress), [1, 0, 1, 0, 0, 0]);
        for user in ["ada", "bob"] {
            let gone = rig.served(&new, user).await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotConnected, "{user}");
        }
        // Whoever comes back after that is not ended by the same backup.
        new.connect("bob").await;
        let again = old.store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&again), [0, 0, 2, 0, 0, 0]);
        assert_eq!(rig.served(&new, "bob").await.unwrap(), "access-bob");
    }
}

/// A running manager takes the mark for newer than what it serves.
#[tokio::test]
async fn where_histories_part_a_mark_ends_what_is_served() {
    let rig = Rig::new();
    let (old, new) = two_vaults(&rig, (Kind::Memory, Kind::Memory), false).await;
    old.connect("ada").await;
    old.store.copy_to(&new.store).finish().await.unwrap();
    new.connect("ada").await;
    rig.clock.advance(HOUR);
    new.manager.token(&key("ada")).await.unwrap();
    old.manager.disconnect(&key("ada")).await.unwrap();
    old.store.copy_to(&new.store).finish().await.unwrap();
    rig.clock.advance(HOUR);
    let gone = new.manager.token(&key("ada")).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotConnected);
    assert_eq!(rig.fake.exchanges(), 1);
}

/// Each was refreshed once since they were the same: those are not the same tokens.
#[tokio::test]
async fn what_is_as_new_and_differs_is_told_and_not_called_the_same() {
    for pair in Kind::pairs() {
        let rig = Rig::new();
        let (old, new) = two_vaults(&rig, pair, true).await;
        for user in ["ada", "bob"] {
            old.connect(user).await;
        }
        old.store.copy_to(&new.store).finish().await.unwrap();
        rig.clock.advance(HOUR);
        for vault in [&old, &new] {
            vault.manager.token(&key("ada")).await.unwrap();
        }
        let rows = new.all_rows().await;
        let copied = old.store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&copied), [0, 1, 0, 0, 0, 0]);
        assert_eq!((copied.diverged, copied.examined), (1, 2));
        assert_eq!(new.all_rows().await, rows, "nothing was written");
    }
}

#[tokio::test]
async fn a_copy_that_was_stopped_goes_on_where_it_was() {
    for pair in Kind::pairs() {
        let rig = Rig::new();
        let (old, new) = two_vaults(&rig, pair, true).await;
        for user in 0..30 {
            old.connect(&user.to_string()).await;
        }
        let mut first = old.store.copy_to(&new.store).rows_per_step(10);
        assert!(first.step().await.unwrap());
        let progress = first.progress().clone();
        assert_eq!(progress.written, 10);
        assert!(progress.fraction() > 0.0 && progress.fraction() < 1.0);
        let rest = old
            .store
            .copy_to(&new.store)
            .after(progress.cursor.unwrap());
        assert_eq!(counts(&rest.finish().await.unwrap()), [20, 0, 0, 0, 0, 0]);
        assert_eq!(old.row_keys().await, new.row_keys().await);
    }
}

#[tokio::test]
async fn steps_may_be_small() {
    let rig = Rig::new();
    let (old, new) = two_vaults(&rig, (Kind::Memory, Kind::Memory), false).await;
    old.connect("ada").await;
    let copy = old.store.copy_to(&new.store).rows_per_step(0);
    assert_eq!(copy.finish().await.unwrap().written, 1);
}

/// A vault over a store that misbehaves as told.
async fn over_flaky(rig: &Rig) -> (Flaky, Vault) {
    let memory = MemoryStore::new();
    let flaky = Flaky::new(memory.clone());
    let store = SealedStore::open(flaky.clone(), rig.ring.clone()).await;
    let vault = rig.over(AnyStore::Memory(memory), store.unwrap()).await;
    (flaky, vault)
}

#[tokio::test]
async fn whatever_becomes_of_an_acknowledgement_each_row_is_counted_as_what_it_is() {
    let table = [
        (Save::LostAck, [1, 0, 0, 0, 0, 0]),
        (Save::LostWrite, [1, 0, 0, 0, 0, 0]),
        // Written by whomever: it is there.
        (Save::FalseConflict, [0, 1, 0, 0, 0, 0]),
    ];
    for (trouble, expected) in table {
        let rig = Rig::new();
        let old = rig.vault(Kind::Memory).await;
        old.connect("ada").await;
        let (flaky, new) = over_flaky(&rig).await;
        flaky.script([trouble]);
        let copied = old.store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&copied), expected, "{trouble:?}");
        assert_eq!(rig.served(&new, "ada").await.unwrap(), "access-ada");
    }
}

#[tokio::test]
async fn a_store_that_fails_ends_the_step_and_not_the_copy() {
    let rig = Rig::new();
    let old = rig.vault(Kind::Memory).await;
    for user in ["ada", "bob", "carol"] {
        old.connect(user).await;
    }
    let (flaky, new) = over_flaky(&rig).await;
    flaky.script([Save::Ok, Save::Fail]);
    let mut copy = old.store.copy_to(&new.store);
    assert_eq!(copy.step().await.unwrap_err().kind(), ErrorKind::Store);
    assert_eq!((copy.progress().written, copy.progress().examined), (2, 0));
    let copied = copy.finish().await.unwrap();
    assert_eq!(
        (copied.written, copied.unchanged, copied.examined),
        (3, 2, 3)
    );
}

#[tokio::test]
async fn a_row_that_goes_on_changing_is_left_to_the_next_pass() {
    let rig = Rig::new();
    let old = rig.vault(Kind::Memory).await;
    old.connect("ada").await;
    let (flaky, new) = over_flaky(&rig).await;
    flaky.script([Save::LostWrite; 4]);
    let copied = old.store.copy_to(&new.store).finish().await.unwrap();
    assert_eq!(counts(&copied), [0, 0, 0, 1, 0, 0]);
    flaky.clear();
    let copied = old.store.copy_to(&new.store).finish().await.unwrap();
    assert_eq!(counts(&copied), [1, 0, 0, 0, 0, 0]);
}

/// Between the look at the row and the write.
#[tokio::test]
async fn a_connect_that_comes_between_is_kept() {
    let rig = Rig::new();
    let old = rig.vault(Kind::Memory).await;
    old.connect("ada").await;
    let (flaky, new) = over_flaky(&rig).await;
    flaky.script([Save::Hold]);
    rig.clock.advance(HOUR);
    let connect = async {
        flaky.until_held().await;
        let tokens = TokenResponse::new("newer").expires_in(HOUR);
        new.manager.connect(&key("ada"), tokens).await.unwrap();
        flaky.release();
    };
    let (copied, ()) = tokio::join!(old.store.copy_to(&new.store).finish(), connect);
    assert_eq!(counts(&copied.unwrap()), [0, 0, 1, 0, 0, 0]);
    assert_eq!(rig.served(&new, "ada").await.unwrap(), "newer");
}

/// What it hides may be a disconnect.
#[tokio::test]
async fn a_row_that_does_not_open_is_not_written_over() {
    for (from, to) in Kind::pairs() {
        let rig = Rig::new();
        let old = rig.vault(from).await;
        for user in ["ada", "bob"] {
            old.connect(user).await;
        }
        let backup = old.export().await;
        let new = rig.restored(to, &backup).await;
        let row_key = new.row_keys().await[0];
        let veiled = Veiled::new(new.rows.clone());
        let store = SealedStore::open(veiled.clone(), rig.ring.clone()).await;
        let store = store.unwrap();
        veiled.harm([row_key]);
        let (_, progress) = taken_in(store.import(), &backup).await.unwrap();
        assert_eq!(counts(&progress), [0, 1, 0, 0, 0, 1]);
        assert_eq!(progress.blocked_rows, [row_key]);
        // Whoever knows that nothing better is to be had removes it.
        assert!(
            store
                .key_rotation()
                .remove_unreadable(&row_key)
                .await
                .unwrap()
        );
        veiled.harm([]);
        let (_, progress) = taken_in(store.import(), &backup).await.unwrap();
        assert_eq!(counts(&progress), [1, 1, 0, 0, 0, 0]);
    }
}
