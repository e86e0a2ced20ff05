//! Invariant 23: keys change while everything runs. Nothing becomes unreadable, nothing that is
//! written meanwhile is lost, and no key is destroyed that somebody still needs.

use tests::flaky::{Flaky, Save};
use tower_token::{DataKeyState, ErrorKind, RowKey};

use crate::key_rig::{Instance, POLL, Rig, SECOND, key};
use crate::support::HOUR;

#[tokio::test]
async fn what_an_instance_seals_with_the_former_key_is_read_by_all() {
    let rig = Rig::new();
    let (ours, siblings) = (rig.instance().await, rig.instance().await);
    ours.connect(&rig, "ada").await.unwrap();
    let rotation = ours.store.key_rotation();
    let new = rotation.add_key().await.unwrap().id;
    rig.clock.advance(POLL);
    // The siblings look now, and not again for a minute.
    siblings.connect(&rig, "bob").await.unwrap();
    rig.clock.advance(SECOND);
    rotation.activate(new).await.unwrap();
    siblings.connect(&rig, "carol").await.unwrap();
    ours.connect(&rig, "dave").await.unwrap();
    assert_eq!(ours.rows_by_key().await, [(1, 3), (new, 1)]);
    for user in ["ada", "bob", "carol", "dave"] {
        for instance in [&ours, &siblings] {
            instance.manager.token(&key(user)).await.unwrap();
        }
    }
    // Refreshed by whoever: under the key that this one knows as active.
    rig.clock.advance(HOUR);
    for (instance, user) in [(&siblings, "ada"), (&siblings, "dave"), (&ours, "carol")] {
        instance.manager.token(&key(user)).await.unwrap();
        rig.stored(user).await.unwrap();
    }
    assert_eq!(ours.rows_by_key().await, [(1, 1), (new, 3)]);
    assert_eq!(rig.fake.exchanges(), 3);
}

#[tokio::test]
async fn a_whole_rotation_under_traffic_leaves_only_the_new_key() {
    let rig = Rig::new();
    let (ours, siblings) = (rig.instance().await, rig.instance().await);
    let users: Vec<_> = (0..40).map(|user| user.to_string()).collect();
    for user in &users {
        ours.connect(&rig, user).await.unwrap();
    }
    let rotation = siblings.store.key_rotation();
    for former in 1..=2 {
        let new = rig.rotate(&rotation).await;
        rig.clock.advance(HOUR);
        let mut rewrap = rotation.rewrap().rows_per_step(7);
        for some in users.chunks(7) {
            let refreshes = async {
                for user in some {
                    ours.manager.token(&key(user)).await.unwrap();
                }
            };
            let (more, ()) = tokio::join!(rewrap.step(), refreshes);
            assert!(more.unwrap());
        }
        rewrap.finish().await.unwrap();
        let left = rotation.rewrap().finish().await.unwrap();
        assert_eq!((left.rewrapped, left.left, left.unreadable), (0, 0, 0));
        rig.clock.advance(2 * POLL);
        rotation.destroy(former).await.unwrap();
        assert_eq!(siblings.rows_by_key().await, [(new, 40)]);
        for user in &users {
            let served = ours.manager.token(&key(user)).await.unwrap();
            assert_eq!(rig.stored(user).await.unwrap(), served.expose());
        }
    }
    let states = rotation.data_keys().await.unwrap();
    let states: Vec<_> = states.iter().map(|key| (key.id, key.state)).collect();
    let gone = DataKeyState::Destroyed;
    assert_eq!(states, [(1, gone), (2, gone), (3, DataKeyState::Active)]);
    assert_eq!(rig.fake.exchanges(), 80);
}

/// A user whose row is under a retired key and whose token has expired, in a store of which
/// some saves can be held.
async fn expired_under_a_retired_key(rig: &Rig, flaky: &Flaky) -> Instance {
    let instance = rig.instance_over(flaky.clone()).await;
    instance.connect(rig, "ada").await.unwrap();
    rig.rotate(&instance.store.key_rotation()).await;
    rig.clock.advance(HOUR);
    assert_eq!(instance.rows_by_key().await, [(1, 1)]);
    instance
}

