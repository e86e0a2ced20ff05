//! Invariant 13, and what becomes of a grant after each verdict.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tests::fake::{Fake, Next};
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, EventKind, GrantKey, GrantState, KeyRing, MemoryStore, Provider, ReauthReason,
    Recovery, TokenLayer, TokenResponse, Verdict,
};

use crate::support::{API, Api, HOUR, Rig, manager_of};

const TRANSIENT: Verdict = Verdict::Transient { retry_after: None };

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whatever_a_refresh_comes_to_the_current_token_is_served_until_it_expires() {
    for verdict in [
        TRANSIENT,
        Verdict::Ambiguous,
        Verdict::Misconfigured,
        Verdict::UserAction,
        Verdict::Dead,
    ] {
        let rig = Rig::connected().await;
        rig.until_due();
        rig.fake.script([Next::Fail(verdict)]);
        for _ in 0..3 {
            assert_eq!(rig.token().await, "a0", "{verdict:?}");
            settle().await;
        }
        assert_eq!(rig.fake.exchanges(), 1, "{verdict:?}");
        rig.clock.advance(Duration::from_secs(239));
        assert_eq!(rig.token().await, "a0", "{verdict:?}");
    }
}

#[tokio::test]
async fn a_dead_grant_needs_reauth_and_connect_revives_it() {
    let mut rig = Rig::connected().await;
    rig.until_expired();
    rig.fake.script([Next::Fail(Verdict::Dead)]);
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.recovery()),
        (ErrorKind::NeedsReauth, Recovery::Reauthenticate)
    );
    assert!(
        rig.seen()
            .iter()
            .any(|e| matches!(e, EventKind::NeedsReauth { .. }))
    );
    let grants = rig.manager.grants("ada").await.unwrap();
    assert!(matches!(grants[0].state(), GrantState::NeedsReauth { .. }));
    assert!(!grants[0].can_refresh());
    // Nobody asks the token service again.
    rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(rig.fake.exchanges(), 1);

    rig.manager
        .connect(&rig.key, TokenResponse::new("anew").refresh_token("r"))
        .await
        .unwrap();
    assert_eq!(rig.token().await, "anew");
}

#[tokio::test]
async fn a_provider_may_want_nothing_served_of_a_dead_grant() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let (fake, ring) = (Fake::new(HOUR), KeyRing::generate().unwrap());
    let provider = || Provider::new("fake", fake.clone()).wipe_when_dead();
    let manager = manager_of(store.clone(), &ring, provider(), &clock).await;
    let key = GrantKey::new("fake", "ada");
    manager.connect(&key, fake.consent()).await.unwrap();
    clock.advance(HOUR - Duration::from_secs(240));
    fake.script([Next::Fail(Verdict::Dead)]);
    assert_eq!(manager.token(&key).await.unwrap().expose(), "a0");
    settle().await;
    let restarted = manager_of(store, &ring, provider(), &clock).await;
    for manager in [manager, restarted] {
        let error = manager.token(&key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NeedsReauth);
        let grants = manager.grants("ada").await.unwrap();
        assert!(matches!(grants[0].state(),
            GrantState::NeedsReauth { reason, .. } if reason == ReauthReason::Refused));
        manager.connect(&key, fake.consent()).await.unwrap();
        assert_eq!(manager.token(&key).await.unwrap().expose(), "a0");
        manager.disconnect(&key).await.unwrap();
        manager.connect(&key, fake.consent()).await.unwrap();
        clock.advance(HOUR);
        fake.script([Next::Fail(Verdict::Dead)]);
        manager.token(&key).await.unwrap_err();
    }
}

#[tokio::test]
async fn failures_back_off_and_say_when_to_come_again() {
    let rig = Rig::connected().await;
    rig.until_expired();
    let asked = Verdict::Transient {
        retry_after: Some(Duration::from_secs(20)),
    };
    rig.fake.script([Next::Fail(asked)]);
    for _ in 0..10 {
        let error = rig.manager.token(&rig.key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenService);
        let Recovery::Retry { after: Some(after) } = error.recovery() else {
            panic!("{error:?}");
        };
        assert!(after <= Duration::from_secs(20));
    }
    assert_eq!(rig.fake.exchanges(), 1);
    rig.clock.advance(Duration::from_secs(20));
    assert_eq!(rig.token().await, "a2");
}

/// Strict: a refresh token that may have been spent is sent again only when the access
/// token is about to expire, and then at once.
#[tokio::test]
async fn an_unknown_outcome_is_not_risked_while_the_token_is_good() {
    let mut rig = Rig::connected().await;
    rig.until_due();
    rig.fake.script([Next::Fail(Verdict::Ambiguous)]);
    // Called every second until a quarter of the five minutes is left.
    for _ in 0..164 {
        assert_eq!(rig.token().await, "a0");
        settle().await;
        rig.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(rig.fake.exchanges(), 1);
    let failed = |event: &EventKind| matches!(event, EventKind::RefreshFailed { .. });
    assert_eq!(rig.seen().iter().filter(|event| failed(event)).count(), 1);
    rig.clock.advance(Duration::from_secs(2));
    assert_eq!(rig.token().await, "a0");
    settle().await;
    assert_eq!(rig.token().await, "a2");
}

#[tokio::test]
async fn an_unknown_outcome_is_risked_for_a_token_that_was_refused() {
    let rig = Rig::connected().await;
    rig.until_due();
    rig.fake.script([Next::Fail(Verdict::Ambiguous)]);
    rig.token().await;
    settle().await;
    rig.clock.advance(Duration::from_secs(2));
    rig.token().await;
    settle().await;
    let api = Api::default();
    api.refuse("a0");
    let client = TokenLayer::new(&rig.manager).for_key(rig.key.clone());
    let request = Request::get(API).body(Full::<Bytes>::default()).unwrap();
    client.layer(api.service()).oneshot(request).await.unwrap();
    assert_eq!(api.tokens(), ["a0", "a2"]);
}

/// The refresh token of an answer is kept even if its access token cannot be used.
#[tokio::test]
async fn an_unusable_access_token_does_not_lose_the_refresh_token_beside_it() {
    let rig = Rig::connected().await;
    rig.until_due();
    rig.fake.script([Next::With(
        TokenResponse::new("not a token").refresh_token("r1"),
    )]);
    assert_eq!(rig.token().await, "a0");
    settle().await;
    assert_eq!(rig.token().await, "a0");
    rig.until_expired();
    assert_eq!(rig.token().await, "a2");
    assert_eq!(rig.fake.reused(), 0);
}

#[tokio::test]
async fn an_answer_without_optional_fields_keeps_what_was_there() {
    let rig = Rig::connected().await;
    rig.until_expired();
    rig.fake.script([Next::With(TokenResponse::new("bare"))]);
    assert_eq!(rig.token().await, "bare");
    assert!(rig.manager.grants("ada").await.unwrap()[0].can_refresh());
}
