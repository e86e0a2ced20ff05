//! Invariant 16: a circuit per provider, and a cap on concurrent exchanges.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use tests::BoxError;
use tests::fake::{Fake, Next};
use tower_token::testkit::{AuthServer, Fault, ManualClock};
use tower_token::{
    ErrorKind, Event, EventKind, GrantKey, KeyRing, MemoryStore, OAuth2, Provider, Recovery,
    RefreshError, RefreshRequest, Refresher, Rotation, SealedStore, Timestamp, TokenManager,
    TokenResponse, Verdict,
};

use crate::support::{HOUR, Rig, manager_of};

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
async fn what_fails_for_one_grant_only_keeps_nobody_else_from_the_service() {
    /// Fails for everyone but bob, who has another broker.
    struct OneBroker;
    impl Refresher for OneBroker {
        async fn refresh(&self, of: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
            if of.grant().key().subject() == "bob" {
                return Fake::new(HOUR).refresh(of).await;
            }
            let verdict = Verdict::Transient { retry_after: None };
            Err(RefreshError::new(verdict, "this broker is down").of_this_grant())
        }
    }
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let provider = Provider::new("many", OneBroker);
    let manager = manager_of(store, &KeyRing::generate().unwrap(), provider, &clock).await;
    let mut events = manager.events(1_024);
    let users = ["a", "b", "c", "d", "e", "f", "g", "bob"];
    let keys = users.map(|user| GrantKey::new("many", user));
    for key in &keys {
        let consent = TokenResponse::new("t").refresh_token("r").expires_in(HOUR);
        manager.connect(key, consent).await.unwrap();
    }
    clock.advance(HOUR);
    for key in &keys[..7] {
        let error = manager.token(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenService);
    }
    manager.token(&keys[7]).await.unwrap();
    while let Some(event) = events.try_next() {
        assert_ne!(event.kind, EventKind::CircuitOpened);
    }
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

#[tokio::test(start_paused = true)]
async fn the_tries_of_one_refresh_count_once() {
    let clock = ManualClock::new();
    let fake = Fake::new(HOUR);
    let provider = Provider::new("fake", fake.clone()).rotation(Rotation::Reusable);
    let store = MemoryStore::with_clock(clock.clone());
    let manager = manager_of(store, &KeyRing::generate().unwrap(), provider, &clock).await;
    let mut events = manager.events(64);
    let key = GrantKey::new("fake", "ada");
    manager.connect(&key, fake.consent()).await.unwrap();
    clock.advance(HOUR);
    fake.script(vec![Next::Fail(Verdict::Ambiguous); 5]);
    assert_eq!(manager.token(&key).await.unwrap().expose(), "a6");
    let opened = |event: Event| event.kind == EventKind::CircuitOpened;
    assert!(!std::iter::from_fn(|| events.try_next()).any(opened));
}

#[tokio::test]
async fn whoever_is_turned_away_is_told_what_is_wrong() {
    for (verdict, kind) in [
        (Verdict::Misconfigured, ErrorKind::ClientRefused),
        (Verdict::Ambiguous, ErrorKind::TokenService),
    ] {
        let (manager, fake, _, keys) = expired(6, 32).await;
        fake.script(vec![Next::Fail(verdict); 5]);
        for key in &keys {
            let error = manager.token(key).await.unwrap_err();
            assert_eq!(error.kind(), kind);
        }
        assert_eq!(fake.exchanges(), 5);
    }
}

#[tokio::test]
async fn what_a_sibling_refreshed_is_taken_over_without_waiting_for_the_backoff() {
    let rig = Rig::connected().await;
    let sibling = rig.sibling().await;
    rig.until_expired();
    let long = Verdict::Transient {
        retry_after: Some(Duration::from_secs(600)),
    };
    rig.fake.script([Next::Fail(long)]);
    rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(sibling.token(&rig.key).await.unwrap().expose(), "a2");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.token().await, "a2");
    assert_eq!(rig.fake.exchanges(), 2);
}

/// One place at the service, and somebody in it.
struct Busy {
    manager: TokenManager,
    fake: Fake,
    clock: ManualClock,
    ada: GrantKey,
    bobs: tokio::task::JoinHandle<()>,
}

/// Ada's refresh has an unknown outcome; before its second try bob's takes the one place.
async fn busy(rotation: Rotation) -> Busy {
    let clock = ManualClock::new();
    let fake = Fake::new(HOUR);
    let provider = Provider::new("fake", fake.clone())
        .rotation(rotation)
        .max_exchanges(1);
    let store = MemoryStore::with_clock(clock.clone());
    let manager = manager_of(store, &KeyRing::generate().unwrap(), provider, &clock).await;
    let (ada, bob) = (GrantKey::new("fake", "ada"), GrantKey::new("fake", "bob"));
    for key in [&ada, &bob] {
        manager.connect(key, fake.consent()).await.unwrap();
    }
    clock.advance(HOUR - Duration::from_secs(240));
    fake.script([Next::Fail(Verdict::Ambiguous)]);
    manager.token(&ada).await.unwrap();
    fake.begun(1).await;
    fake.hold();
    let bobs = tokio::spawn({
        let manager = manager.clone();
        async move {
            let hour = Duration::from_secs(3_000);
            manager.token_valid_for(&bob, hour).await.unwrap();
        }
    });
    fake.begun(2).await;
    // Ada's second try is due, and waits for the place.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.exchanges(), 2);
    Busy {
        manager,
        fake,
        clock,
        ada,
        bobs,
    }
}

