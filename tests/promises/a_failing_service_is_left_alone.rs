//! Invariant 16: a circuit per provider, and a cap on concurrent exchanges.

use std::time::Duration;

use tests::fake::{Fake, Next};
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, EventKind, GrantKey, KeyRing, MemoryStore, Provider, Recovery, TokenManager, Verdict,
};

use crate::support::{HOUR, manager_of};

/// A manager whose users' tokens have all expired.
async fn expired(users: usize, cap: usize) -> (TokenManager, Fake, ManualClock, Vec<GrantKey>) {
    let clock = ManualClock::new();
    let fake = Fake::new(HOUR);
    let provider = Provider::new("fake", fake.clone()).max_exchanges(cap);
    let store = MemoryStore::with_clock(clock.clone());
    let manager = manager_of(store, &KeyRing::generate().unwrap(), provider, &clock).await;
    let keys: Vec<_> = (0..users)
        .map(|n| GrantKey::new("fake", format!("user-{n}")))
        .collect();
    for key in &keys {
        manager.connect(key, fake.consent()).await.unwrap();
    }
    clock.advance(HOUR);
    (manager, fake, clock, keys)
}

#[tokio::test]
async fn after_five_failures_nobody_asks_but_one_who_is_let_through_to_see() {
    let (manager, fake, clock, keys) = expired(100, 32).await;
    let mut events = manager.events(1_024);
    fake.script(vec![
        Next::Fail(Verdict::Transient { retry_after: None });
        6
    ]);
    for key in &keys {
        let error = manager.token(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenService);
        assert!(matches!(
            error.recovery(),
            Recovery::Retry { after: Some(_) }
        ));
    }
    assert_eq!(fake.exchanges(), 5);
    let seen: Vec<_> = std::iter::from_fn(|| events.try_next())
        .map(|e| e.kind)
        .collect();
    assert_eq!(
        seen.iter()
            .filter(|kind| **kind == EventKind::CircuitOpened)
            .count(),
        1
    );

    // A second later one goes through, and fails; two seconds later one succeeds.
    clock.advance(Duration::from_secs(1));
    for key in &keys[10..20] {
        manager.token(key).await.unwrap_err();
    }
    assert_eq!(fake.exchanges(), 6);
    clock.advance(Duration::from_secs(2));
    for key in &keys[20..] {
        manager.token(key).await.unwrap();
    }
    assert_eq!(fake.exchanges(), 86);
    assert!(std::iter::from_fn(|| events.try_next()).any(|e| e.kind == EventKind::CircuitClosed));
}

#[tokio::test]
async fn dead_users_are_no_failure_of_the_service() {
    let (manager, fake, _, keys) = expired(20, 32).await;
    fake.script(vec![Next::Fail(Verdict::Dead); 19]);
    for key in &keys[..19] {
        let error = manager.token(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NeedsReauth);
    }
    manager.token(&keys[19]).await.unwrap();
    assert_eq!(fake.exchanges(), 20);
}

#[tokio::test]
async fn no_more_exchanges_are_under_way_than_the_provider_takes() {
    let (manager, fake, _, keys) = expired(50, 8).await;
    fake.hold();
    let callers: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.token(&key).await.map(drop) })
        })
        .collect();
    fake.begun(8).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.exchanges(), 8);
    // Each that ends makes place for one.
    fake.release(3);
    fake.begun(11).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.exchanges(), 11);
    fake.release(47);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(fake.exchanges(), 50);
}

/// Whoever is let through to see and does not come back is no reason to wait for ever.
#[tokio::test]
async fn a_probe_that_is_cut_off_makes_place_for_the_next() {
    let (manager, fake, clock, keys) = expired(8, 32).await;
    fake.script(vec![Next::Fail(Verdict::Misconfigured); 5]);
    fake.script([Next::Panic]);
    for key in &keys[..5] {
        manager.token(key).await.unwrap_err();
    }
    clock.advance(Duration::from_secs(1));
    manager.token(&keys[5]).await.unwrap_err();
    manager.token(&keys[6]).await.unwrap();
    assert_eq!(fake.exchanges(), 7);
}
