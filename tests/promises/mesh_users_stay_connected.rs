//! Users who connected accounts at Mesh once stay connected: by its own kind of refresh, for
//! several accounts at once, with two clocks, and over a restart.

use std::time::Duration;

use http::StatusCode;
use tests::mesh::{Rig, connect, entries, manager, server};
use tower_token::testkit::{Fault, ManualClock, MeshBroker};
use tower_token::{GrantKey, GrantState, KeyRing, SledStore};

use crate::support::HOUR;

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn accounts_of_one_refresh_token_cost_one_exchange() {
    let rig = Rig::new().await.unwrap();
    let broker = MeshBroker::Northwind;
    let (key, ids) = rig.connected("ada", broker).await.unwrap();
    assert_eq!(ids.len(), 2);
    for round in 1..=3 {
        rig.clock.advance(HOUR);
        let opened = tokio::join!(
            rig.opens(&key, broker, &ids[0]),
            rig.opens(&key, broker, &ids[1]),
            rig.opens(&key, broker, &ids[0]),
        );
        let (one, two, again) = opened;
        assert!(one.unwrap() && two.unwrap() && again.unwrap());
        assert_eq!(rig.server.counts().refresh_requests, round);
    }
    assert_eq!(rig.server.counts().refreshes_ok, 3);
    assert_eq!(rig.server.counts().reuse_detected, 0);
}

#[tokio::test]
async fn a_broker_of_a_type_that_nobody_knew_gets_its_access_token_along() {
    let rig = Rig::new().await.unwrap();
    let broker = MeshBroker::Lakeside;
    let (key, ids) = rig.connected("ada", broker).await.unwrap();
    for _ in 0..2 {
        rig.clock.advance(HOUR);
        assert!(rig.opens(&key, broker, &ids[0]).await.unwrap());
    }
    assert_eq!(rig.server.counts().refreshes_ok, 2);
}

#[tokio::test]
async fn what_is_due_is_refreshed_before_it_expires() {
    let rig = Rig::new().await.unwrap();
    let (key, ids) = rig.connected("ada", MeshBroker::Northwind).await.unwrap();
    let old = rig.token(&key, &ids[1]).await.unwrap();
    rig.clock.advance(HOUR - Duration::from_secs(60));
    let valid = Duration::from_secs(120);
    let accounts = rig.manager.accounts(&key, valid).await.unwrap();
    assert_eq!(accounts.len(), 2);
    for account in &accounts {
        let token = account.access_token().unwrap();
        assert_ne!(token.expose(), old);
    }
    assert_eq!(rig.server.counts().refreshes_ok, 1);
}

