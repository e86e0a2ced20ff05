//! A user connects at Mesh once, comes back with good tokens, and leaves.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::{Value, json};
use tower_token::EventKind;
use tower_token::testkit::{Fault, MeshBroker};

use crate::mesh_rig::{LIFE, MeshRig, connections, delete, send};

fn texts(list: &Value, name: &str) -> Vec<String> {
    let list = list.as_array().unwrap().iter();
    list.map(|entry| entry[name].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn from_the_link_token_to_the_disconnect() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;

    let answer = ada.post("/mesh/link-token").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.json()["linkToken"].as_str().unwrap().is_empty());
    assert_eq!(rig.server.counts_of("ada").link_tokens, 1);
    assert_eq!(connections(&mut ada).await, [] as [Value; 0]);

    let payload = rig.consent("ada", MeshBroker::Northwind);
    let answer = send(&mut ada, "/mesh/connections", &payload).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let made = answer.json()["connections"].clone();
    assert_eq!(made, json!(connections(&mut ada).await));
    let one = &made[0];
    let accounts = &payload["accessToken"]["accountTokens"];
    let expected: Vec<_> = accounts
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            json!({
                "accountId": entry["account"]["accountId"],
                "accountName": entry["account"]["accountName"],
            })
        })
        .collect();
    assert_eq!(one["accounts"], json!(expected));
    assert_eq!(one["brokerType"], "sandbox");
    assert_eq!(one["brokerName"], "Northwind Exchange");
    assert_eq!(one["state"], "active");
    let now = one["refreshedAt"].as_u64().unwrap();
    let life = u64::try_from(LIFE.as_millis()).unwrap();
    assert_eq!(one["expiresAt"].as_u64().unwrap(), now + life);

    // They come back: at once, and when the tokens have expired.
    let answer = ada.post("/mesh/access-tokens").await;
    let first = answer.json()["accessTokens"].clone();
    assert_eq!(texts(&first, "accessToken"), texts(accounts, "accessToken"));
    assert_eq!(texts(&first, "accountId").len(), 2);
    assert_eq!(first[0]["brokerType"], "sandbox");
    assert_eq!(first[0]["brokerName"], "Northwind Exchange");
    assert_eq!(rig.server.counts().refresh_requests, 0);
    rig.clock.advance(LIFE - Duration::from_secs(30));
    let answer = ada.post("/mesh/access-tokens").await;
    let second = answer.json()["accessTokens"].clone();
    assert_eq!(texts(&second, "accountId"), texts(&first, "accountId"));
    assert_ne!(texts(&second, "accessToken"), texts(&first, "accessToken"));
    assert_eq!(rig.server.counts().refreshes_ok, 1);
    let listed = &connections(&mut ada).await[0];
    assert!(listed["refreshedAt"].as_u64().unwrap() > now);
    assert_eq!(listed["id"], one["id"]);

    let mut events = rig.manager.events(64);
    let id = one["id"].as_str().unwrap();
    assert_eq!(delete(&mut ada, id).await.status, StatusCode::NO_CONTENT);
    assert_eq!(connections(&mut ada).await, [] as [Value; 0]);
    let none = ada.post("/mesh/access-tokens").await;
    assert_eq!(none.json(), json!({ "accessTokens": [] }));
    while events.next().await.unwrap().kind != EventKind::Revoked {}
    assert!(!rig.server.is_connected("ada", MeshBroker::Northwind));
    assert_eq!(delete(&mut ada, id).await.status, StatusCode::NOT_FOUND);
    assert_eq!(rig.server.counts().reuse_detected, 0);
}

#[tokio::test]
async fn who_connects_the_same_accounts_again_has_one_connection() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let path = "/mesh/connections";
    let first = rig.consent("ada", MeshBroker::Northwind);
    let made = send(&mut ada, path, &first).await.json()["connections"].clone();
    let second = rig.consent("ada", MeshBroker::Northwind);
    let mut second_of_same = second.clone();
    // The accounts of the first consent, under new tokens, in another order.
    let entries = second_of_same["accessToken"]["accountTokens"]
        .as_array_mut()
        .unwrap();
    for (entry, old) in entries
        .iter_mut()
        .zip(first["accessToken"]["accountTokens"].as_array().unwrap())
    {
        entry["account"] = old["account"].clone();
    }
    entries.reverse();
    let again = send(&mut ada, path, &second_of_same).await.json()["connections"].clone();
    assert_eq!(again[0]["id"], made[0]["id"]);
    assert_eq!(connections(&mut ada).await.len(), 1);
    let tokens = ada.post("/mesh/access-tokens").await.json()["accessTokens"].clone();
    let mut sent = texts(&second["accessToken"]["accountTokens"], "accessToken");
    sent.sort();
    let mut shown = texts(&tokens, "accessToken");
    shown.sort();
    assert_eq!(shown, sent);

    // Another broker is another connection.
    let other = rig.consent("ada", MeshBroker::Lakeside);
    send(&mut ada, path, &other).await;
    assert_eq!(connections(&mut ada).await.len(), 2);
}

