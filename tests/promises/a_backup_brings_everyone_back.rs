//! What was exported from a store of any kind is there when it is restored into another, and
//! nothing in it can be read on the way.

use std::time::Duration;

use tests::any::{AnyStore, Kind};
use tests::fake::Next;
use tests::leaks::Leaks;
use tests::veiled::Veiled;
use tower_token::{
    AccountToken, ByteStore, ErrorKind, KeyRing, MemoryStore, Provider, Rotation, RowKey,
    SealedStore, TokenResponse, Verdict,
};

use crate::support::HOUR;
use crate::transfer_rig::{Rig, counts, exported, key, taken_in};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn restored_on_another_machine_the_same_keys_open_the_same_rows() {
    for (from, to) in Kind::pairs() {
        let rig = Rig::new();
        let old = rig.vault(from).await;
        for user in ["ada", "bob", "carol"] {
            old.connect(user).await;
        }
        old.manager.disconnect(&key("carol")).await.unwrap();
        let new = rig.restored(to, &old.export().await).await;
        let (before, after) = (old.all_rows().await, new.all_rows().await);
        assert_eq!(before[0], after[0], "the keyset");
        assert_eq!(old.row_keys().await, new.row_keys().await);
        for user in ["ada", "bob"] {
            let served = rig.served(&new, user).await.unwrap();
            assert_eq!(served, format!("access-{user}"));
        }
        let error = rig.served(&new, "carol").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        assert_eq!(rig.fake.exchanges(), 0);
        // It goes on from there.
        rig.clock.advance(HOUR);
        assert_eq!(rig.served(&new, "ada").await.unwrap(), "a1");
    }
}

#[tokio::test]
async fn all_that_a_grant_holds_goes_along() {
    for (from, to) in Kind::pairs() {
        let rig = Rig::new();
        let old = rig.vault(from).await;
        let tokens = TokenResponse::for_accounts([
            AccountToken::new("a", "token-a").name("Savings"),
            AccountToken::new("b", "token-b").token_id("t-b"),
        ]);
        let tokens = tokens
            .refresh_token("r")
            .id_token("x".repeat(40_000))
            .scope("read")
            .metadata("brokerName", "X")
            .secret("tradeToken", "trade")
            .refresh_token_expires_in(30 * HOUR);
        old.manager.connect(&key("ada"), tokens).await.unwrap();
        let new = rig.restored(to, &old.export().await).await;
        let [before, after] = [&old, &new].map(|vault| vault.manager.grants("ada"));
        let (before, after) = (before.await.unwrap(), after.await.unwrap());
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
        let (before, after) = (&before[0], &after[0]);
        assert_eq!(before.id_token(), after.id_token());
        assert_eq!(before.secret("tradeToken"), after.secret("tradeToken"));
        assert_eq!(before.metadata(), after.metadata());
        assert_eq!(before.scope(), after.scope());
        let token = new.manager.account_token(&key("ada"), "b").await;
        assert_eq!(token.unwrap().expose(), "token-b");
    }
}

/// Also when it is due goes along: the sweeper finds it.
#[tokio::test]
async fn what_was_left_to_be_done_is_done_by_the_new_store() {
    for (from, to) in Kind::pairs() {
        let rig = Rig::new();
        let old = rig.vault(from).await;
        old.connect("ada").await;
        old.manager.disconnect(&key("ada")).await.unwrap();
        let due = async |rows: &AnyStore| {
            let rows = rows.scan(None, 10).await.unwrap();
            rows.last().unwrap().1.due
        };
        let new = rig.restored(to, &old.export().await).await;
        assert!(due(&old.rows).await.is_some());
        assert_eq!(due(&old.rows).await, due(&new.rows).await);
    }
}

