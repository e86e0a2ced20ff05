//! Against the routes of Mesh: each is refused, and leaves what is stored as it was.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_token::testkit::MeshBroker;
use tower_token::{GrantKey, TokenResponse};

use crate::mesh_rig::{MeshRig, connections, delete, send};
use crate::support::{Browser, HTML, ORIGIN};

const CSRF: (&str, &str) = ("x-csrf", "1");
const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Ada with a connection, and Eve without.
async fn users() -> (MeshRig, Browser, Browser, String) {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let eve = rig.signed_in("eve").await;
    let payload = rig.consent("ada", MeshBroker::Northwind);
    send(&mut ada, "/mesh/connections", &payload).await;
    let id = connections(&mut ada).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    (rig, ada, eve, id)
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let (rig, mut ada, _, id) = users().await;
    let payload = rig.consent("mallory", MeshBroker::Lakeside).to_string();
    let before = rig.stored().await;
    let asked = rig.server.counts().link_tokens;
    let one = format!("/mesh/connections/{id}");
    let mut refused = 0;
    for (method, path) in [
        (Method::POST, "/mesh/link-token"),
        (Method::POST, "/mesh/connections"),
        (Method::POST, "/mesh/access-tokens"),
        (Method::DELETE, one.as_str()),
    ] {
        for headers in [
            &[JSON][..],
            &[JSON, CSRF],
            &[JSON, SAME],
            &[
                ("content-type", "text/plain"),
                ("origin", "https://evil.example"),
            ],
            &[JSON, ("origin", "https://evil.example"), CSRF],
            &[JSON, ("sec-fetch-site", "same-site"), CSRF],
            &[
                JSON,
                ("sec-fetch-site", "cross-site"),
                ("origin", ORIGIN),
                CSRF,
            ],
        ] {
            let body = Body::from(payload.clone());
            let answer = ada.send_body(method.clone(), path, headers, body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert_eq!(answer.header("cache-control"), "no-store");
            refused += 1;
        }
    }
    println!("{refused} cross-site requests refused");
    assert_eq!(rig.stored().await, before);
    assert_eq!(rig.server.counts().link_tokens, asked);
    assert_eq!(rig.server.counts().refresh_requests, 0);
}

#[tokio::test]
async fn nobody_who_is_not_signed_in_gets_anything() {
    let (rig, _, _, id) = users().await;
    let payload = rig.consent("mallory", MeshBroker::Lakeside);
    let before = rig.stored().await;
    let mut nobody = rig.browser();
    nobody.cookies.insert(
        String::from("__Host-session"),
        String::from("AAAAAAAAAAAAAAAAAAAAAA"),
    );
    let answers = [
        nobody.post("/mesh/link-token").await,
        send(&mut nobody, "/mesh/connections", &payload).await,
        nobody.get("/mesh/connections").await,
        nobody.post("/mesh/access-tokens").await,
        delete(&mut nobody, &id).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["code"], "login_required");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(rig.stored().await, before);
}

/// A payload is for the user who is signed in: whoever else it names, it is refused.
#[tokio::test]
async fn a_payload_for_another_user_is_refused() {
    let (rig, mut ada, mut eve, _) = users().await;
    let payload = rig.consent("eve", MeshBroker::Lakeside);
    let before = rig.stored().await;
    for (pointer, field) in [
        ("", "userId"),
        ("", "user"),
        ("", "subject"),
        ("", "sub"),
        ("", "UserId"),
        ("/accessToken", "userId"),
        ("/accessToken", "subject"),
        ("/accessToken", "user_id"),
    ] {
        let mut named = payload.clone();
        named.pointer_mut(pointer).unwrap()[field] = json!("ada");
        let answer = send(&mut eve, "/mesh/connections", &named).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        assert_eq!(answer.json()["code"], "invalid_payload");
    }
    for path in ["/mesh/link-token", "/mesh/access-tokens"] {
        let answer = send(&mut eve, path, &json!({ "userId": "ada" })).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(rig.stored().await, before);
    assert_eq!(rig.server.counts_of("ada").link_tokens, 0);

    // Under her own name it is hers, whatever the path or a header says.
    let headers = [
        SAME,
        CSRF,
        JSON,
        ("x-user", "ada"),
        ("x-forwarded-user", "ada"),
    ];
    let path = "/mesh/connections?userId=ada&subject=ada";
    let body = Body::from(payload.to_string());
    let answer = eve.send_body(Method::POST, path, &headers, body).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(connections(&mut eve).await.len(), 1);
    assert_eq!(connections(&mut ada).await.len(), 1);
}

#[tokio::test]
async fn an_id_is_good_for_its_own_user_only() {
    let (rig, mut ada, mut eve, id) = users().await;
    let before = rig.stored().await;
    let long = "x".repeat(4_000);
    for id in [&*id, "unknown", "..", "%2e%2e", "%ff", "%00", &long] {
        let answer = delete(&mut eve, id).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
    }
    assert_eq!(
        eve.post("/mesh/access-tokens").await.json(),
        json!({ "accessTokens": [] })
    );
    assert_eq!(rig.stored().await, before);
    assert_eq!(connections(&mut ada).await.len(), 1);
}

/// Of the user's grants at other providers the routes know nothing.
#[tokio::test]
async fn what_was_connected_elsewhere_is_out_of_reach() {
    let (rig, mut ada, _, _) = users().await;
    let other = GrantKey::new("other", "ada").with_connection("elsewhere");
    let token = "the-token-of-elsewhere";
    rig.manager
        .connect(&other, TokenResponse::new(token))
        .await
        .unwrap();
    let before = rig.stored().await;
    assert_eq!(connections(&mut ada).await.len(), 1);
    let answer = delete(&mut ada, "elsewhere").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = ada.post("/mesh/access-tokens").await;
    assert!(!answer.body.contains(token));
    assert_eq!(rig.stored().await, before);
}

#[tokio::test]
async fn what_is_no_payload_is_refused() {
    let (rig, _, mut eve, _) = users().await;
    let good = rig.consent("eve", MeshBroker::Lakeside);
    let before = rig.stored().await;
    let many: Vec<_> = (0..65)
        .map(|n| json!({"account": {"accountId": n.to_string()}, "accessToken": "t"}))
        .collect();
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    for payload in [
        json!(null),
        json!([]),
        json!({}),
        json!({ "accessToken": {} }),
        with("/accessToken/accountTokens", json!([])),
        with("/accessToken/accountTokens", json!(many)),
        with("/accessToken/accountTokens/0/accessToken", json!("")),
        with("/accessToken/accountTokens/0/account/accountId", json!(7)),
        with("/accessToken/brokerType", json!("x".repeat(257))),
    ] {
        let answer = send(&mut eve, "/mesh/connections", &payload).await;
        let status = answer.status;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{payload}");
    }
    let huge = with("/accessToken/brokerBrandInfo", json!("x".repeat(256 << 10)));
    let answer = send(&mut eve, "/mesh/connections", &huge).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let headers = [SAME, CSRF, ("content-type", "text/plain")];
    let body = Body::from(good.to_string());
    let path = "/mesh/connections";
    let answer = eve.send_body(Method::POST, path, &headers, body).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(rig.stored().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_fills_the_store() {
    let rig = MeshRig::new().await;
    let mut eve = rig.signed_in("eve").await;
    let payload = |n: u32| {
        let accounts: Vec<_> = (0..32)
            .map(|m| json!({"account": {"accountId": format!("{n}-{m}")}, "accessToken": "t"}))
            .collect();
        json!({"accessToken": {
            "accountTokens": accounts, "brokerBrandInfo": {},
            "brokerType": "b", "brokerName": "B",
        }})
    };
    // All at once: the bound holds for what is under way as well.
    let sent: Vec<_> = (0..6)
        .map(|n| {
            let (mut eve, payload) = (eve.clone(), payload(n));
            tokio::spawn(async move { send(&mut eve, "/mesh/connections", &payload).await.status })
        })
        .collect();
    let mut taken = Vec::new();
    for (n, status) in sent.into_iter().enumerate() {
        match status.await.unwrap() {
            StatusCode::CREATED => taken.push(n as u32),
            status => assert_eq!(status, StatusCode::CONFLICT),
        }
    }
    assert_eq!(taken.len(), 2);
    assert_eq!(connections(&mut eve).await.len(), 64);
    let before = rig.stored().await;
    let answer = send(&mut eve, "/mesh/connections", &payload(7)).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert_eq!(rig.stored().await, before);
    // What is there can still be renewed.
    let answer = send(&mut eve, "/mesh/connections", &payload(taken[0])).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(connections(&mut eve).await.len(), 64);
}

/// A token that no header can carry is refused before anything is connected.
#[tokio::test]
async fn a_payload_with_one_bad_token_connects_nothing() {
    let rig = MeshRig::new().await;
    let mut eve = rig.signed_in("eve").await;
    let mut payload = rig.consent("eve", MeshBroker::Northwind);
    let accounts = &mut payload["accessToken"]["accountTokens"];
    accounts[0]["refreshToken"] = json!("one-of-its-own");
    accounts[1]["accessToken"] = json!("bad\ntoken");
    let before = rig.stored().await;
    let answer = send(&mut eve, "/mesh/connections", &payload).await;
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        answer.body
    );
    assert_eq!(rig.stored().await, before);
}

/// One route has access tokens, none has a refresh token, and no refusal has anything.
#[tokio::test]
async fn tokens_are_in_one_answer_only() {
    let (rig, mut ada, _, id) = users().await;
    let payload = rig.consent("ada", MeshBroker::Lakeside);
    let entry = &payload["accessToken"]["accountTokens"][0];
    let access = entry["accessToken"].as_str().unwrap();
    let refresh = entry["refreshToken"].as_str().unwrap();
    assert!(access.len() > 20 && refresh.len() > 20);
    let mut broken = payload.clone();
    broken["accessToken"]["brokerType"] = json!(null);
    let html = [("accept", HTML), ("sec-fetch-mode", "navigate")];
    let mut nobody = rig.browser();
    let answers = [
        send(&mut ada, "/mesh/connections", &broken).await,
        send(&mut nobody, "/mesh/connections", &payload).await,
        send(&mut ada, "/mesh/connections", &payload).await,
        ada.get("/mesh/connections").await,
        ada.send(Method::GET, "/mesh/connections", &html).await,
        ada.post("/mesh/link-token").await,
        delete(&mut ada, &id).await,
    ];
    for answer in &answers {
        let shown = format!("{:?} {}", answer.headers, answer.body);
        assert!(
            !shown.contains(access) && !shown.contains(refresh),
            "{shown}"
        );
    }
    let tokens = ada.post("/mesh/access-tokens").await;
    assert_eq!(tokens.header("cache-control"), "no-store");
    assert!(tokens.body.contains(access));
    assert!(!tokens.body.contains(refresh));
}