/// A page that reports its success twice, as some do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_payload_twice_at_once_is_one_connection() {
    let rig = MeshRig::new().await;
    let ada = rig.signed_in("ada").await;
    for payload in [
        rig.consent("ada", MeshBroker::Northwind),
        serde_json::from_str(
            rig.server
                .connect_later("ada", MeshBroker::Lakeside)
                .expose(),
        )
        .unwrap(),
    ] {
        let before = connections(&mut ada.clone()).await.len();
        let sent: Vec<_> = (0..8)
            .map(|_| {
                let (mut ada, payload) = (ada.clone(), payload.clone());
                tokio::spawn(async move { send(&mut ada, "/mesh/connections", &payload).await })
            })
            .collect();
        for answer in sent {
            assert_eq!(answer.await.unwrap().status, StatusCode::CREATED);
        }
        assert_eq!(connections(&mut ada.clone()).await.len(), before + 1);
    }
}

/// Accounts that shared a refresh token, and now have one each: none is lost.
#[tokio::test]
async fn a_connection_that_comes_apart_is_two() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let mut payload = rig.consent("ada", MeshBroker::Northwind);
    let path = "/mesh/connections";
    let made = send(&mut ada, path, &payload).await.json()["connections"].clone();
    payload["accessToken"]["accountTokens"][0]["refreshToken"] = json!("one-of-its-own");
    rig.clock.advance(Duration::from_secs(1));
    for _ in 0..2 {
        let apart = send(&mut ada, path, &payload).await.json()["connections"].clone();
        assert_eq!(apart.as_array().unwrap().len(), 2);
        let listed = connections(&mut ada).await;
        assert_eq!(listed.len(), 2, "{listed:?}");
        assert!(listed.iter().any(|it| it["id"] == made[0]["id"]));
        assert!(
            listed
                .iter()
                .all(|it| it["accounts"].as_array().unwrap().len() == 1)
        );
    }
}

/// The second login at a broker, before the first is confirmed or after.
#[tokio::test]
async fn a_consent_that_is_confirmed_later_becomes_a_connection_and_stays() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let later = || {
        let payload = rig.server.connect_later("ada", MeshBroker::Northwind);
        serde_json::from_str::<Value>(payload.expose()).unwrap()
    };
    let answer = send(&mut ada, "/mesh/connections", &later()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(connections(&mut ada).await[0]["accounts"], json!([]));
    let tokens = ada.post("/mesh/access-tokens").await.json()["accessTokens"].clone();
    assert_eq!(texts(&tokens, "accountId").len(), 2);

    rig.clock.advance(Duration::from_secs(1));
    send(&mut ada, "/mesh/connections", &later()).await;
    let listed = connections(&mut ada).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["accounts"].as_array().unwrap().len(), 2);
}

/// A page that is loaded anew, or a try that arrives late, hands out what it had before: what
/// it began with has been spent since.
#[tokio::test]
async fn a_payload_that_comes_again_later_costs_nobody_their_connection() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let path = "/mesh/connections";
    let later = rig.server.connect_later("ada", MeshBroker::Lakeside);
    let payloads = [
        rig.consent("ada", MeshBroker::Northwind),
        serde_json::from_str(later.expose()).unwrap(),
    ];
    for payload in &payloads {
        let answer = send(&mut ada, path, payload).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
    for _ in 0..2 {
        rig.clock.advance(LIFE);
        let tokens = ada.post("/mesh/access-tokens").await.json();
        assert_eq!(texts(&tokens["accessTokens"], "accountId").len(), 3);
        assert!(tokens.get("incomplete").is_none());
        for payload in &payloads {
            let answer = send(&mut ada, path, payload).await;
            assert_eq!(answer.status, StatusCode::CREATED);
            let same = answer.json()["connections"].clone();
            assert_eq!(same.as_array().unwrap().len(), 1);
        }
        let listed = connections(&mut ada).await;
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().all(|one| one["state"] == "active"));
    }
    assert_eq!(rig.server.counts().reuse_detected, 0);
}

/// Two payloads of one consent: its refresh token stays in one place.
#[tokio::test]
async fn accounts_that_come_one_by_one_are_one_connection() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let whole = rig.consent("ada", MeshBroker::Northwind);
    for n in 0..2 {
        let mut payload = whole.clone();
        let one = whole["accessToken"]["accountTokens"][n].clone();
        payload["accessToken"]["accountTokens"] = json!([one]);
        let answer = send(&mut ada, "/mesh/connections", &payload).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
    let listed = connections(&mut ada).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["accounts"].as_array().unwrap().len(), 2);
    rig.clock.advance(LIFE);
    let tokens = ada.post("/mesh/access-tokens").await.json();
    assert_eq!(texts(&tokens["accessTokens"], "accountId").len(), 2);
    assert_eq!(rig.server.counts().refreshes_ok, 1);
    assert_eq!(rig.server.counts().reuse_detected, 0);
}

