//! Signing out here, at the provider, and by the provider.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_token::KeyRing;

use crate::oauth_rig::{Asked, CLIENT, ISSUER, Service, form, unix_now};
use crate::stamps_rig::Loads;
use crate::support::{Answer, Browser, ORIGIN};

async fn signed_in(service: &Service, router: &Router, user: &str) -> Browser {
    let mut browser = Browser::new(router.clone());
    let back = service.sign_in(&mut browser, user).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    browser
}

async fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/me").await.status == StatusCode::OK
}

async fn is_connected(service: &Service, user: &str) -> bool {
    let grants = service.rig.manager.grants(user).await.unwrap();
    grants.iter().any(|grant| grant.key().provider() == "demo")
}

#[tokio::test]
async fn a_logout_ends_the_session_here_and_goes_on_to_the_provider() {
    let service = Service::new().await;
    let router = service.router().await;
    let mut ada = signed_in(&service, &router, "ada").await;
    let mut elsewhere = signed_in(&service, &router, "ada").await;
    let out = ada.post("/auth/demo/logout").await;
    assert_eq!(out.status, StatusCode::OK, "{}", out.body);
    assert_eq!(out.json()["location"], "/auth/demo/end-session");
    assert!(!out.body.contains("ey"), "the page gets no token");
    assert!(!is_signed_in(&mut ada).await);
    // Only here; and work that is done for them goes on.
    assert!(is_signed_in(&mut elsewhere).await);
    assert!(is_connected(&service, "ada").await);

    let on = ada.get("/auth/demo/end-session").await;
    assert_eq!(on.status, StatusCode::SEE_OTHER);
    let (endpoint, query) = on.header("location").split_once('?').unwrap();
    assert_eq!(endpoint, format!("{ISSUER}/end"));
    let said = form(query.as_bytes());
    assert_eq!(said["client_id"], CLIENT);
    assert_eq!(said["post_logout_redirect_uri"], format!("{ORIGIN}/"));
    assert_eq!(said["id_token_hint"].split('.').count(), 3);
    assert!(ada.cookies.is_empty(), "{:?}", ada.cookies);

    // Once, and not for somebody who was only sent there.
    let again = ada.get("/auth/demo/end-session").await;
    assert_eq!(again.header("location"), format!("{ORIGIN}/"));
    let nobody = ada.post("/auth/demo/logout").await;
    assert_eq!(nobody.status, StatusCode::OK, "{}", nobody.body);
}

/// A URL has an end, and so has a cookie.
#[tokio::test]
async fn an_id_token_that_is_too_long_to_travel_is_left_out() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    for (letters, has_hint) in [(1_000, true), (1_600, false), (4_000, false)] {
        let asked = Asked::by(&mut ada, "/auth/demo").await;
        let mut consent = asked.consent("ada");
        consent.claims = json!({ "groups": "x".repeat(letters) });
        let code = service.code(consent);
        ada.get(&asked.callback(&code)).await;
        assert!(is_signed_in(&mut ada).await);
        ada.post("/auth/demo/logout").await;
        let on = ada.get("/auth/demo/end-session").await;
        let location = on.header("location");
        assert!(
            location.starts_with(&format!("{ISSUER}/end?")),
            "{location}"
        );
        assert_eq!(location.contains("id_token_hint"), has_hint, "{letters}");
    }
}

/// Somebody may try again.
#[tokio::test]
async fn a_logout_that_could_not_be_done_leaves_the_session() {
    let (store, ring) = (Loads::default(), KeyRing::generate().unwrap());
    let service = Service::on(&store, &ring).await;
    let provider = service.op.provider("demo").await.signs_in();
    let router = service.router_of(provider.disconnects_at_logout());
    let mut ada = signed_in(&service, &router, "ada").await;
    store.set_broken(true);
    let out = ada.post("/auth/demo/logout").await;
    assert_eq!(out.status, StatusCode::SERVICE_UNAVAILABLE, "{}", out.body);
    store.set_broken(false);
    assert!(is_signed_in(&mut ada).await && is_connected(&service, "ada").await);
    assert_eq!(ada.post("/auth/demo/logout").await.status, StatusCode::OK);
    assert!(!is_signed_in(&mut ada).await && !is_connected(&service, "ada").await);
}

#[tokio::test]
async fn a_logout_everywhere_ends_all_sessions_and_the_grant_if_it_is_told_to() {
    let service = Service::new().await;
    let provider = service.op.provider("demo").await;
    let router = service.router_of(provider.signs_in().disconnects_at_logout());
    let mut ada = signed_in(&service, &router, "ada").await;
    let mut elsewhere = signed_in(&service, &router, "ada").await;
    let mut eve = signed_in(&service, &router, "eve").await;
    let out = ada.post("/auth/demo/logout?everywhere=true").await;
    assert_eq!(out.status, StatusCode::OK, "{}", out.body);
    assert!(!is_signed_in(&mut ada).await);
    assert!(!is_signed_in(&mut elsewhere).await);
    assert!(!is_connected(&service, "ada").await);
    assert!(is_signed_in(&mut eve).await && is_connected(&service, "eve").await);
}