#[tokio::test]
async fn a_rewrap_that_comes_between_a_refresh_and_its_row_loses_nothing() {
    let rig = Rig::new();
    let flaky = Flaky::new(rig.rows.clone());
    let instance = expired_under_a_retired_key(&rig, &flaky).await;
    flaky.script([Save::Hold]);
    let user = key("ada");
    let refresh = async {
        let token = instance.manager.token(&user).await;
        token.unwrap().expose().to_owned()
    };
    let rewrap = async {
        flaky.until_held().await;
        let pass = instance.store.key_rotation().rewrap().finish().await;
        assert_eq!(pass.unwrap().rewrapped, 1);
        flaky.release();
    };
    let (token, ()) = tokio::join!(refresh, rewrap);
    assert_eq!(rig.stored("ada").await.unwrap(), token);
    assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
}

#[tokio::test]
async fn a_refresh_that_comes_between_a_rewrap_and_its_row_is_kept() {
    let rig = Rig::new();
    let flaky = Flaky::new(rig.rows.clone());
    let instance = expired_under_a_retired_key(&rig, &flaky).await;
    flaky.script([Save::Hold]);
    let rotation = instance.store.key_rotation();
    let refresh = async {
        flaky.until_held().await;
        let token = instance.manager.token(&key("ada")).await.unwrap();
        flaky.release();
        token
    };
    let (pass, token) = tokio::join!(rotation.rewrap().finish(), refresh);
    assert_eq!(pass.unwrap().rewrapped, 0);
    assert_eq!(token.expose(), "a1");
    assert_eq!(rig.stored("ada").await.unwrap(), "a1");
    assert_eq!(instance.rows_by_key().await, [(2, 1)]);
}

#[tokio::test]
async fn a_rewrap_goes_on_after_an_instance_that_still_seals_with_the_former_key() {
    let rig = Rig::new();
    let flaky = Flaky::new(rig.rows.clone());
    let (ours, siblings) = (rig.instance_over(flaky.clone()).await, rig.instance().await);
    let rotation = ours.store.key_rotation();
    let new = rotation.add_key().await.unwrap().id;
    rig.clock.advance(POLL);
    siblings.connect(&rig, "ada").await.unwrap();
    rig.clock.advance(SECOND);
    rotation.activate(new).await.unwrap();
    flaky.script([Save::Hold]);
    let late = async {
        flaky.until_held().await;
        siblings.connect(&rig, "ada").await.unwrap();
        assert_eq!(ours.rows_by_key().await, [(1, 1)]);
        flaky.release();
    };
    let (pass, ()) = tokio::join!(rotation.rewrap().finish(), late);
    assert_eq!(pass.unwrap().rewrapped, 1);
    assert_eq!(ours.rows_by_key().await, [(new, 1)]);
}

#[tokio::test]
async fn a_rewrap_during_an_exchange_does_not_lose_its_answer() {
    let rig = Rig::new();
    let flaky = Flaky::new(rig.rows.clone());
    let instance = expired_under_a_retired_key(&rig, &flaky).await;
    let rotation = instance.store.key_rotation();
    rig.fake.hold();
    let user = key("ada");
    let rewraps = async {
        rig.fake.begun(1).await;
        // The intent was sealed by the new key.
        let pass = rotation.rewrap().finish().await.unwrap();
        assert_eq!((pass.examined, pass.rewrapped, pass.left), (1, 0, 0));
        rig.rotate(&rotation).await;
        // Its deadline has passed meanwhile, so nobody waits for it.
        let pass = rotation.rewrap().finish().await.unwrap();
        assert_eq!((pass.rewrapped, pass.left), (1, 0));
        rig.fake.release(1);
    };
    let (token, ()) = tokio::join!(instance.manager.token(&user), rewraps);
    assert_eq!(token.unwrap().expose(), "a1");
    assert_eq!(rig.stored("ada").await.unwrap(), "a1");
    assert_eq!(instance.rows_by_key().await, [(3, 1)]);
}

#[tokio::test]
async fn a_write_that_took_longer_than_its_key_lived_is_sealed_again() {
    stalled_write(false).await;
    // Also where others of its process have looked at the keyset meanwhile.
    stalled_write(true).await;
}

