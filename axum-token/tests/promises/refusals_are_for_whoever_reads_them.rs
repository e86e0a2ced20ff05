//! A person is sent to a page, a program gets a problem document, and nobody gets details.

use axum_token::{CurrentSubject, SessionTokenLayer, TrustedHeader};
use http::{Method, StatusCode};
use tower_token::testkit::Fault;

use crate::support::{Browser, HTML, Rig, TTL};

#[tokio::test]
async fn a_person_is_sent_to_sign_in_or_to_connect() {
    let rig = Rig::new().await;
    let accept = [("accept", HTML), ("sec-fetch-mode", "navigate")];
    let answer = rig.browser().send(Method::GET, "/token", &accept).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/login");
    assert_eq!(answer.header("vary"), "accept, sec-fetch-mode");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.body, "");

    let mut ada = rig.ada().await;
    let answer = ada.send(Method::GET, "/token", &accept).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/connect/demo");
    // A provider without a page of its own, and a token that is asked for by name.
    let answer = ada.send(Method::GET, "/named/demo", &accept).await;
    assert_eq!(answer.header("location"), "/connect/demo");
}

#[tokio::test]
async fn a_program_gets_a_problem_document() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    for headers in [
        &[][..],
        &[("accept", "application/json")],
        &[("accept", "text/html;q=0.5, application/json;q=0.6")],
        &[("accept", HTML), ("sec-fetch-mode", "cors")],
    ] {
        let answer = rig.browser().send(Method::GET, "/token", headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{headers:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.headers.contains_key("www-authenticate"));
        assert_eq!(answer.json()["code"], "login_required");
        assert_eq!(answer.json()["status"], 401);
        let answer = ada.send(Method::GET, "/token", headers).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["code"], "not_connected");
        assert_eq!(answer.json()["provider"], "demo");
    }
}

#[tokio::test]
async fn what_may_pass_says_when_to_come_back() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let mut ada = rig.ada().await;
    rig.clock.advance(TTL);
    let wait = std::time::Duration::from_millis(30_400);
    rig.server.set_fault(Fault::status(503).retry_after(wait));
    let accept = [("accept", HTML)];
    let answer = ada.send(Method::GET, "/token", &accept).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "31");
    assert_eq!(answer.json()["code"], "temporarily_unavailable");
    // What is left of it, up to a whole second: never too early.
    for (passed, expected) in [(500, "31"), (500, "30"), (29_900, "1")] {
        rig.clock.advance(std::time::Duration::from_millis(passed));
        let answer = ada.get("/token").await;
        assert_eq!(answer.header("retry-after"), expected);
    }
}

#[tokio::test]
async fn what_is_set_up_wrongly_says_nothing_about_it() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    let unknown = ada.get("/named/no-such-provider").await;
    // No layer found out who it is.
    let bare = axum::Router::new()
        .route(
            "/me",
            axum::routing::get(|_: axum_token::CurrentSubject| async {}),
        )
        .with_state(rig.app.tokens.clone());
    let without_layer = Browser::new(bare).get("/me").await;
    for answer in [unknown, without_layer] {
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            answer.json(),
            serde_json::json!({"title": "Internal Server Error", "status": 500, "code": "internal"})
        );
    }
}

/// A proxy that adds its header beside the client's, or is got round.
#[tokio::test]
async fn an_identity_that_is_not_believed_is_not_nobodys() {
    let rig = Rig::new().await;
    let name = http::HeaderName::from_static("x-user");
    let layer = SessionTokenLayer::new(TrustedHeader::overwritten_by_proxy(name));
    let who = async |user: Option<CurrentSubject>| {
        user.map_or_else(|| String::from("nobody"), |user| user.as_str().into())
    };
    let router = axum::Router::new()
        .route("/", axum::routing::get(who))
        .route("/public", axum::routing::get(async || "public"))
        .layer(layer)
        .with_state(rig.app.tokens.clone());
    let mut client = Browser::new(router);
    for (headers, expected) in [
        (&[][..], "nobody"),
        (&[("x-user", "ada")], "ada"),
        (&[("X-User", "ada")], "ada"),
    ] {
        assert_eq!(client.send(Method::GET, "/", headers).await.body, expected);
    }
    for headers in [
        &[("x-user", "ada"), ("x-user", "eve")][..],
        &[("x-user", "")],
        &[("x-user", "ad\u{e4}")],
    ] {
        let answer = client.send(Method::GET, "/", headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(answer.json()["code"], "identity_refused");
        assert!(!answer.body.contains("ada"));
        let answer = client.send(Method::GET, "/public", headers).await;
        assert_eq!(answer.body, "public");
    }
}
