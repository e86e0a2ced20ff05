//! Invariants 7 to 9: one flight per grant and process, one exchange per grant.

use std::time::Duration;

use tests::fake::{Fake, Next};
use tests::flaky::Flaky;
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, EventKind, GrantKey, KeyRing, MemoryStore, Recovery, TokenManager, TokenResponse,
    Verdict,
};

use crate::support::{HOUR, Rig, manager};

#[tokio::test]
async fn any_number_of_callers_make_one_exchange() {
    let mut rig = Rig::connected().await;
    rig.until_expired();
    rig.fake.hold();
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let (manager, key) = (rig.manager.clone(), rig.key.clone());
            tokio::spawn(async move { manager.token(&key).await.unwrap().expose().to_owned() })
        })
        .collect();
    rig.fake.begun(1).await;
    // Every one of them finds the exchange under way.
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    rig.fake.release(1_000);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "a1");
    }
    assert_eq!(rig.fake.exchanges(), 1);
    let waited = rig
        .seen()
        .into_iter()
        .filter(|e| matches!(e, EventKind::Waited { .. }))
        .count();
    assert_eq!(waited, 1_000);
}

#[tokio::test]
async fn two_managers_over_one_store_make_one_exchange() {
    let rig = Rig::connected().await;
    let sibling = rig.sibling().await;
    let mut events = sibling.events(64);
    sibling.token(&rig.key).await.unwrap();
    rig.until_expired();
    rig.fake.hold();
    let ours = tokio::spawn({
        let (manager, key) = (rig.manager.clone(), rig.key.clone());
        async move { manager.token(&key).await.unwrap().expose().to_owned() }
    });
    rig.fake.begun(1).await;
    let theirs = tokio::spawn({
        let key = rig.key.clone();
        async move { sibling.token(&key).await.unwrap().expose().to_owned() }
    });
    // The sibling finds the lease held, and waits for the change.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    rig.fake.release(2);
    assert_eq!(ours.await.unwrap(), "a1");
    assert_eq!(theirs.await.unwrap(), "a1");
    assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
    let seen: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    let times = |wanted: fn(&EventKind) -> bool| seen.iter().filter(|e| wanted(&e.kind)).count();
    assert_eq!(times(|kind| *kind == EventKind::LostRace), 1);
    assert_eq!(times(|kind| matches!(kind, EventKind::Adopted { .. })), 1);
}