async fn stalled_write(others_go_on: bool) {
    let rig = Rig::new();
    let flaky = Flaky::new(rig.rows.clone());
    let (stalled, ours) = (rig.instance_over(flaky.clone()).await, rig.instance().await);
    flaky.script([Save::Hold]);
    let rotation = async {
        flaky.until_held().await;
        let rotation = ours.store.key_rotation();
        rig.rotate(&rotation).await;
        rig.clock.advance(2 * POLL + SECOND);
        rotation.destroy(1).await.unwrap();
        if others_go_on {
            stalled.connect(&rig, "bob").await.unwrap();
        }
        flaky.release();
    };
    let (connected, ()) = tokio::join!(stalled.connect(&rig, "ada"), rotation);
    connected.unwrap();
    assert_eq!(rig.stored("ada").await.unwrap(), "a0");
    assert_eq!(ours.rows_by_key().await, [(2, 1 + u64::from(others_go_on))]);
}

/// What may become of a write of the keyset.
const TROUBLE: [Save; 4] = [
    Save::LostAck,
    Save::LostWrite,
    Save::FalseConflict,
    Save::Fail,
];

#[tokio::test]
async fn every_step_can_be_done_again_whatever_became_of_it() {
    for trouble in TROUBLE {
        let rig = Rig::new();
        let flaky = Flaky::new(rig.rows.clone());
        let instance = rig.instance_over(flaky.clone()).await;
        instance.connect(&rig, "ada").await.unwrap();
        let states = async || {
            let keys = rig.instance().await.store.key_rotation().data_keys().await;
            let keys = keys.unwrap().into_iter();
            keys.map(|key| key.state).collect::<Vec<_>>()
        };
        // A process after the one that met the trouble.
        let successor = async || rig.instance().await.store.key_rotation();
        let rotation = instance.store.key_rotation();
        // What is said to be done is done, and only a store that says that it failed fails a step.
        let works = trouble != Save::Fail;
        use DataKeyState::{Active, Created, Destroyed, Retired};

        flaky.script([trouble]);
        let done = rotation.add_key().await.is_ok();
        assert_eq!((done, states().await.len() == 2), (works, works));
        let new = successor().await.add_key().await.unwrap().id;
        assert_eq!(states().await, [Active, Created]);
        rig.clock.advance(POLL + SECOND);

        flaky.script([trouble]);
        let done = rotation.activate(new).await.is_ok();
        assert_eq!((done, states().await[1] == Active), (works, works));
        successor().await.activate(new).await.unwrap();
        assert_eq!(states().await, [Retired, Active]);

        flaky.script([trouble]);
        let done = rotation.rewrap().finish().await.is_ok();
        let rewrapped = instance.rows_by_key().await == [(new, 1)];
        assert_eq!((done, rewrapped), (works, works));
        let again = successor().await.rewrap().finish().await.unwrap();
        assert_eq!(again.rewrapped, u64::from(!works));
        rig.clock.advance(2 * POLL + SECOND);

        flaky.script([trouble]);
        let done = rotation.destroy(1).await.is_ok();
        assert_eq!((done, states().await[0] == Destroyed), (works, works));
        successor().await.destroy(1).await.unwrap();
        assert_eq!(states().await, [Destroyed, Active]);
        assert_eq!(rig.stored("ada").await.unwrap(), "a0", "{trouble:?}");
    }
}

#[tokio::test]
async fn without_its_keyset_a_store_serves_what_it_has_and_spends_nothing() {
    let rig = Rig::new();
    let flaky = Flaky::new(rig.rows.clone());
    let instance = rig.instance_over(flaky.clone()).await;
    instance.connect(&rig, "ada").await.unwrap();
    let keyset = RowKey::from_bytes(&[0; RowKey::LEN]).unwrap();
    let mut rows = flaky.snapshot().await.unwrap();
    rows.retain(|(key, _)| *key != keyset);
    flaky.roll_back(rows);
    // Due, and a look at the keyset is, too.
    rig.clock.advance(HOUR - 4 * POLL);
    let token = instance.manager.token(&key("ada")).await.unwrap();
    assert_eq!(token.expose(), "a0");
    let error = instance.connect(&rig, "bob").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Key);
    rig.clock.advance(HOUR);
    let error = instance.manager.token(&key("ada")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Key);
    assert_eq!(rig.fake.exchanges(), 0);
}
