//! `GET /user` says who, and what is connected, and nothing that is secret.

use axum_token::SignIns;
use serde_json::{Value, json};
use tower_token::GrantKey;

use crate::proxy_rig::ProxyRig;
use crate::support::Browser;

fn states(user: &Value) -> Value {
    let connections = user["connections"].as_array().unwrap();
    let pairs = connections
        .iter()
        .map(|it| (it["provider"].as_str().unwrap(), &it["state"]));
    pairs
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_iter()
        .map(|(a, b)| json!([a, b]))
        .collect()
}

#[tokio::test]
async fn nobody_and_somebody() {
    let rig = ProxyRig::new().await;
    let mut nobody = Browser::new(rig.router(rig.routes()));
    let answer = nobody.get("/user").await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({"signed_in": false}))
    );
    assert_eq!(answer.header("cache-control"), "no-store");

    let mut ada = rig.signed_in("ada").await;
    let missing = json!({"provider": "demo", "state": "not_connected", "connect": "/auth/demo"});
    let narrow = json!({"provider": "narrow", "state": "not_connected"});
    let expected = json!({"signed_in": true, "subject": "ada", "connections": [missing, narrow]});
    assert_eq!(ada.get("/user").await.json(), expected);

    rig.connect("demo", "ada").await;
    let work = GrantKey::new("narrow", "ada").with_connection("work");
    rig.manager
        .connect(&work, rig.server.connect("ada").into())
        .await
        .unwrap();
    SignIns::new(&rig.manager).admit("ada").await.unwrap();
    let answer = ada.get("/user").await;
    let active = json!({"provider": "demo", "state": "active", "connect": "/auth/demo"});
    let work = json!({"provider": "narrow", "connection": "work", "state": "active"});
    let expected = json!({"signed_in": true, "subject": "ada", "connections": [active, work]});
    assert_eq!(answer.json(), expected);
    assert!(!answer.body.contains(SignIns::PROVIDER));
}

#[tokio::test]
async fn a_grant_that_has_ended_or_cannot_be_read() {
    let mut rig = ProxyRig::new().await;
    let before = rig.stored().await;
    let mut ada = rig.user("ada").await;
    rig.server.revoke_grant("ada");
    rig.clock.advance(std::time::Duration::from_secs(100_000));
    rig.manager
        .token(&GrantKey::new("demo", "ada"))
        .await
        .unwrap_err();
    let ended = json!([["demo", "needs_reauth"], ["narrow", "not_connected"]]);
    assert_eq!(states(&ada.get("/user").await.json()), ended);

    rig.grants.damage_new(&before).await;
    rig.restart().await;
    let mut ada = rig.signed_in("ada").await;
    let unknown = json!([["demo", "unknown"], ["narrow", "not_connected"]]);
    assert_eq!(states(&ada.get("/user").await.json()), unknown);

    rig.grants.set_broken(true);
    let answer = ada.get("/user").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_ne!(answer.header("retry-after"), "");
}
