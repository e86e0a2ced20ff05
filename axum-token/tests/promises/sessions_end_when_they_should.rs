//! A session ends when its user ends it, and otherwise only where the service chose so.

use axum_token::{SessionTokenLayer, sessions};
use http::StatusCode;
use tower_token::testkit::Fault;

use crate::support::{Broken, Browser, Rig, TTL};

#[tokio::test]
async fn signing_out_ends_it_and_the_browser_lets_go_of_its_cookie() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    let copied = ada.clone();
    let answer = ada.post("/logout").await;
    assert_eq!(answer.status, StatusCode::OK);
    let removal = answer.header("set-cookie");
    for attribute in ["__Host-session=", "Path=/", "Max-Age=0", "Secure"] {
        assert!(removal.contains(attribute), "{removal}");
    }
    assert!(ada.cookies.is_empty());
    assert!(rig.sessions.all().is_empty());
    for mut browser in [ada, copied] {
        assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn the_cookie_is_as_it_should_be() {
    let rig = Rig::new().await;
    let answer = rig.browser().post("/login/ada").await;
    let cookie = answer.header("set-cookie");
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-session="), "{cookie}");
    let mut attributes: Vec<_> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);

    let local = "http://127.0.0.1:3000".parse().unwrap();
    let layer = sessions::layer(&local, rig.sessions.clone());
    let router = axum::Router::new()
        .route(
            "/login",
            axum::routing::post(|session: tower_sessions::Session| async move {
                sessions::sign_in(&session, "ada").await
            }),
        )
        .layer(layer);
    let answer = Browser::new(router).post("/login").await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("session="), "{cookie}");
    assert!(!cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn a_grant_that_has_ended_leaves_the_session_unless_told_otherwise() {
    for ends in [false, true] {
        let rig = Rig::new().await;
        rig.connect("ada").await;
        let layer = SessionTokenLayer::new(sessions::Sessions);
        let layer = if ends {
            layer.end_session_on_needs_reauth("demo")
        } else {
            // Another provider's grant is not the sign-in.
            layer.end_session_on_needs_reauth("other")
        };
        let mut ada = Browser::new(rig.router_with(layer));
        ada.sign_in("ada").await;
        rig.server.revoke_grant("ada");
        rig.clock.advance(TTL);
        let answer = ada.get("/token").await;
        assert_eq!(answer.json()["code"], "needs_reauth");
        assert_eq!(rig.sessions.all().is_empty(), ends);
        assert_eq!(ada.cookies.is_empty(), ends);
        let me = ada.get("/me").await;
        assert_eq!(me.status == StatusCode::UNAUTHORIZED, ends);
    }
}

/// The handler has dealt with it.
#[tokio::test]
async fn a_page_that_does_without_the_token_ends_nothing() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let layer = SessionTokenLayer::new(sessions::Sessions).end_session_on_needs_reauth("demo");
    let mut ada = Browser::new(rig.router_with(layer));
    ada.sign_in("ada").await;
    rig.server.revoke_grant("ada");
    rig.clock.advance(TTL);
    assert_eq!(ada.get("/optional").await.body, "none");
    assert_eq!(ada.get("/me").await.body, "ada");
}

