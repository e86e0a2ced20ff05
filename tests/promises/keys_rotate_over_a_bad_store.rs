//! Invariants 12, 13 and 23: a rotation behind a store that stalls, fails, or does not say what
//! it did costs nobody a token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tests::flaky::{Flaky, Save};
use tests::veiled::Veiled;
use tower_token::{
    Clock, Error, ErrorKind, EventKind, KeyRing, MemoryStore, Recovery, SealedStore, Timestamp,
};

use crate::key_rig::{Instance, POLL, Rig, SECOND, key};
use crate::support::HOUR;

/// What may be wrong when a write is acknowledged that took longer than its key lived.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    write: Save,
    then: Option<Save>,
    failing_looks: usize,
}

const TROUBLES: [Trouble; 5] = [
    // Nobody says that it was written.
    Trouble {
        write: Save::HoldLostAck,
        then: None,
        failing_looks: 0,
    },
    // The keyset cannot be looked at then, once or for longer.
    Trouble {
        write: Save::Hold,
        then: None,
        failing_looks: 1,
    },
    Trouble {
        write: Save::HoldLostAck,
        then: None,
        failing_looks: 3,
    },
    // It does not get there when it was sealed again.
    Trouble {
        write: Save::Hold,
        then: Some(Save::Fail),
        failing_looks: 0,
    },
    Trouble {
        write: Save::Hold,
        then: Some(Save::LostWrite),
        failing_looks: 0,
    },
];

/// An instance over a store that gives trouble.
async fn troubled(rig: &Rig) -> (Instance, Flaky, Veiled<Flaky>) {
    let flaky = Flaky::new(rig.rows.clone());
    let veiled = Veiled::new(flaky.clone());
    (rig.instance_over(veiled.clone()).await, flaky, veiled)
}

