//! Connect and disconnect against a refresh under way: nobody comes back by accident.

use std::time::Duration;

use tests::fake::Fake;
use tests::flaky::Flaky;
use tower_token::testkit::ManualClock;
use tower_token::{ErrorKind, EventKind, GrantKey, KeyRing, MemoryStore, TokenResponse};

use crate::support::{HOUR, Rig, manager};

#[tokio::test]
async fn a_user_who_disconnects_during_a_refresh_stays_disconnected() {
    let mut rig = Rig::connected().await;
    rig.until_due();
    rig.fake.hold();
    rig.token().await;
    rig.fake.begun(1).await;
    rig.manager.disconnect(&rig.key).await.unwrap();
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    rig.fake.release(1);
    rig.manager.shutdown(Duration::from_secs(10)).await.unwrap();
    assert!(rig.seen().contains(&EventKind::Discarded));
    let error = rig.sibling().await.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn a_user_who_connects_anew_during_a_refresh_keeps_the_new_tokens() {
    let rig = Rig::connected().await;
    rig.until_due();
    rig.fake.hold();
    rig.token().await;
    rig.fake.begun(1).await;
    let anew = TokenResponse::new("anew")
        .refresh_token("other")
        .expires_in(HOUR);
    rig.manager.connect(&rig.key, anew).await.unwrap();
    rig.fake.release(1);
    assert_eq!(rig.token().await, "anew");
    rig.manager.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(
        rig.sibling().await.token(&rig.key).await.unwrap().expose(),
        "anew"
    );
}

#[tokio::test]
async fn a_disconnected_user_can_connect_again() {
    let rig = Rig::connected().await;
    let before = rig.manager.token(&rig.key).await.unwrap().serial();
    rig.manager.disconnect(&rig.key).await.unwrap();
    assert!(rig.manager.grants("ada").await.unwrap().is_empty());
    rig.manager
        .connect(&rig.key, rig.fake.consent())
        .await
        .unwrap();
    assert!(rig.manager.token(&rig.key).await.unwrap().serial() > before);
    // Disconnecting somebody who is not there is no error.
    rig.manager
        .disconnect(&GrantKey::new("fake", "nobody"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_users_grants_are_listed_and_nobody_elses() {
    let rig = Rig::connected().await;
    let work = rig.key.with_connection("work");
    let response = TokenResponse::new("w").metadata("account", "Work");
    rig.manager.connect(&work, response).await.unwrap();
    rig.manager
        .connect(&GrantKey::new("fake", "bob"), rig.fake.consent())
        .await
        .unwrap();
    let mut grants = rig.manager.grants("ada").await.unwrap();
    grants.sort_by_key(|grant| grant.key().connection().map(str::to_owned));
    assert_eq!(
        grants.iter().map(|g| g.key().clone()).collect::<Vec<_>>(),
        [rig.key.clone(), work]
    );
    assert_eq!(grants[1].metadata()["account"], "Work");
}

/// Also not to one who has a token in hand and waits for a longer one.
#[tokio::test]
async fn a_caller_who_waits_while_the_user_disconnects_gets_nothing() {
    let rig = Rig::connected().await;
    rig.clock.advance(Duration::from_secs(1_800));
    rig.fake.hold();
    let caller = tokio::spawn({
        let (manager, key) = (rig.manager.clone(), rig.key.clone());
        async move {
            manager
                .token_valid_for(&key, Duration::from_secs(3_000))
                .await
        }
    });
    rig.fake.begun(1).await;
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.fake.release(1);
    let error = caller.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[tokio::test]
async fn nothing_begins_after_a_shutdown() {
    let rig = Rig::connected().await;
    rig.manager.shutdown(Duration::from_secs(1)).await.unwrap();
    // In memory and fresh.
    assert_eq!(rig.token().await, "a0");
    let error = rig
        .manager
        .connect(&rig.key, rig.fake.consent())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShutDown);
    rig.until_expired();
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShutDown);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_takes_its_time_blocks_nobody() {
    let clock = ManualClock::new();
    let store = Flaky::new(MemoryStore::with_clock(clock.clone()));
    let (fake, ring) = (Fake::new(HOUR), KeyRing::generate().unwrap());
    let manager = manager(store.clone(), &ring, &fake, &clock).await;
    store.hang();
    let shutdown = tokio::spawn({
        let manager = manager.clone();
        async move { manager.shutdown(Duration::from_secs(10)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The store is being closed now.
    let ada = GrantKey::new("fake", "ada");
    let error = manager.connect(&ada, fake.consent()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShutDown);
    let error = shutdown.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// A row that does not open stops its user, but not for ever.
#[tokio::test]
async fn a_damaged_row_is_replaced_by_a_connect() {
    let clock = ManualClock::new();
    let store = Flaky::new(MemoryStore::with_clock(clock.clone()));
    let (fake, ring) = (Fake::new(HOUR), KeyRing::generate().unwrap());
    let first = manager(store.clone(), &ring, &fake, &clock).await;
    let (ada, bob) = (GrantKey::new("fake", "ada"), GrantKey::new("fake", "bob"));
    first.connect(&ada, fake.consent()).await.unwrap();
    first.connect(&bob, fake.consent()).await.unwrap();

    let second = manager(store.clone(), &ring, &fake, &clock).await;
    store.misplace(true);
    let error = second.token(&ada).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    // Its user's other connections are there all the same.
    assert!(second.grants("bob").await.unwrap().len() == 1);
    second
        .connect(&ada, TokenResponse::new("anew"))
        .await
        .unwrap();
    store.misplace(false);
    let third = manager(store, &ring, &fake, &clock).await;
    assert_eq!(third.token(&ada).await.unwrap().expose(), "anew");
}

#[tokio::test]
async fn a_grant_whose_row_is_gone_is_served_no_longer_than_that_is_noticed() {
    let clock = ManualClock::new();
    let store = Flaky::new(MemoryStore::with_clock(clock.clone()));
    let fake = Fake::new(HOUR);
    let manager = manager(store.clone(), &KeyRing::generate().unwrap(), &fake, &clock).await;
    let key = GrantKey::new("fake", "ada");
    manager.connect(&key, fake.consent()).await.unwrap();
    store.roll_back(Vec::new());
    clock.advance(HOUR - Duration::from_secs(240));
    // Due: served, and looked at behind.
    assert_eq!(manager.token(&key).await.unwrap().expose(), "a0");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        let error = manager.token(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    }
    assert_eq!(fake.exchanges(), 0);
}
