//! A user who signs out everywhere is signed out everywhere, and nobody else is.

use std::time::Duration;

use axum::routing::get;
use axum_token::{
    CurrentSubject, Logout, SessionTokenLayer, SignIn, SignIns, TokenRejection, TrustedHeader,
    Visitor, sessions,
};
use futures_util::StreamExt as _;
use futures_util::future::{join_all, select_ok};
use http::{HeaderName, Method, StatusCode};
use tower_token::testkit::ManualClock;
use tower_token::{EventKind, GrantKey, KeyRing, SealedStore, Secret, TokenManager};

use crate::stamps_rig::{Fixed, Loads, found, stamps, visitor};
use crate::support::{Browser, Rig, TTL};

async fn stamped() -> (Rig, Browser) {
    let mut rig = Rig::new().await;
    rig.app.stamped = true;
    let layer = SessionTokenLayer::new(sessions::Sessions).sign_ins(&rig.sign_ins);
    let browser = Browser::new(rig.router_with(layer));
    (rig, browser)
}

#[tokio::test]
async fn every_session_of_hers_is_over_and_no_one_elses() {
    let (rig, mut phone) = stamped().await;
    rig.connect("ada").await;
    let (mut laptop, mut eve) = (phone.clone(), phone.clone());
    phone.sign_in("ada").await;
    laptop.sign_in("ada").await;
    eve.sign_in("eve").await;
    assert_eq!(laptop.get("/me").await.body, "ada");
    let copied = laptop.clone();

    let mut events = rig.manager.events(64);
    assert_eq!(phone.post("/leave").await.status, StatusCode::OK);
    for mut browser in [phone.clone(), laptop.clone(), copied] {
        assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(eve.get("/me").await.body, "eve");
    // What is left of her: nothing but the stamp.
    assert_eq!(rig.sessions.all().len(), 1);
    let grants = rig.manager.grants("ada").await.unwrap();
    let left: Vec<_> = grants.iter().map(|grant| grant.key().provider()).collect();
    assert_eq!(left, [SignIns::PROVIDER]);

    // The token service is told behind.
    while events.next().await.unwrap().kind != EventKind::Revoked {}
    assert!(!rig.server.is_connected("ada"));

    laptop.sign_in("ada").await;
    assert_eq!(laptop.get("/me").await.body, "ada");
    assert_eq!(laptop.get("/token").await.json()["code"], "not_connected");
}

/// Whoever is told that it failed still is signed in, and tries again.
#[tokio::test]
async fn leaving_is_done_or_can_be_done_again() {
    let rig = Rig::new().await;
    let (store, ring) = (Loads::default(), KeyRing::generate().unwrap());
    let build = || TokenManager::builder().clock(rig.clock.clone());
    let opened = SealedStore::open(store.clone(), ring.clone())
        .await
        .unwrap();
    let manager = build()
        .store(opened)
        .provider(SignIns::provider())
        .provider(rig.server.provider("demo"))
        .provider(rig.server.provider("other"))
        .build()
        .await
        .unwrap();
    let sign_ins = SignIns::new(&manager);
    let layer = SessionTokenLayer::new(Fixed(sign_ins.admit("ada").await.unwrap()));
    let layer = layer.sign_ins(&sign_ins);
    let keys = ["demo", "other"].map(|provider| GrantKey::new(provider, "ada"));
    let eve = GrantKey::new("demo", "eve");
    for key in keys.iter().chain([&eve]) {
        let tokens = rig.server.connect(key.subject()).into();
        manager.connect(key, tokens).await.unwrap();
    }
    let Some(Visitor::SignedIn(ada)) = found(&layer).await else {
        panic!("she is not signed in");
    };
    let leaving = || Logout::of(&ada).disconnect_all().everywhere(&sign_ins);

    store.set_broken(true);
    let failed = leaving().run(&manager).await.unwrap_err();
    assert!(matches!(failed, TokenRejection::TemporarilyUnavailable(_)));
    store.set_broken(false);
    assert_eq!(visitor(&layer).await, "SignedIn");

    // One of hers only.
    Logout::of(&ada)
        .disconnect("other")
        .run(&manager)
        .await
        .unwrap()
        .complete()
        .unwrap();
    assert!(manager.token(&keys[0]).await.is_ok());
    assert!(manager.token(&keys[1]).await.is_err());
    assert_eq!(visitor(&layer).await, "SignedIn");
    // And none.
    let none = Logout::of(&ada).run(&manager).await.unwrap();
    none.complete().unwrap();
    assert!(manager.token(&keys[0]).await.is_ok());

    // Of her grants only, the stamp is none of those.
    Logout::of(&ada)
        .disconnect_all()
        .run(&manager)
        .await
        .unwrap()
        .complete()
        .unwrap();
    assert!(manager.token(&keys[0]).await.is_err());
    assert_eq!(visitor(&layer).await, "SignedIn");
    let tokens = rig.server.connect("ada").into();
    manager.connect(&keys[0], tokens).await.unwrap();

    // A provider that is gone from the configuration keeps nobody from leaving, but says so.
    let opened = SealedStore::open(store.clone(), ring).await.unwrap();
    let without_demo = build()
        .store(opened)
        .provider(SignIns::provider())
        .provider(rig.server.provider("other"))
        .build()
        .await
        .unwrap();
    let outcome = leaving().run(&without_demo).await.unwrap();
    assert_eq!(outcome.left()[0].provider(), Some("demo"));
    assert_eq!(visitor(&layer).await, "Anonymous");
    assert!(manager.token(&eve).await.is_ok());
}

/// The handler that signs in again is not undone by the end of the session it came with.
#[tokio::test]
async fn whoever_was_signed_out_signs_in_again_at_once() {
    let (rig, mut ada) = stamped().await;
    ada.sign_in("ada").await;
    rig.sign_ins.sign_out_everywhere("ada").await.unwrap();
    ada.sign_in("ada").await;
    assert_eq!(ada.get("/me").await.body, "ada");
}

/// A session that was written back after it was deleted is still over.
#[tokio::test]
async fn a_session_that_comes_back_is_over_all_the_same() {
    let (rig, mut ada) = stamped().await;
    ada.sign_in("ada").await;
    let (cookies, session) = (ada.cookies.clone(), rig.sessions.record());
    ada.post("/leave").await;
    rig.sessions.put(session);
    ada.cookies = cookies;
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
}

/// From before stamps were asked for, or without the one that the application forgot.
#[tokio::test]
async fn a_session_without_a_stamp_is_over() {
    let (mut rig, _) = stamped().await;
    rig.app.stamped = false;
    let layer = SessionTokenLayer::new(sessions::Sessions).sign_ins(&rig.sign_ins);
    let mut ada = Browser::new(rig.router_with(layer));
    ada.sign_in("ada").await;
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
}

/// Nobody could ever be let in: that is no 401.
#[tokio::test]
async fn a_source_that_never_has_a_stamp_is_a_mistake_of_the_set_up() {
    let (rig, _) = stamped().await;
    let header = HeaderName::from_static("x-user");
    let layer = SessionTokenLayer::new(TrustedHeader::overwritten_by_proxy(header));
    let router = axum::Router::new()
        .route(
            "/me",
            get(async |user: CurrentSubject| user.as_str().to_owned()),
        )
        .layer(layer.sign_ins(&rig.sign_ins))
        .with_state(rig.app.clone());
    let mut browser = Browser::new(router);
    let answer = browser.send(Method::GET, "/me", &[("x-user", "ada")]).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    let nobody = browser.get("/me").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}

/// What a source of one's own keeps of a sign-in, and reads again.
#[tokio::test]
async fn a_source_of_ones_own_carries_the_stamp() {
    let (rig, _) = stamped().await;
    let who = rig.sign_ins.admit("ada").await.unwrap();
    let kept = who.stamp().unwrap().expose().to_owned();
    for (stamp, expected) in [
        (Some(Secret::from(kept.clone())), "SignedIn"),
        (Some(Secret::from("another")), "Anonymous"),
        // From before there were stamps.
        (None, "Anonymous"),
    ] {
        let read = SignIn::new("ada").with_stamp(stamp);
        let layer = SessionTokenLayer::new(Fixed(read)).sign_ins(&rig.sign_ins);
        assert_eq!(visitor(&layer).await, expected);
    }
    let unstamped = SessionTokenLayer::new(Fixed(SignIn::new("ada"))).sign_ins(&rig.sign_ins);
    assert_eq!(visitor(&unstamped).await, "Unknown");
}

/// The row of her stamp is damaged, or an old one, and she cannot repair it.
#[tokio::test]
async fn whose_stamp_cannot_be_read_signs_in_again() {
    for rolled_back in [false, true] {
        let (store, clock) = (Loads::default(), ManualClock::new());
        let ring = KeyRing::generate().unwrap();
        let of_all = stamps(store.clone(), &ring, &clock, SignIns::provider()).await;
        let span = Duration::from_secs(60);
        let checked = SignIns::provider_checked_every(span);
        let manager = stamps(store.clone(), &ring, &clock, checked).await;
        let sign_ins = SignIns::new(&manager);
        let before = store.rows().await;
        SignIns::new(&of_all).admit("ada").await.unwrap();
        let old = store.rows().await;
        sign_ins.sign_out_everywhere("ada").await.unwrap();
        let who = sign_ins.admit("ada").await.unwrap();
        if rolled_back {
            for (row, bytes) in old {
                store.forge(row, bytes);
            }
        } else {
            store.damage_new(&before).await;
        }
        clock.advance(2 * span);
        // Those who have a session keep it, and are not let in with what is not known.
        let layer = SessionTokenLayer::new(Fixed(who)).sign_ins(&sign_ins);
        assert_eq!(visitor(&layer).await, "Unknown");
        let who = sign_ins.admit("ada").await.unwrap();
        let again = SessionTokenLayer::new(Fixed(who)).sign_ins(&sign_ins);
        assert_eq!(visitor(&again).await, "SignedIn");
        // The stamp is another one.
        assert_eq!(visitor(&layer).await, "Anonymous");
    }
}

/// A store that answers slowly about one user.
#[tokio::test]
async fn a_first_sign_in_waits_for_nobody_elses() {
    let (store, clock) = (Loads::default(), ManualClock::new());
    let ring = KeyRing::generate().unwrap();
    let manager = stamps(store.clone(), &ring, &clock, SignIns::provider()).await;
    let sign_ins = SignIns::new(&manager);
    let (begins, go) = store.pause();
    let others = async {
        begins.await.unwrap();
        // Some of them may share a lock with her, but not all.
        let users = (0..64).map(|user| format!("user-{user}"));
        let admitted = users.map(|user| {
            let sign_ins = sign_ins.clone();
            Box::pin(async move { sign_ins.admit(&user).await })
        });
        let (admitted, _) = select_ok(admitted).await.unwrap();
        go.send(()).unwrap();
        admitted
    };
    let (ada, other) = tokio::join!(sign_ins.admit("ada"), others);
    assert_eq!(ada.unwrap().subject(), "ada");
    assert_ne!(other.subject(), "ada");
}

/// As an application does that disconnects every grant it finds.
#[tokio::test]
async fn a_stamp_that_is_gone_only_ends_sessions() {
    let (rig, mut ada) = stamped().await;
    ada.sign_in("ada").await;
    let stamp = GrantKey::new(SignIns::PROVIDER, "ada");
    rig.manager.disconnect(&stamp).await.unwrap();
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
    ada.sign_in("ada").await;
    assert_eq!(ada.get("/me").await.body, "ada");
}

#[tokio::test]
async fn first_sign_ins_at_once_do_not_end_each_other() {
    let (store, clock) = (Loads::default(), ManualClock::new());
    let ring = KeyRing::generate().unwrap();
    let manager = stamps(store, &ring, &clock, SignIns::provider()).await;
    let sign_ins = SignIns::new(&manager);
    let admitted = (0..20).map(|_| sign_ins.admit("ada"));
    for who in join_all(admitted).await {
        let layer = SessionTokenLayer::new(Fixed(who.unwrap())).sign_ins(&sign_ins);
        assert_eq!(visitor(&layer).await, "SignedIn");
    }
}

#[tokio::test]
async fn a_check_is_a_look_up_in_memory_and_a_failure_ends_nothing() {
    let store = Loads::default();
    let clock = ManualClock::new();
    let ring = KeyRing::generate().unwrap();
    let manager = stamps(store.clone(), &ring, &clock, SignIns::provider()).await;
    let sign_ins = SignIns::new(&manager);
    let who = sign_ins.admit("ada").await.unwrap();
    let source = Fixed(who);
    let layer = SessionTokenLayer::new(source.clone()).sign_ins(&sign_ins);
    let before = store.loads();
    for _ in 0..1_000 {
        assert_eq!(visitor(&layer).await, "SignedIn");
    }
    clock.advance(100 * TTL);
    assert_eq!(visitor(&layer).await, "SignedIn");
    println!("1001 checks: {} reads of the store", store.loads() - before);
    assert_eq!(store.loads(), before);

    // After a restart it is in the store only, and that cannot be reached.
    let manager = stamps(store.clone(), &ring, &clock, SignIns::provider()).await;
    let layer = SessionTokenLayer::new(source).sign_ins(&SignIns::new(&manager));
    store.set_broken(true);
    assert_eq!(visitor(&layer).await, "Unknown");
    store.set_broken(false);
    clock.advance(Duration::from_secs(60));
    assert_eq!(visitor(&layer).await, "SignedIn");
}

/// Two instances on one store: by default one never looks again, and it is said so.
#[tokio::test]
async fn another_instance_sees_it_within_the_span_that_was_set() {
    let span = Duration::from_secs(300);
    for (checked, expected) in [(false, "SignedIn"), (true, "Anonymous")] {
        let provider = || {
            if checked {
                SignIns::provider_checked_every(span)
            } else {
                SignIns::provider()
            }
        };
        let (store, clock) = (Loads::default(), ManualClock::new());
        let ring = KeyRing::generate().unwrap();
        let one = SignIns::new(&stamps(store.clone(), &ring, &clock, provider()).await);
        let two = SignIns::new(&stamps(store.clone(), &ring, &clock, provider()).await);
        let who = one.admit("ada").await.unwrap();
        let layer = SessionTokenLayer::new(Fixed(who)).sign_ins(&two);
        assert_eq!(visitor(&layer).await, "SignedIn");
        // Checked again and again, it stays good.
        for _ in 0..5 {
            clock.advance(span);
            assert_eq!(visitor(&layer).await, "SignedIn");
        }
        one.sign_out_everywhere("ada").await.unwrap();
        clock.advance(span);
        assert_eq!(visitor(&layer).await, expected);
    }
}