/// Nor does a user who never connected lose theirs.
#[tokio::test]
async fn a_temporary_failure_never_ends_a_session() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let layer = SessionTokenLayer::new(sessions::Sessions).end_session_on_needs_reauth("demo");
    let mut ada = Browser::new(rig.router_with(layer));
    ada.sign_in("ada").await;
    let before = rig.sessions.all();
    let cookies = ada.cookies.clone();

    rig.clock.advance(TTL);
    rig.server.set_fault(Fault::status(503));
    assert_eq!(
        ada.get("/token").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    rig.server.set_fault(Fault::lost_answer());
    assert_eq!(
        ada.get("/token").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    rig.sessions.set_broken(true);
    assert_eq!(
        ada.get("/token").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        ada.get("/optional").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    rig.sessions.set_broken(false);
    assert_eq!(ada.get("/named/nobody").await.status, 500);

    assert_eq!(rig.sessions.all(), before);
    assert_eq!(ada.cookies, cookies);
    assert_eq!(ada.get("/me").await.body, "ada");
}

/// A store that cannot delete: whoever wants to leave is told, and can try again.
#[tokio::test]
async fn a_sign_out_that_fails_says_so() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    rig.sessions.set_broken(true);
    let answer = ada.post("/logout").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    rig.sessions.set_broken(false);
    assert_eq!(ada.post("/logout").await.status, StatusCode::OK);
    assert!(rig.sessions.all().is_empty());
}

/// All of it can be tried again: she is who she was, with what was in her session.
#[tokio::test]
async fn a_store_that_cannot_be_written_ends_nothing() {
    let mut rig = Rig::new().await;
    rig.app.stamped = true;
    rig.connect("ada").await;
    let layer = SessionTokenLayer::new(sessions::Sessions)
        .sign_ins(&rig.sign_ins)
        .end_session_on_needs_reauth("demo");
    let mut ada = Browser::new(rig.router_with(layer));
    ada.sign_in("ada").await;
    ada.post("/note/mine").await;
    let (before, cookies) = (rig.sessions.all(), ada.cookies.clone());

    rig.sessions.set(Broken::Writes);
    for path in ["/logout", "/login/ada", "/login/eve"] {
        let answer = ada.post(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.json()["code"], "temporarily_unavailable");
        assert_eq!(answer.header("set-cookie"), "");
    }
    rig.server.revoke_grant("ada");
    rig.clock.advance(TTL);
    let refused = ada.get("/token").await;
    assert_eq!(refused.json()["code"], "needs_reauth");
    assert_eq!(rig.sessions.all(), before);
    assert_eq!(ada.cookies, cookies);
    rig.sessions.set(Broken::Nothing);
    assert_eq!(ada.get("/me").await.body, "ada");
    assert_eq!(ada.get("/note").await.body, "mine");

    // A session that is over, and cannot be removed: nobody's, and pages go on.
    rig.sign_ins.sign_out_everywhere("ada").await.unwrap();
    rig.sessions.set(Broken::Writes);
    assert_eq!(ada.get("/public").await.body, "public");
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(rig.sessions.all(), before);
    rig.sessions.set(Broken::Nothing);
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert!(rig.sessions.all().is_empty());
}

/// The layer of the sessions writes after the handler, and answers failures with an empty 500.
#[tokio::test]
async fn a_sign_in_that_cannot_be_stored_says_so() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    rig.sessions.set(Broken::Creates);
    for browser in [&mut ada, &mut rig.browser()] {
        let answer = browser.post("/login/ada").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.json()["code"], "temporarily_unavailable");
        let me = browser.get("/me").await;
        assert_eq!(me.status, StatusCode::UNAUTHORIZED);
    }
    // Her earlier session has gone first: it must not live beside the new one.
    assert!(rig.sessions.all().is_empty());
    rig.sessions.set(Broken::Nothing);
    ada.sign_in("ada").await;
    assert_eq!(ada.get("/me").await.body, "ada");
}

/// A store that recovers between the failed removal and the answer: nothing empties the row.
#[tokio::test]
async fn a_removal_that_fails_leaves_the_data() {
    let rig = Rig::new().await;
    let store = rig.sessions.clone();
    let broken = rig.sessions.clone();
    let leave = async move |session: tower_sessions::Session| {
        broken.set(Broken::Writes);
        let failed = sessions::sign_out(&session).await.is_err();
        broken.set(Broken::Nothing);
        failed.to_string()
    };
    let router = rig.router().merge(
        axum::Router::new()
            .route("/try", axum::routing::post(leave))
            .layer(sessions::layer(
                &crate::support::ORIGIN.parse().unwrap(),
                store,
            )),
    );
    let mut ada = Browser::new(router);
    ada.sign_in("ada").await;
    ada.post("/note/mine").await;
    assert_eq!(ada.post("/try").await.body, "true");
    assert_eq!(ada.get("/me").await.body, "ada");
    assert_eq!(ada.get("/note").await.body, "mine");
}
