//! Invariants 17 and 18: when a refresh begins, and what a caller notices of it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tests::fake::Next;
use tower::{Layer as _, ServiceExt as _};
use tower_token::{EventKind, TokenLayer, TokenRequest, TokenResponse};

use crate::support::{API, Api, Rig};

#[tokio::test]
async fn a_due_token_is_served_at_once_and_refreshed_behind() {
    let mut rig = Rig::connected().await;
    rig.until_due();
    rig.fake.hold();
    for _ in 0..10 {
        assert_eq!(rig.token().await, "a0");
    }
    rig.fake.begun(1).await;
    rig.fake.release(1);
    while rig.token().await == "a0" {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.fake.exchanges(), 1);
    let seen = rig.seen();
    assert!(
        !seen
            .iter()
            .any(|event| matches!(event, EventKind::Waited { .. })),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_caller_who_needs_validity_waits_for_it_and_only_once() {
    let mut rig = Rig::connected().await;
    rig.clock.advance(Duration::from_secs(1_800));
    let half_an_hour = Duration::from_secs(1_900);
    let token = rig
        .manager
        .token_valid_for(&rig.key, half_an_hour)
        .await
        .unwrap();
    assert_eq!(token.expose(), "a1");
    assert!(rig.seen().iter().any(|event| matches!(
        event,
        EventKind::Waited {
            token_was_usable: true,
            ..
        }
    )));
    // More than this service ever issues is not asked of it: the token serves until due.
    for _ in 0..3 {
        let token = rig
            .manager
            .token_valid_for(&rig.key, Duration::from_secs(7_200))
            .await;
        assert_eq!(token.unwrap().expose(), "a1");
    }
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test]
async fn a_request_says_how_long_it_needs_its_token() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    rig.clock.advance(Duration::from_secs(1_800));
    for needs in [0, 60, 2_000] {
        let wanted = TokenRequest::new(rig.key.clone()).min_validity(Duration::from_secs(needs));
        let request = Request::get(API)
            .extension(wanted)
            .body(Full::default())
            .unwrap();
        client.clone().oneshot(request).await.unwrap();
    }
    assert_eq!(api.tokens(), ["a0", "a0", "a1"]);
}

#[tokio::test]
async fn a_token_without_an_expiry_is_used_until_it_is_refused() {
    let rig = Rig::connected().await;
    rig.until_expired();
    rig.fake
        .script([Next::With(TokenResponse::new("for-ever"))]);
    assert_eq!(rig.token().await, "for-ever");
    rig.clock
        .advance(Duration::from_secs(10 * 365 * 24 * 3_600));
    assert_eq!(rig.token().await, "for-ever");
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test]
async fn an_hour_of_sleep_is_noticed() {
    // The manual clock stands for one that counts suspend: the next call sees the time.
    let rig = Rig::connected().await;
    assert_eq!(rig.token().await, "a0");
    rig.until_expired();
    assert_eq!(rig.token().await, "a1");
}
