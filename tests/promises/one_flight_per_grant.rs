//! Invariants 7 to 9: one flight per grant and process, one exchange per grant.

use std::time::Duration;

use tests::fake::Next;
use tower_token::{ErrorKind, EventKind, Recovery};

use crate::support::Rig;

#[tokio::test]
async fn any_number_of_callers_make_one_exchange() {
    let mut rig = Rig::connected().await;
    rig.until_expired();
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let (manager, key) = (rig.manager.clone(), rig.key.clone());
            tokio::spawn(async move { manager.token(&key).await.unwrap().expose().to_owned() })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "a1");
    }
    assert_eq!(rig.fake.exchanges(), 1);
    let waited = rig
        .seen()
        .into_iter()
        .filter(|e| matches!(e, EventKind::Waited { .. }))
        .count();
    assert!(waited > 0);
}

#[tokio::test]
async fn two_managers_over_one_store_make_one_exchange() {
    let rig = Rig::connected().await;
    let sibling = rig.sibling().await;
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
    // The outcome of that exchange is unknown; the token has expired, so it is risked.
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
    let failed = EventKind::RefreshFailed {
        cause: ErrorKind::TokenService,
    };
    assert!(rig.seen().contains(&failed));
    assert_eq!(rig.token().await, "a0");
}