#[tokio::test]
async fn an_account_that_is_gone_keeps_its_token_to_its_end() {
    let rig = Rig::new().await.unwrap();
    let (key, ids) = rig.connected("ada", MeshBroker::Northwind).await.unwrap();
    let gone = rig.token(&key, &ids[1]).await.unwrap();
    // Removed by another way: the next answers leave it out.
    let body = format!(r#"{{"authToken":"{gone}","type":"sandbox"}}"#);
    let removed = http::Request::delete(format!("{}/api/v1/account", rig.server.base_url()))
        .header("x-client-id", rig.server.client_id())
        .header("x-client-secret", rig.server.client_secret())
        .header("content-type", "application/json")
        .body(http_body_util::Full::from(body))
        .unwrap();
    let removed = tests::http_client().request(removed).await.unwrap();
    assert_eq!(removed.status(), StatusCode::OK);

    rig.clock.advance(HOUR - Duration::from_secs(60));
    let valid = Duration::from_secs(120);
    let kept = rig.token(&key, &ids[0]).await.unwrap();
    rig.manager.accounts(&key, valid).await.unwrap();
    assert_ne!(rig.token(&key, &ids[0]).await.unwrap(), kept);
    assert_eq!(rig.token(&key, &ids[1]).await.unwrap(), gone);
    rig.clock.advance(Duration::from_secs(60));
    assert!(rig.token(&key, &ids[1]).await.is_err());
    assert!(
        rig.opens(&key, MeshBroker::Northwind, &ids[0])
            .await
            .unwrap()
    );
    assert_eq!(rig.server.counts().refreshes_ok, 1, "none for its sake");
}

#[tokio::test]
async fn a_login_that_is_confirmed_later_is_refreshed_at_its_first_use() {
    let rig = Rig::new().await.unwrap();
    for broker in [MeshBroker::Northwind, MeshBroker::Lakeside] {
        let payload = rig.server.connect_later("ada", broker);
        let keys = connect(&rig.manager, "ada", &payload).await.unwrap();
        let before = rig.server.counts().refreshes_ok;
        let accounts = rig
            .manager
            .accounts(&keys[0], Duration::ZERO)
            .await
            .unwrap();
        assert!(!accounts.is_empty());
        for account in &accounts {
            assert!(account.name().is_some());
            assert!(rig.opens(&keys[0], broker, account.id()).await.unwrap());
        }
        assert_eq!(rig.server.counts().refreshes_ok, before + 1);
    }
}

#[tokio::test]
async fn the_refresh_token_that_nears_its_end_is_renewed_and_lives_anew() {
    let rig = Rig::new().await.unwrap();
    let (key, ids) = rig.connected("ada", MeshBroker::Northwind).await.unwrap();
    let ends = async || {
        let grants = rig.manager.grants("ada").await.unwrap();
        grants[0].refresh_expires_at().unwrap()
    };
    let first = ends().await;
    rig.clock.advance(HOUR);
    rig.token(&key, &ids[0]).await.unwrap();
    assert_eq!(ends().await, first, "a plain refresh does not put it off");

    // Nobody asks for a token for most of a month, again and again.
    for round in 1..=3 {
        rig.clock.advance(29 * DAY);
        rig.manager.sweep().await.unwrap();
        let counts = rig.server.counts();
        assert_eq!((counts.refreshes_ok, counts.reuse_detected), (1 + round, 0));
    }
    assert!(ends().await.since(first) > 80 * DAY);
    assert!(
        rig.opens(&key, MeshBroker::Northwind, &ids[0])
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn what_the_page_handed_over_is_all_there_after_a_restart_and_for_its_user() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (server, ring) = (server(&clock).unwrap(), KeyRing::generate().unwrap());
    let open = async || {
        let store = SledStore::open(folder.path()).await.unwrap();
        let mesh = server.provider("mesh");
        manager(mesh, store, &ring, &clock).await.unwrap()
    };
    let first = open().await;
    let mut payloads = Vec::new();
    for user in ["ada", "bob"] {
        for broker in [MeshBroker::Northwind, MeshBroker::Lakeside] {
            let payload = server.connect(user, broker);
            let keys = connect(&first, user, &payload).await.unwrap();
            payloads.push((user, broker, keys, payload));
        }
    }
    first.shutdown(Duration::from_secs(5)).await.unwrap();
    drop(first);

    let second = open().await;
    let start = tower_token::Clock::now(&clock);
    for (user, broker, keys, payload) in &payloads {
        let grants = second.grants(user).await.unwrap();
        assert_eq!(grants.len(), 2);
        let grant = grants.iter().find(|grant| grant.key() == &keys[0]).unwrap();
        assert_eq!(grant.state(), GrantState::Active);
        assert_eq!(grant.metadata()["brokerType"], broker.broker_type());
        assert_eq!(grant.metadata()["brokerName"], broker.name());
        assert_eq!(grant.expires_at(), Some(start + HOUR));
        assert_eq!(grant.refresh_expires_at(), Some(start + 30 * DAY));
        let entries = entries(payload).unwrap();
        assert_eq!(grant.accounts().len(), entries.len());
        for (account, entry) in grant.accounts().iter().zip(&entries) {
            assert_eq!(account.id(), entry["account"]["accountId"]);
            assert_eq!(account.name().unwrap(), entry["account"]["accountName"]);
            assert_eq!(account.token_id().unwrap(), entry["tokenId"]);
            let token = account.access_token().unwrap();
            assert_eq!(token.expose(), entry["accessToken"]);
            let token = grant.refresh_token().unwrap();
            assert_eq!(token.expose(), entry["refreshToken"]);
            let served = second.account_token(&keys[0], account.id()).await.unwrap();
            assert_eq!(served.expose(), entry["accessToken"]);
        }
        // The other user has none of it.
        let other = if *user == "ada" { "bob" } else { "ada" };
        let theirs = GrantKey::new("mesh", other);
        let theirs = match keys[0].connection() {
            Some(connection) => theirs.with_connection(connection),
            None => theirs,
        };
        let account = entries[0]["account"]["accountId"].as_str().unwrap();
        assert!(second.account_token(&theirs, account).await.is_err());
    }
    assert_eq!(server.counts().refresh_requests, 0);
    second.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn every_fault_leaves_the_user_connected_and_the_token_served() {
    for (fault, exchanged) in [
        (Fault::status(503), 0),
        (Fault::status(429).retry_after(Duration::from_secs(7)), 0),
        (Fault::redirect(), 0),
        (Fault::without_expires_in(), 1),
        (Fault::lost_answer(), 1),
        (Fault::truncated(), 1),
        (Fault::garbage(), 1),
        (Fault::status_after(502), 1),
    ] {
        let rig = Rig::new().await.unwrap();
        let (key, ids) = rig.connected("ada", MeshBroker::Northwind).await.unwrap();
        let old = rig.token(&key, &ids[0]).await.unwrap();
        rig.server.set_fault(fault.times(1));
        rig.clock.advance(HOUR - Duration::from_secs(200));
        let valid = Duration::from_secs(250);
        // What is valid for less than was asked for is better than an error.
        rig.manager.accounts(&key, valid).await.unwrap();
        let counts = rig.server.counts();
        assert_eq!(counts.refresh_requests, 1, "{fault:?}");
        assert_eq!(counts.refreshes_ok, exchanged, "{fault:?}");
        let arrived = fault == Fault::without_expires_in();
        let kept = rig.token(&key, &ids[0]).await.unwrap() == old;
        assert_ne!(kept, arrived, "{fault:?}");
        assert_eq!(rig.server.counts().reuse_detected, 0, "{fault:?}");
        assert_eq!(rig.server.counts().redirects_followed, 0);
        assert!(rig.server.is_connected("ada", MeshBroker::Northwind));
        let grant = &rig.manager.grants("ada").await.unwrap()[0];
        assert_eq!(grant.state(), GrantState::Active, "{fault:?}");
    }
}