/// A consent to one account says nothing of another that was connected with it.
#[tokio::test]
async fn who_connects_one_of_two_accounts_again_keeps_the_other() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let mut payload = rig.consent("ada", MeshBroker::Northwind);
    send(&mut ada, "/mesh/connections", &payload).await;
    let accounts = &mut payload["accessToken"]["accountTokens"];
    let one = accounts[0].clone();
    *accounts = json!([one]);
    accounts[0]["refreshToken"] = json!("another");
    accounts[0]["accessToken"] = json!("another-access");
    rig.clock.advance(Duration::from_secs(1));
    send(&mut ada, "/mesh/connections", &payload).await;
    let tokens = ada.post("/mesh/access-tokens").await.json()["accessTokens"].clone();
    assert_eq!(texts(&tokens, "accountId").len(), 2);
    assert!(texts(&tokens, "accessToken").contains(&"another-access".to_owned()));
    // Each account stands in one connection.
    let listed = connections(&mut ada).await;
    let accounts = listed
        .iter()
        .map(|one| one["accounts"].as_array().unwrap().len());
    assert_eq!(accounts.collect::<Vec<_>>(), [1, 1]);
}

/// Accounts that were two connections and are one: Mesh is not told to remove them.
#[tokio::test]
async fn connections_that_come_together_are_one_and_nothing_is_removed() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let whole = rig.consent("ada", MeshBroker::Northwind);
    for n in 0..2 {
        let mut payload = whole.clone();
        let mut one = whole["accessToken"]["accountTokens"][n].clone();
        one["refreshToken"] = json!(format!("alone-{n}"));
        payload["accessToken"]["accountTokens"] = json!([one]);
        send(&mut ada, "/mesh/connections", &payload).await;
    }
    assert_eq!(connections(&mut ada).await.len(), 2);
    send(&mut ada, "/mesh/connections", &whole).await;
    let listed = connections(&mut ada).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["accounts"].as_array().unwrap().len(), 2);
    let grants = rig.manager.grants("ada").await.unwrap();
    assert_eq!(grants.len(), 1);
    rig.clock.advance(Duration::from_secs(3_600));
    rig.manager.sweep().await.unwrap();
    rig.manager.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(rig.server.counts().removals, 0);
    assert!(rig.server.is_connected("ada", MeshBroker::Northwind));
}

#[tokio::test]
async fn the_pages_time_only_makes_tokens_older() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let payload = rig.consent("ada", MeshBroker::Lakeside);
    let life = u64::try_from(LIFE.as_millis()).unwrap();
    let sent = send(&mut ada, "/mesh/connections", &payload).await.json();
    let end = sent["connections"][0]["expiresAt"].as_u64().unwrap();
    let now = end - life;
    for (received, expected) in [
        (now - 5_000, end - 5_000),
        (now, end),
        (now + 3_600_000, end),
        (u64::MAX, end),
    ] {
        let mut payload = rig.consent("ada", MeshBroker::Lakeside);
        payload["receivedAt"] = json!(received);
        let sent = send(&mut ada, "/mesh/connections", &payload).await.json();
        assert_eq!(sent["connections"][0]["expiresAt"], expected);
    }
}

/// One broker that cannot be asked does not keep the others' tokens back, and one that has
/// ended is not an error.
#[tokio::test]
async fn what_can_be_had_is_answered() {
    let rig = MeshRig::new().await;
    let mut ada = rig.signed_in("ada").await;
    let first = rig.consent("ada", MeshBroker::Northwind);
    send(&mut ada, "/mesh/connections", &first).await;
    rig.clock.advance(LIFE);
    rig.server.set_fault(Fault::status(503));
    let answer = ada.post("/mesh/access-tokens").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers.contains_key("retry-after"));

    let second = rig.consent("ada", MeshBroker::Lakeside);
    send(&mut ada, "/mesh/connections", &second).await;
    let tokens = ada.post("/mesh/access-tokens").await.json()["accessTokens"].clone();
    assert_eq!(texts(&tokens, "brokerType"), ["lakeside"]);

    rig.server.clear_fault();
    rig.server.end_connections("ada");
    rig.clock.advance(LIFE);
    let answer = ada.post("/mesh/access-tokens").await;
    assert_eq!(answer.json(), json!({ "accessTokens": [] }));
    let states = connections(&mut ada).await;
    let states: Vec<_> = states
        .iter()
        .map(|it| it["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["needs_reauth", "needs_reauth"]);
}