/// The lease only avoids work: with it lost, the intent still keeps the second one out.
#[tokio::test(start_paused = true)]
async fn nobody_sends_a_refresh_token_under_anothers_live_intent() {
    let rig = Rig::connected().await;
    let sibling = rig.sibling().await;
    rig.until_expired();
    rig.fake.hold();
    let ours = tokio::spawn({
        let (manager, key) = (rig.manager.clone(), rig.key.clone());
        async move {
            manager
                .token(&key)
                .await
                .map(|token| token.expose().to_owned())
        }
    });
    rig.fake.begun(1).await;
    // The lease runs out, as if its holder were paused; the intent lives for 30 s.
    rig.clock.advance(Duration::from_secs(7));
    let theirs = tokio::spawn({
        let key = rig.key.clone();
        async move {
            sibling
                .token(&key)
                .await
                .map(|token| token.expose().to_owned())
        }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.fake.exchanges(), 1);
    rig.fake.release(2);
    assert_eq!(ours.await.unwrap().unwrap(), "a1");
    assert_eq!(theirs.await.unwrap().unwrap(), "a1");
    assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_has_its_own_deadline_and_the_flight_goes_on() {
    let rig = Rig::connected().await;
    rig.until_expired();
    rig.fake.hold();
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(matches!(error.recovery(), Recovery::Retry { .. }));
    rig.fake.release(1);
    assert_eq!(rig.token().await, "a1");
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test]
async fn a_panic_in_a_provider_wakes_the_waiters_and_frees_the_grant() {
    let rig = Rig::connected().await;
    rig.until_expired();
    rig.fake.script([Next::Panic]);
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenService);
    // Left alone for a moment, as after any failure. Its outcome is unknown; the token has
    // expired, so it is risked.
    rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(rig.fake.exchanges(), 1);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(rig.token().await, "a2");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_hangs_ends_by_its_own_time_out() {
    let mut rig = Rig::connected().await;
    rig.until_due();
    rig.fake.hold();
    rig.token().await;
    rig.fake.begun(1).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(rig.seen().iter().any(|event| matches!(
        event,
        EventKind::RefreshFailed {
            cause: ErrorKind::TokenService,
            ..
        }
    )));
    assert_eq!(rig.token().await, "a0");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_is_given_what_came_meanwhile() {
    let rig = Rig::connected().await;
    rig.until_expired();
    rig.fake.hold();
    let waiter = tokio::spawn({
        let (manager, key) = (rig.manager.clone(), rig.key.clone());
        async move {
            manager
                .token(&key)
                .await
                .map(|token| token.expose().to_owned())
        }
    });
    rig.fake.begun(1).await;
    let anew = TokenResponse::new("anew")
        .refresh_token("other")
        .expires_in(HOUR);
    rig.manager.connect(&rig.key, anew).await.unwrap();
    // Its exchange hangs until the waiter's deadline, and the user connected meanwhile.
    assert_eq!(waiter.await.unwrap().unwrap(), "anew");
}

#[tokio::test]
async fn waiters_of_a_flight_during_which_the_user_connected_are_served() {
    let rig = Rig::connected().await;
    rig.until_expired();
    rig.fake.hold();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let (manager, key) = (rig.manager.clone(), rig.key.clone());
            tokio::spawn(async move { manager.token(&key).await.unwrap().expose().to_owned() })
        })
        .collect();
    rig.fake.begun(1).await;
    let anew = TokenResponse::new("anew")
        .refresh_token("other")
        .expires_in(HOUR);
    rig.manager.connect(&rig.key, anew).await.unwrap();
    rig.fake.release(1);
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), "anew");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_no_caller_beyond_its_deadline() {
    let clock = ManualClock::new();
    let store = Flaky::new(MemoryStore::with_clock(clock.clone()));
    let fake = Fake::new(HOUR);
    let manager = manager(store.clone(), &KeyRing::generate().unwrap(), &fake, &clock).await;
    store.hang();
    let error = manager
        .token(&GrantKey::new("fake", "ada"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

/// Two siblings that both came to spend one refresh token: one was paused past its lease and
/// its intent's deadline, and is answered last, with what reuse is answered with.
struct Siblings {
    rig: Rig,
    late: tokio::task::JoinHandle<Result<String, ErrorKind>>,
    other: TokenManager,
    others: Fake,
}

async fn one_paused_in_its_exchange() -> Siblings {
    let rig = Rig::connected().await;
    let others = Fake::new(HOUR);
    let other = manager(rig.store.clone(), &rig.ring, &others, &rig.clock).await;
    rig.until_expired();
    rig.fake.hold();
    rig.fake.script([Next::Fail(Verdict::Dead)]);
    let late = tokio::spawn({
        let (manager, key) = (rig.manager.clone(), rig.key.clone());
        async move {
            let token = manager.token(&key).await.map_err(|error| error.kind())?;
            Ok(token.expose().to_owned())
        }
    });
    rig.fake.begun(1).await;
    rig.clock.advance(Duration::from_secs(40));
    Siblings {
        rig,
        late,
        other,
        others,
    }
}

#[tokio::test]
async fn a_loser_takes_the_winners_tokens_and_declares_nobody_dead() {
    let Siblings {
        rig, late, other, ..
    } = one_paused_in_its_exchange().await;
    assert_eq!(other.token(&rig.key).await.unwrap().expose(), "a1");
    rig.fake.release(1);
    assert_eq!(late.await.unwrap().unwrap(), "a1");
    assert!(rig.manager.grants("ada").await.unwrap()[0].can_refresh());
}

#[tokio::test]
async fn nobody_is_declared_dead_while_a_siblings_exchange_is_under_way() {
    let Siblings {
        rig,
        late,
        other,
        others,
    } = one_paused_in_its_exchange().await;
    others.hold();
    let winner = tokio::spawn({
        let key = rig.key.clone();
        async move { other.token(&key).await.unwrap().expose().to_owned() }
    });
    others.begun(1).await;
    rig.fake.release(1);
    assert_eq!(late.await.unwrap().unwrap_err(), ErrorKind::TokenService);
    others.release(1);
    assert_eq!(winner.await.unwrap(), "a1");
    assert!(rig.manager.grants("ada").await.unwrap()[0].can_refresh());
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(rig.token().await, "a1");
}