#[tokio::test]
async fn without_the_outer_key_nothing_is_restored_and_nothing_written() {
    for kind in Kind::ALL {
        let rig = Rig::new();
        let old = rig.vault(kind).await;
        old.connect("ada").await;
        let bytes = old.export().await;
        let rows = kind.make().await.unwrap();
        let other = KeyRing::generate().unwrap();
        let import = SealedStore::builder().restore(rows.clone(), other.clone());
        let error = taken_in(import.await.unwrap(), &bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains("outer key"), "{error}");
        assert_eq!(rows.scan(None, 10).await.unwrap(), []);
        // Nor does it help to know what it can be opened with.
        let import = SealedStore::builder().restore(rows.clone(), other).await;
        let import = import.unwrap().source_keys(rig.ring.clone());
        let error = taken_in(import, &bytes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert_eq!(rows.scan(None, 10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn an_export_shows_neither_tokens_nor_users_nor_keys() {
    let rig = Rig::new();
    let old = rig.vault(Kind::Sled).await;
    let marks = [
        "mark-access",
        "mark-refresh",
        "mark-subject",
        "mark-connection",
    ];
    let tokens = TokenResponse::new(marks[0]).refresh_token(marks[1]);
    let user = key(marks[2]).with_connection(marks[3]);
    old.manager.connect(&user, tokens).await.unwrap();
    let bytes = old.export().await;
    Leaks::new(marks).check("an export", &bytes);
    Leaks::new([rig.ring.encode().expose()]).check("an export", &bytes);
    let mut import = old.store.import();
    import.write(&bytes).await.unwrap();
    for leaks in [Leaks::new(marks), Leaks::new([rig.ring.encode().expose()])] {
        leaks.check_debug("Export", &old.store.export());
        leaks.check_debug("Import", &import);
        leaks.check_debug("StoreCopy", &old.store.copy_to(&old.store));
        leaks.check_debug("TransferProgress", import.progress());
    }
}

#[tokio::test]
async fn under_another_keyset_everything_is_sealed_anew() {
    for (from, to) in Kind::pairs() {
        // Another vault of the same outer key, and one of another.
        for other_ring in [false, true] {
            let rig = Rig::new();
            let old = rig.vault(from).await;
            for user in ["ada", "bob"] {
                old.connect(user).await;
            }
            let bytes = old.export().await;
            let theirs = rig.ring.clone();
            let rig = if other_ring { Rig::new() } else { rig };
            let new = rig.vault(to).await;
            let keyset = new.all_rows().await;
            let mut import = new.store.import();
            if other_ring {
                let error = taken_in(new.store.import(), &bytes).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Key);
                import = import.source_keys(theirs);
            }
            let (_, progress) = taken_in(import, &bytes).await.unwrap();
            assert_eq!(counts(&progress), [2, 0, 0, 0, 0, 0]);
            let rows = new.all_rows().await;
            assert_eq!(rows[..1], keyset);
            // In rows of their own, which say nothing to who knows the others.
            let before = old.row_keys().await;
            assert!(rows[1..].iter().all(|(key, _)| !before.contains(key)));
            for user in ["ada", "bob"] {
                let served = rig.served(&new, user).await.unwrap();
                assert_eq!(served, format!("access-{user}"));
            }
        }
    }
}

#[tokio::test]
async fn a_store_with_keys_of_its_own_keeps_them() {
    for (from, to) in Kind::pairs() {
        let rig = Rig::new();
        let (old, new) = (rig.vault(from).await, rig.vault(to).await);
        old.connect("ada").await;
        let before = new.all_rows().await;
        let import = SealedStore::builder().restore(new.rows.clone(), rig.ring.clone());
        let import = import.await.unwrap();
        let error = taken_in(import, &old.export().await).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let builder = SealedStore::builder().keyset_of(&old.store);
        let opened = builder.open(new.rows.clone(), rig.ring.clone()).await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(new.all_rows().await, before);
    }
}

#[tokio::test]
async fn a_restore_that_was_stopped_is_begun_anew() {
    for kind in Kind::ALL {
        let rig = Rig::new();
        let old = rig.vault(kind).await;
        for user in 0..40 {
            old.connect(&user.to_string()).await;
        }
        let bytes = old.export().await;
        let rows = kind.make().await.unwrap();
        let restore = async || {
            let import = SealedStore::builder().restore(rows.clone(), rig.ring.clone());
            import.await.unwrap()
        };
        let mut first = restore().await;
        first.write(&bytes[..bytes.len() / 2]).await.unwrap();
        let written = first.progress().written;
        assert!(written > 0 && written < 40, "{written}");
        drop(first);
        let (store, progress) = taken_in(restore().await, &bytes).await.unwrap();
        assert_eq!(counts(&progress), [40 - written, written, 0, 0, 0, 0]);
        assert_eq!(progress.fraction(), 1.0);
        let new = rig.over(rows.clone(), store).await;
        assert_eq!(old.row_keys().await, new.row_keys().await);
    }
}

#[tokio::test]
async fn keys_may_rotate_while_an_export_is_made() {
    let rig = Rig::new();
    let rows = AnyStore::Memory(MemoryStore::with_clock(rig.clock.clone()));
    let builder = SealedStore::builder().clock(rig.clock.clone());
    let store = builder.open(rows.clone(), rig.ring.clone()).await.unwrap();
    let old = rig.over(rows, store).await;
    for user in 0..40 {
        old.connect(&user.to_string()).await;
    }
    let mut export = old.store.export();
    let mut bytes = Vec::new();
    for _ in 0..2 {
        bytes.extend(export.chunk().await.unwrap().unwrap());
    }
    let rotation = old.store.key_rotation();
    let new = rotation.add_key().await.unwrap().id;
    rig.clock.advance(61 * SECOND);
    rotation.activate(new).await.unwrap();
    rig.clock.advance(61 * SECOND);
    assert_eq!(rotation.rewrap().finish().await.unwrap().rewrapped, 40);
    rig.clock.advance(60 * SECOND);
    rotation.destroy(1).await.unwrap();
    while let Some(chunk) = export.chunk().await.unwrap() {
        bytes.extend(chunk);
    }
    assert_eq!(export.progress().unreadable, 0);
    let new = rig.restored(Kind::Memory, &bytes).await;
    for user in 0..40 {
        let served = rig.served(&new, &user.to_string()).await.unwrap();
        assert_eq!(served, format!("access-{user}"));
    }
}

#[tokio::test]
async fn a_damaged_row_is_told_and_costs_no_other() {
    for (from, to) in Kind::pairs() {
        let rig = Rig::new();
        let old = rig.vault(from).await;
        for user in ["ada", "bob", "carol"] {
            old.connect(user).await;
        }
        let row_keys: Vec<RowKey> = old.row_keys().await;
        let veiled = Veiled::new(old.rows.clone());
        let store = SealedStore::open(veiled.clone(), rig.ring.clone()).await;
        let store = store.unwrap();
        veiled.harm([row_keys[1]]);
        let (bytes, progress) = exported(&store).await;
        assert_eq!(counts(&progress), [2, 0, 0, 0, 1, 0]);
        assert_eq!(progress.unreadable_rows, [row_keys[1]]);
        let new = rig.vault(to).await;
        let (_, progress) = taken_in(new.store.import(), &bytes).await.unwrap();
        assert_eq!(counts(&progress), [2, 0, 0, 0, 1, 0]);
        let copied = store.copy_to(&new.store).finish().await.unwrap();
        assert_eq!(counts(&copied), [0, 2, 0, 0, 1, 0]);
        assert_eq!(copied.unreadable_rows, [row_keys[1]]);
    }
}

/// The one row that is everything: every export has it.
#[tokio::test]
async fn a_store_that_lost_its_keyset_gets_it_back_from_its_own_backup() {
    for kind in Kind::ALL {
        let rig = Rig::new();
        let (old, other) = (rig.vault(kind).await, rig.vault(kind).await);
        old.connect("ada").await;
        let backup = old.export().await;
        old.connect("bob").await;
        let rows = old.rows.clone();
        let keyset = RowKey::from_bytes(&[0; 48]).unwrap();
        let found = rows.load(&keyset).await.unwrap().unwrap();
        assert!(rows.purge(&keyset, found.version).await.unwrap());
        // Another's would open nothing, and stand in the way of the right one.
        let builder = SealedStore::builder().keyset_of(&other.store);
        let opened = builder.open(rows.clone(), rig.ring.clone()).await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Key);
        let import = SealedStore::builder().restore(rows.clone(), rig.ring.clone());
        let error = taken_in(import.await.unwrap(), &other.export().await).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Key);
        assert_eq!(rows.load(&keyset).await.unwrap(), None);

        let import = SealedStore::builder().restore(rows.clone(), rig.ring.clone());
        let (_, progress) = taken_in(import.await.unwrap(), &backup).await.unwrap();
        assert_eq!(counts(&progress), [0, 1, 0, 0, 0, 0]);
        for user in ["ada", "bob"] {
            let served = rig.served(&old, user).await.unwrap();
            assert_eq!(served, format!("access-{user}"));
        }
    }
}

/// A store may give less than it is asked for, the keyset alone included.
#[tokio::test]
async fn few_rows_at_once_are_not_taken_for_all() {
    let rig = Rig::new();
    let old = rig.vault(Kind::Memory).await;
    for user in ["ada", "bob", "carol"] {
        old.connect(user).await;
    }
    let veiled = Veiled::new(old.rows.clone());
    let store = SealedStore::open(veiled.clone(), rig.ring.clone()).await;
    let store = store.unwrap();
    veiled.at_once(1);
    let (bytes, progress) = exported(&store).await;
    assert_eq!(counts(&progress), [3, 0, 0, 0, 0, 0]);
    let new = rig.restored(Kind::Memory, &bytes).await;
    assert_eq!(old.row_keys().await, new.row_keys().await);
    let other = rig.vault(Kind::Memory).await;
    let copied = store.copy_to(&other.store).finish().await.unwrap();
    assert_eq!(counts(&copied), [3, 0, 0, 0, 0, 0]);
    let slow = rig.over(old.rows.clone(), store).await;
    assert_eq!(slow.manager.sweep_dry_run().await.unwrap().examined, 3);
}

/// The refresh token may have been spent: as after a crash, nobody sends it again in haste.
#[tokio::test]
async fn a_refresh_that_was_under_way_has_an_unknown_outcome() {
    for same_keyset in [true, false] {
        let rig = Rig::new();
        let memory = || AnyStore::Memory(MemoryStore::with_clock(rig.clock.clone()));
        let old = rig.open(memory()).await;
        old.connect("ada").await;
        rig.clock.advance(HOUR - 240 * SECOND);
        rig.fake.hold();
        old.manager.token(&key("ada")).await.unwrap();
        rig.fake.begun(1).await;
        let new = match same_keyset {
            true => rig.restored(Kind::Memory, &old.export().await).await,
            false => {
                let new = rig.open(memory()).await;
                old.store.copy_to(&new.store).finish().await.unwrap();
                new
            }
        };
        rig.fake.release(1_000);
        // Due, and its deadline has passed.
        rig.clock.advance(60 * SECOND);
        // This waits for what is done about it, which is nothing.
        let ada = key("ada");
        let token = new.manager.token_valid_for(&ada, 600 * SECOND).await;
        assert_eq!(token.unwrap().expose(), "access-ada");
        assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
    }
}

/// Within its grace period a refresh token may be sent again: that began when it was sent first.
#[tokio::test]
async fn a_grace_period_does_not_begin_anew_under_another_keyset() {
    let rig = Rig::new();
    let memory = || AnyStore::Memory(MemoryStore::with_clock(rig.clock.clone()));
    let old = rig.open(memory()).await;
    let provider =
        || Provider::new("fake", rig.fake.clone()).rotation(Rotation::Grace(100 * SECOND));
    let manager = rig.manager(&old.store, provider()).await;
    old.connect("ada").await;
    rig.clock.advance(HOUR - 240 * SECOND);
    rig.fake.script([Next::Fail(Verdict::Ambiguous)]);
    rig.fake.hold();
    manager.token(&key("ada")).await.unwrap();
    rig.fake.begun(1).await;
    let new = rig.open(memory()).await;
    old.store.copy_to(&new.store).finish().await.unwrap();
    drop(manager);

    // Once more within the period, by a process that dies of it.
    rig.clock.advance(60 * SECOND);
    let second = rig.manager(&new.store, provider()).await;
    second.token(&key("ada")).await.unwrap();
    rig.fake.begun(2).await;
    let newest = rig.open(memory()).await;
    new.store.copy_to(&newest.store).finish().await.unwrap();
    drop(second);

    // 120 seconds after it was first sent.
    rig.clock.advance(60 * SECOND);
    let third = rig.manager(&newest.store, provider()).await;
    rig.fake.release(1_000);
    let ada = key("ada");
    let token = third.token_valid_for(&ada, 600 * SECOND).await;
    assert_eq!(token.unwrap().expose(), "access-ada");
    assert_eq!(rig.fake.exchanges(), 2);
}