#[tokio::test]
async fn a_connect_that_outlived_its_key_is_stored_or_said_to_have_failed() {
    for trouble in TROUBLES {
        let rig = Rig::new();
        let (stalled, flaky, veiled) = troubled(&rig).await;
        let ours = rig.instance().await;
        flaky.script([trouble.write].into_iter().chain(trouble.then));
        let rotation = async {
            flaky.until_held().await;
            let rotation = ours.store.key_rotation();
            rig.rotate(&rotation).await;
            rig.clock.advance(2 * POLL + SECOND);
            rotation.destroy(1).await.unwrap();
            veiled.fail(trouble.failing_looks);
            flaky.release();
        };
        let (connected, ()) = tokio::join!(stalled.connect(&rig, "ada"), rotation);
        veiled.fail(0);
        if connected.is_err() {
            stalled.connect(&rig, "ada").await.unwrap();
        }
        assert_eq!(rig.stored("ada").await.unwrap(), "a0", "{trouble:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rotated_token_that_outlived_its_key_is_stored() {
    for trouble in TROUBLES {
        let rig = Rig::new();
        let (stalled, flaky, veiled) = troubled(&rig).await;
        let ours = rig.instance().await;
        stalled.connect(&rig, "ada").await.unwrap();
        rig.clock.advance(HOUR);
        let rotation = ours.store.key_rotation();
        let new = rotation.add_key().await.unwrap().id;
        rig.clock.advance(POLL + SECOND);
        rig.fake.hold();
        let mut events = stalled.manager.events(100);
        let user = key("ada");
        let others = async {
            rig.fake.begun(1).await;
            // Its row is sealed anew by one that knows the new key, which the stalled one does not.
            rotation.activate(new).await.unwrap();
            rig.clock.advance(45 * SECOND);
            assert_eq!(rotation.rewrap().finish().await.unwrap().rewrapped, 1);
            flaky.script([Save::Ok, trouble.write].into_iter().chain(trouble.then));
            rig.fake.release(1);
            flaky.until_held().await;
            rig.clock.advance(2 * POLL);
            rotation.destroy(1).await.unwrap();
            veiled.fail(trouble.failing_looks);
            flaky.release();
        };
        let (token, ()) = tokio::join!(stalled.manager.token(&user), others);
        assert_eq!(token.unwrap().expose(), "a1", "{trouble:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        while let Some(event) = events.try_next() {
            assert_ne!(event.kind, EventKind::Lost, "{trouble:?}");
        }
        assert_eq!(rig.stored("ada").await.unwrap(), "a1", "{trouble:?}");
        assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
    }
}

#[tokio::test]
async fn a_rewrap_that_outlived_its_key_loses_no_row() {
    for trouble in TROUBLES.into_iter().filter(|it| it.failing_looks < 3) {
        let rig = Rig::new();
        let (stalled, flaky, veiled) = troubled(&rig).await;
        let ours = rig.instance().await;
        ours.connect(&rig, "ada").await.unwrap();
        let rotation = ours.store.key_rotation();
        let second = rig.rotate(&rotation).await;
        flaky.script([trouble.write].into_iter().chain(trouble.then));
        let others = async {
            flaky.until_held().await;
            rig.rotate(&rotation).await;
            rig.clock.advance(2 * POLL + SECOND);
            rotation.destroy(second).await.unwrap();
            veiled.fail(trouble.failing_looks);
            flaky.release();
        };
        let pass = stalled.store.key_rotation().rewrap();
        let (pass, ()) = tokio::join!(pass.finish(), others);
        assert_eq!(pass.unwrap().unreadable, 0, "{trouble:?}");
        assert_eq!(rig.stored("ada").await.unwrap(), "a0", "{trouble:?}");
        assert_eq!(ours.rows_by_key().await, [(3, 1)], "{trouble:?}");
    }
}

#[tokio::test]
async fn an_intent_that_outlived_its_key_hides_no_token() {
    for trouble in TROUBLES.into_iter().filter(|it| it.failing_looks < 3) {
        let rig = Rig::new();
        let (stalled, flaky, veiled) = troubled(&rig).await;
        let ours = rig.instance().await;
        ours.connect(&rig, "ada").await.unwrap();
        let rotation = ours.store.key_rotation();
        let second = rig.rotate(&rotation).await;
        rig.clock.advance(HOUR);
        flaky.script([trouble.write].into_iter().chain(trouble.then));
        let others = async {
            flaky.until_held().await;
            rig.rotate(&rotation).await;
            rig.clock.advance(2 * POLL + SECOND);
            rotation.destroy(second).await.unwrap();
            veiled.fail(trouble.failing_looks);
            flaky.release();
        };
        let user = key("ada");
        let (_too_late, ()) = tokio::join!(stalled.manager.token(&user), others);
        rig.clock.advance(HOUR);
        assert_eq!(rig.stored("ada").await.unwrap(), "a1", "{trouble:?}");
        assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
    }
}

/// A rewrap of what stands in a row that is written when its key is gone, by one that dies.
async fn left_an_orphan(rig: &Rig, ours: &Instance) {
    let (dying, flaky, veiled) = troubled(rig).await;
    let rotation = ours.store.key_rotation();
    let second = rig.rotate(&rotation).await;
    flaky.script([Save::HoldLostAck]);
    let others = async {
        flaky.until_held().await;
        rig.rotate(&rotation).await;
        rig.clock.advance(2 * POLL + SECOND);
        rotation.destroy(second).await.unwrap();
        veiled.fail(usize::MAX);
        flaky.release();
    };
    let pass = dying.store.key_rotation().rewrap();
    let (pass, ()) = tokio::join!(pass.finish(), others);
    pass.unwrap_err();
    assert!(rig.stored("ada").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_held_token_brings_nobody_back_whose_disconnect_cannot_be_read() {
    let rig = Rig::new();
    let (away, flaky, _) = troubled(&rig).await;
    let ours = rig.instance().await;
    let user = key("ada");
    away.connect(&rig, "ada").await.unwrap();
    rig.clock.advance(HOUR);
    rig.fake.hold();
    let outage = async {
        rig.fake.begun(1).await;
        flaky.down(true);
        rig.fake.release(1);
    };
    let (token, ()) = tokio::join!(away.manager.token(&user), outage);
    assert_eq!(token.unwrap().expose(), "a1");
    ours.manager.disconnect(&user).await.unwrap();
    left_an_orphan(&rig, &ours).await;
    flaky.down(false);
    tokio::time::sleep(10 * POLL).await;
    assert_ne!(rig.stored("ada").await.ok().as_deref(), Some("a1"));
    // Nor when it can be read again.
    ours.manager.disconnect(&user).await.unwrap();
    tokio::time::sleep(POLL).await;
    let error = rig.stored("ada").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_rewrap_brings_nobody_back_whose_disconnect_cannot_be_read() {
    let rig = Rig::new();
    let (slow, flaky, _) = troubled(&rig).await;
    let ours = rig.instance().await;
    ours.connect(&rig, "ada").await.unwrap();
    let rotation = ours.store.key_rotation();
    rig.rotate(&rotation).await;
    flaky.script([Save::Hold]);
    let others = async {
        flaky.until_held().await;
        ours.manager.disconnect(&key("ada")).await.unwrap();
        left_an_orphan(&rig, &ours).await;
        flaky.release();
    };
    let pass = slow.store.key_rotation().rewrap();
    let (pass, ()) = tokio::join!(pass.finish(), others);
    let stored = rig.stored("ada").await;
    assert_eq!(stored.unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(pass.unwrap().unreadable, 1);
}

/// A user whose row is under a key that `sibling` has not seen.
async fn sealed_by_an_unseen_key(rig: &Rig) -> (Instance, Veiled<Flaky>) {
    let ours = rig.instance().await;
    let (sibling, _, veiled) = troubled(rig).await;
    rig.rotate(&ours.store.key_rotation()).await;
    let consent = rig.fake.consent().metadata("brokerName", "X");
    ours.manager.connect(&key("ada"), consent).await.unwrap();
    (sibling, veiled)
}

#[tokio::test]
async fn a_row_whose_key_could_not_be_looked_for_is_not_taken_for_damaged() {
    let rig = Rig::new();
    let (sibling, veiled) = sealed_by_an_unseen_key(&rig).await;
    let user = key("ada");
    let failed = |result: Result<(), Error>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Store);
    };
    veiled.fail(1);
    failed(sibling.manager.grants("ada").await.map(drop));
    veiled.fail(1);
    failed(sibling.manager.token(&user).await.map(drop));
    veiled.fail(1);
    failed(sibling.manager.sweep_dry_run().await.map(drop));
    // Both replace a row that does not open, and with it what it holds.
    veiled.fail(1);
    failed(sibling.connect(&rig, "ada").await);
    veiled.fail(1);
    failed(sibling.manager.disconnect(&user).await);

    sibling.connect(&rig, "ada").await.unwrap();
    let grants = sibling.manager.grants("ada").await.unwrap();
    assert_eq!(grants[0].metadata()["brokerName"], "X");
}

/// Why a keyset cannot be looked at.
#[derive(Debug, Clone, Copy)]
enum Away {
    Gone,
    Damaged,
    Unavailable,
}

#[tokio::test(start_paused = true)]
async fn after_its_keyset_was_away_whoever_holds_tokens_goes_first() {
    for away in [Away::Gone, Away::Damaged, Away::Unavailable] {
        let rig = Rig::new();
        let veiled = Veiled::new(rig.rows.clone());
        let ours = rig.instance_over(veiled.clone()).await;
        let sibling = rig.instance_over(veiled.clone()).await;
        let user = key("ada");
        ours.connect(&rig, "ada").await.unwrap();
        rig.clock.advance(HOUR);
        rig.fake.hold();
        let caller = tokio::spawn({
            let (manager, user) = (ours.manager.clone(), user.clone());
            async move { manager.token(&user).await.map(|it| it.expose().to_owned()) }
        });
        rig.fake.begun(1).await;
        let kind = match away {
            Away::Gone | Away::Damaged => ErrorKind::Key,
            Away::Unavailable => ErrorKind::Store,
        };
        match away {
            Away::Gone => veiled.hide(true),
            Away::Damaged => veiled.damage(true),
            Away::Unavailable => veiled.fail(usize::MAX),
        }
        rig.clock.advance(POLL);
        rig.fake.release(1_000);
        assert_eq!(caller.await.unwrap().unwrap(), "a1");
        // The intent's time passes.
        rig.clock.advance(10 * POLL);
        let error = sibling.manager.token(&user).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        // So does the time for which nobody asks again.
        rig.clock.advance(5 * SECOND);
        tokio::time::sleep(10 * POLL + SECOND).await;
        veiled.hide(false);
        veiled.damage(false);
        veiled.fail(0);
        let token = sibling.manager.token(&user).await.unwrap();
        assert_eq!(token.expose(), "a1");
        assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_keeps_no_token_from_its_users() {
    let rig = Rig::new();
    let veiled = Veiled::new(rig.rows.clone());
    let ours = rig.instance_over(veiled.clone()).await;
    let user = key("ada");
    ours.connect(&rig, "ada").await.unwrap();
    rig.clock.advance(HOUR);
    rig.fake.hold();
    let caller = tokio::spawn({
        let (manager, user) = (ours.manager.clone(), user.clone());
        async move { manager.token(&user).await.map(|it| it.expose().to_owned()) }
    });
    rig.fake.begun(1).await;
    veiled.hang(true);
    rig.clock.advance(POLL);
    rig.fake.release(1_000);
    let began = tokio::time::Instant::now();
    assert_eq!(caller.await.unwrap().unwrap(), "a1");
    assert!(began.elapsed() <= 30 * SECOND, "{:?}", began.elapsed());
    // It is stored as soon as a look comes back.
    veiled.hang(false);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(rig.stored("ada").await.unwrap(), "a1");
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_gets_every_token_in_the_end() {
    let rig = Rig::new();
    let veiled = Veiled::new(rig.rows.clone());
    let ours = rig.instance_over(veiled.clone()).await;
    ours.connect(&rig, "ada").await.unwrap();
    rig.clock.advance(HOUR);
    rig.fake.hold();
    let user = key("ada");
    let others = async {
        rig.fake.begun(1).await;
        veiled.slow(20);
        rig.fake.release(1);
    };
    let (token, ()) = tokio::join!(ours.manager.token(&user), others);
    assert_eq!(token.unwrap().expose(), "a1");
    tokio::time::sleep(3 * POLL).await;
    assert_eq!(rig.stored("ada").await.unwrap(), "a1");
    assert_eq!(rig.fake.exchanges(), 1);
}

/// How long a step that came too soon is to wait.
fn too_soon(result: Result<(), Error>) -> Duration {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooSoon, "{error}");
    match error.recovery() {
        Recovery::Retry { after: Some(after) } => after,
        _ => panic!("{error} says no time"),
    }
}

/// The start of 2025 and some milliseconds.
#[derive(Debug, Clone, Default)]
struct Settable(Arc<AtomicU64>);

impl Settable {
    fn set(&self, to: Duration) {
        let to = u64::try_from(to.as_millis()).unwrap();
        self.0.store(to, Ordering::Relaxed);
    }
}

impl Clock for Settable {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(1_735_689_600_000 + self.0.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_store_clock_that_was_ahead_once_costs_one_more_wait() {
    let clock = Settable::default();
    let rows = MemoryStore::with_clock(clock.clone());
    let store = SealedStore::open(rows, KeyRing::generate().unwrap());
    let rotation = store.await.unwrap().key_rotation();
    clock.set(100_000 * HOUR);
    let new = rotation.add_key().await.unwrap().id;
    clock.set(HOUR);
    let wait = too_soon(rotation.activate(new).await);
    assert!(wait <= POLL + SECOND, "{wait:?}");
    clock.set(HOUR + wait);
    rotation.activate(new).await.unwrap();

    clock.set(100_000 * HOUR);
    let next = rotation.add_key().await.unwrap().id;
    clock.set(100_001 * HOUR);
    rotation.activate(next).await.unwrap();
    clock.set(2 * HOUR);
    let wait = too_soon(rotation.destroy(new).await);
    assert!(wait <= 2 * POLL + SECOND, "{wait:?}");
    clock.set(2 * HOUR + wait);
    rotation.destroy(new).await.unwrap();
}

#[tokio::test]
async fn a_change_that_stalled_counts_from_when_it_was_written() {
    let rig = Rig::new();
    let (stalled, flaky, _) = troubled(&rig).await;
    let rotation = stalled.store.key_rotation();
    let new = rotation.add_key().await.unwrap().id;
    rig.clock.advance(POLL + SECOND);
    flaky.script([Save::Hold]);
    let meanwhile = async {
        flaky.until_held().await;
        rig.clock.advance(3 * POLL);
        flaky.release();
    };
    let (activated, ()) = tokio::join!(rotation.activate(new), meanwhile);
    activated.unwrap();
    assert!(too_soon(rotation.destroy(1).await) > 2 * POLL);
    let keys = rotation.data_keys().await.unwrap();
    assert!(keys.iter().all(|key| key.since == rig.clock.now()));
}

#[tokio::test]
async fn a_key_that_seals_while_its_rows_are_counted_is_not_destroyed() {
    let rig = Rig::new();
    let (ours, _, veiled) = troubled(&rig).await;
    let siblings = rig.instance().await;
    ours.connect(&rig, "ada").await.unwrap();
    let rotation = ours.store.key_rotation();
    // One that nobody wants any more, as it seems.
    let second = rotation.add_key().await.unwrap().id;
    rig.clock.advance(2 * POLL + SECOND);
    let others = veiled.during_a_scan(async {
        let rotation = siblings.store.key_rotation();
        rotation.activate(second).await.unwrap();
        siblings.connect(&rig, "ada").await.unwrap();
        rig.rotate(&rotation).await;
        rig.clock.advance(2 * POLL + SECOND);
        assert_eq!(siblings.rows_by_key().await, [(second, 1)]);
    });
    let ((), destroyed) = tokio::join!(others, rotation.destroy(second));
    assert_eq!(rig.stored("ada").await.unwrap(), "a0");
    assert_eq!(destroyed.unwrap_err().kind(), ErrorKind::KeyInUse);
}

#[tokio::test]
async fn a_step_that_fails_counts_what_it_has_done() {
    let rig = Rig::new();
    let (instance, flaky, _) = troubled(&rig).await;
    for user in ["ada", "bob", "eve"] {
        instance.connect(&rig, user).await.unwrap();
    }
    let rotation = instance.store.key_rotation();
    rig.rotate(&rotation).await;
    let mut pass = rotation.rewrap();
    flaky.script([Save::Ok, Save::Fail]);
    assert!(pass.step().await.is_err());
    assert_eq!(
        (pass.progress().examined, pass.progress().rewrapped),
        (0, 2)
    );
    let pass = pass.finish().await.unwrap();
    assert_eq!((pass.examined, pass.rewrapped), (3, 3));
}