#[tokio::test]
async fn what_is_to_end_has_to_be_said_clearly() {
    let service = Service::new().await;
    let router = service.router().await;
    let mut ada = signed_in(&service, &router, "ada").await;
    for query in [
        "everywhere=1",
        "everywhere=",
        "everywhere=true&everywhere=true",
    ] {
        let unclear = ada.post(&format!("/auth/demo/logout?{query}")).await;
        assert_eq!(unclear.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(is_signed_in(&mut ada).await);
    }
    let out = ada.post("/auth/demo/logout?everywhere=false").await;
    assert_eq!(out.status, StatusCode::OK, "{}", out.body);
    assert!(!is_signed_in(&mut ada).await);
}

#[tokio::test]
async fn a_user_disconnects_and_stays_signed_in() {
    let service = Service::new().await;
    let router = service.router().await;
    let mut ada = signed_in(&service, &router, "ada").await;
    let headers = [("sec-fetch-site", "same-origin"), ("x-csrf", "1")];
    let gone = ada.send(Method::DELETE, "/auth/demo", &headers).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.body);
    assert!(is_signed_in(&mut ada).await && !is_connected(&service, "ada").await);
    // The provider is told behind.
    let told = async {
        while service.rig.server.counts().revocations == 0 {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, told).await.unwrap();
}

/// As the provider does: no cookie, no page.
async fn told(router: &Router, token: &str) -> Answer {
    told_by(
        router,
        "application/x-www-form-urlencoded",
        &format!("logout_token={token}"),
    )
    .await
}

async fn told_by(router: &Router, kind: &str, body: &str) -> Answer {
    let mut provider = Browser::new(router.clone());
    let headers = [("content-type", kind)];
    let body = Body::from(body.to_owned());
    let path = "/auth/demo/backchannel-logout";
    provider.send_body(Method::POST, path, &headers, body).await
}

#[tokio::test]
async fn a_logout_token_ends_every_session_and_the_grant() {
    let service = Service::new().await;
    let router = service.router().await;
    let mut ada = signed_in(&service, &router, "ada").await;
    let mut elsewhere = signed_in(&service, &router, "ada").await;
    let mut eve = signed_in(&service, &router, "eve").await;
    let token = service.op.logout_token(&json!({}));
    let answer = told(&router, &token).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!is_signed_in(&mut ada).await && !is_signed_in(&mut elsewhere).await);
    assert!(!is_connected(&service, "ada").await);
    assert!(is_signed_in(&mut eve).await && is_connected(&service, "eve").await);

    // She comes back, and the token comes again.
    service.sign_in(&mut ada, "ada").await;
    let before = service.rig.stored().await;
    let replayed = told(&router, &token).await;
    assert_eq!(
        replayed.status,
        StatusCode::BAD_REQUEST,
        "{}",
        replayed.body
    );
    assert_eq!(service.rig.stored().await, before);
    assert!(is_signed_in(&mut ada).await);
    let another = service.op.logout_token(&json!({ "jti": "jti-2" }));
    assert_eq!(told(&router, &another).await.status, StatusCode::OK);
    assert!(!is_signed_in(&mut ada).await);
}

#[tokio::test]
async fn no_other_logout_token_ends_anything() {
    let service = Service::new().await;
    let router = service.router().await;
    let mut ada = signed_in(&service, &router, "ada").await;
    let before = service.rig.stored().await;
    let now = unix_now();
    let events = "http://schemas.openid.net/event/backchannel-logout";
    let wrong: Vec<Value> = vec![
        json!({ "iss": "https://other.example" }),
        json!({ "aud": "another-client" }),
        json!({ "aud": ["another-client"] }),
        json!({ "aud": null }),
        json!({ "exp": now - 1 }),
        json!({ "iat": now - 3_600, "exp": now + 60 }),
        json!({ "iat": now + 3_600, "exp": now + 7_200 }),
        json!({ "iat": null }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "sub": null, "sid": null }),
        // Whose session it is is not kept.
        json!({ "sub": null }),
        json!({ "events": null }),
        json!({ "events": {} }),
        json!({ "events": [events] }),
        json!({ "events": { "http://schemas.openid.net/event/other": {} } }),
        // Then it may be an id token.
        json!({ "nonce": "n" }),
    ];
    for changed in &wrong {
        let token = service.op.logout_token(changed);
        let answer = told(&router, &token).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{changed}: {}",
            answer.body
        );
        assert_eq!(answer.json()["error"], "invalid_request");
    }
    let good = service.op.logout_token(&json!({}));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = input.split_once('.').unwrap();
    let claims_of = |changed: Value| {
        let other = service.op.logout_token(&changed);
        other.split('.').nth(1).unwrap().to_owned()
    };
    let none = "eyJhbGciOiJub25lIn0";
    for token in [
        String::new(),
        "x".into(),
        "..".into(),
        input.to_owned(),
        format!("{input}."),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!(
            "{header}.{}.{signature}",
            claims_of(json!({ "sub": "eve" }))
        ),
        format!("{good}.x"),
        "a".repeat(100_000),
    ] {
        let answer = told(&router, &token).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    for (kind, body) in [
        (
            "application/json",
            format!("{{\"logout_token\":\"{good}\"}}"),
        ),
        ("text/plain", format!("logout_token={good}")),
        ("application/x-www-form-urlencoded", String::new()),
        (
            "application/x-www-form-urlencoded",
            format!("logout_token={good}&logout_token={good}"),
        ),
        (
            "application/x-www-form-urlencoded",
            format!("logout_token={good}&x={}", "y".repeat(200_000)),
        ),
    ] {
        let answer = told_by(&router, kind, &body).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{kind} {}",
            answer.body
        );
    }
    assert_eq!(service.rig.stored().await, before);
    assert!(is_signed_in(&mut ada).await && is_connected(&service, "ada").await);
    // None of them has used it up.
    assert_eq!(told(&router, &good).await.status, StatusCode::OK);
}