#[tokio::test(start_paused = true)]
async fn a_grace_period_that_ends_while_waiting_for_a_place_is_over() {
    for (waited, exchanges) in [(1, 3), (10, 2)] {
        let busy = busy(Rotation::Grace(Duration::from_secs(10))).await;
        busy.clock.advance(Duration::from_secs(waited));
        busy.fake.release(1_000);
        busy.bobs.await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(busy.fake.exchanges(), exchanges, "{waited} s");
        busy.manager.token(&busy.ada).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_place_at_a_shutdown_does_not_begin() {
    let busy = busy(Rotation::Reusable).await;
    let down = tokio::spawn({
        let manager = busy.manager.clone();
        async move { manager.shutdown(HOUR).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    busy.fake.release(1_000);
    down.await.unwrap().unwrap();
    busy.bobs.await.unwrap();
    assert_eq!(busy.fake.exchanges(), 2);
}

/// What happened to its own exchange tells a caller more than that others fail, too.
#[tokio::test(start_paused = true)]
async fn a_second_try_that_is_turned_away_keeps_the_error_of_the_first() {
    let (manager, fake, _, keys) = {
        let clock = ManualClock::new();
        let fake = Fake::new(HOUR);
        let provider = Provider::new("fake", fake.clone()).rotation(Rotation::Reusable);
        let store = MemoryStore::with_clock(clock.clone());
        let manager = manager_of(store, &KeyRing::generate().unwrap(), provider, &clock).await;
        let keys: Vec<_> = (0..6)
            .map(|n| GrantKey::new("fake", format!("user-{n}")))
            .collect();
        for key in &keys {
            manager.connect(key, fake.consent()).await.unwrap();
        }
        clock.advance(HOUR);
        (manager, fake, clock, keys)
    };
    fake.script([Next::Fail(Verdict::Ambiguous)]);
    fake.script(vec![
        Next::Fail(Verdict::Transient { retry_after: None });
        5
    ]);
    let first = tokio::spawn({
        let (manager, key) = (manager.clone(), keys[0].clone());
        async move { manager.token(&key).await.unwrap_err() }
    });
    fake.begun(1).await;
    for key in &keys[1..] {
        manager.token(key).await.unwrap_err();
    }
    let error = first.await.unwrap();
    assert!(error.to_string().contains("answer"), "{error}");
    assert_eq!(fake.exchanges(), 5);
}

/// A failure belongs to the grant that it happened to, not to its successor.
#[tokio::test]
async fn what_failed_for_the_old_tokens_does_not_hold_up_the_new() {
    let rig = Rig::connected().await;
    rig.until_due();
    rig.fake.hold();
    rig.token().await;
    rig.fake.begun(1).await;
    let anew = TokenResponse::new("anew")
        .refresh_token("other")
        .expires_in(Duration::from_secs(1))
        .obtained_at(Timestamp::from_unix_millis(0));
    rig.manager.connect(&rig.key, anew).await.unwrap();
    let long = Verdict::Transient {
        retry_after: Some(Duration::from_secs(600)),
    };
    rig.fake.script([Next::Fail(long)]);
    rig.fake.release(1_000);
    assert_eq!(rig.token().await, "a2");
}

/// Invariant 16, also where the answer says nothing of what became of the request.
#[tokio::test]
async fn a_service_that_asks_for_time_gets_it_whatever_else_it_says() {
    for rotation in [Rotation::Strict, Rotation::Reusable] {
        let clock = ManualClock::new();
        let server = AuthServer::builder()
            .clock(clock.clone())
            .access_ttl(HOUR)
            .start()
            .unwrap();
        let store = SealedStore::open(
            MemoryStore::with_clock(clock.clone()),
            KeyRing::generate().unwrap(),
        );
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(server.provider("demo").rotation(rotation))
            .clock(clock.clone())
            .build()
            .await
            .unwrap();
        let key = GrantKey::new("demo", "ada");
        manager
            .connect(&key, server.connect("ada").into())
            .await
            .unwrap();
        clock.advance(HOUR);
        let minute = Duration::from_secs(60);
        server.set_fault(Fault::status(503).retry_after(minute).times(1));
        for _ in 0..3 {
            let error = manager.token(&key).await.unwrap_err();
            let expected = Recovery::Retry {
                after: Some(minute),
            };
            assert_eq!(error.recovery(), expected, "{rotation:?}");
        }
        assert_eq!(server.counts().token_requests, 1, "{rotation:?}");
        clock.advance(minute);
        manager.token(&key).await.unwrap();
    }
}

/// Some services say with a success that a refresh token is dead.
#[tokio::test]
async fn a_success_that_brings_an_error_is_an_error() {
    let transport = tower::service_fn(|_: http::Request<Full<Bytes>>| async {
        let body = r#"{"error":"bad_refresh_token"}"#;
        Ok::<_, BoxError>(http::Response::new(Full::<Bytes>::from(body)))
    });
    let provider = OAuth2::new("fake", "https://auth.example.com/token")
        .public_client("me")
        .transport(transport);
    let clock = ManualClock::new();
    let store = SealedStore::open(
        MemoryStore::with_clock(clock.clone()),
        KeyRing::generate().unwrap(),
    );
    let manager = TokenManager::builder()
        .store(store.await.unwrap())
        .provider(provider)
        .clock(clock.clone())
        .build()
        .await
        .unwrap();
    let fake = Fake::new(HOUR);
    for n in 0..10 {
        let key = GrantKey::new("fake", format!("user-{n}"));
        manager.connect(&key, fake.consent()).await.unwrap();
        clock.advance(HOUR);
        let error = manager.token(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NeedsReauth);
    }
}
