//! A handler that asks for a token gets one that is valid, or is not run.

use http::StatusCode;
use tower_token::testkit::Fault;

use crate::support::{Rig, TTL};

#[tokio::test]
async fn refreshed_before_if_it_has_expired() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let mut ada = rig.ada().await;
    let first = ada.get("/token").await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(ada.get("/token").await.body, first.body);
    assert_eq!(rig.server.counts().refreshes_ok, 0);

    rig.clock.advance(TTL);
    let second = ada.get("/token").await;
    assert_eq!(second.status, StatusCode::OK);
    assert_ne!(second.body, first.body);
    assert_eq!(rig.server.counts().refreshes_ok, 1);
    assert_eq!(ada.get("/named/demo").await.body, second.body);
}

#[tokio::test]
async fn each_user_gets_their_own() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    rig.connect("eve").await;
    let mut ada = rig.ada().await;
    let mut eve = rig.browser();
    eve.sign_in("eve").await;
    let (hers, other) = (ada.get("/token").await.body, eve.get("/token").await.body);
    assert_ne!(hers, other);
    assert_eq!(ada.get("/me").await.body, "ada");
    assert_eq!(eve.get("/me").await.body, "eve");
}

/// `None` is where the user can do something; what may pass stays an error.
#[tokio::test]
async fn an_optional_token_is_none_only_where_the_user_can_change_that() {
    let rig = Rig::new().await;
    let mut nobody = rig.browser();
    let mut ada = rig.ada().await;
    assert_eq!(nobody.get("/optional").await.body, "none");
    assert_eq!(ada.get("/optional").await.body, "none");

    rig.connect("ada").await;
    assert_eq!(ada.get("/optional").await.body, "some");

    rig.clock.advance(TTL);
    rig.server.set_fault(Fault::status(503));
    let answer = ada.get("/optional").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));

    rig.server.clear_fault();
    rig.server.revoke_grant("ada");
    rig.clock.advance(TTL);
    assert_eq!(ada.get("/optional").await.body, "none");

    rig.sessions.set_broken(true);
    let answer = ada.get("/optional").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_asks_for_nobody_is_served_whatever_is_broken() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    rig.sessions.set_broken(true);
    assert_eq!(ada.get("/public").await.body, "public");
    assert_eq!(ada.get("/me").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
