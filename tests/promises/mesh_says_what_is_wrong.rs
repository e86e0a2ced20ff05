//! What Mesh says of a refresh decides about the grant that it is about, and about no other.

use http::StatusCode;
use serde_json::{Value, json};
use tests::mesh::{Rig, holdings, manager};
use tests::recorder::Recorder;
use tower_token::testkit::{ManualClock, MeshBroker};
use tower_token::{
    AccountToken, ErrorKind, GrantKey, GrantState, KeyRing, MemoryStore, Mesh, ReauthReason,
    TokenManager, TokenResponse,
};

use crate::support::HOUR;

const BROKER: MeshBroker = MeshBroker::Northwind;

async fn states(manager: &TokenManager, user: &str) -> Vec<GrantState> {
    let grants = manager.grants(user).await.unwrap();
    grants.iter().map(|grant| grant.state()).collect()
}

#[tokio::test]
async fn a_wrong_client_touches_nobodys_tokens() {
    let rig = Rig::new().await.unwrap();
    let (store, ring) = (
        MemoryStore::with_clock(rig.clock.clone()),
        KeyRing::generate().unwrap(),
    );
    let mesh = |secret: &str| {
        Mesh::new("mesh", rig.server.client_id(), secret).base_url(rig.server.base_url())
    };
    let wrong = manager(mesh("wrong"), store.clone(), &ring, &rig.clock);
    let wrong = wrong.await.unwrap();
    let mut users = Vec::new();
    for user in ["ada", "bob", "cy", "di", "eve", "fay", "gus"] {
        let payload = rig.server.connect(user, BROKER);
        let keys = tests::mesh::connect(&wrong, user, &payload).await.unwrap();
        users.push((user, keys[0].clone(), tests::mesh::ids(&payload).unwrap()));
    }
    rig.clock.advance(HOUR);
    for (user, key, ids) in &users {
        let error = wrong.account_token(key, &ids[0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ClientRefused);
        assert_eq!(states(&wrong, user).await, [GrantState::Active]);
    }
    wrong.shutdown(HOUR).await.unwrap();

    // With the right secret everything goes on.
    let right = manager(mesh(rig.server.client_secret()), store, &ring, &rig.clock);
    let right = right.await.unwrap();
    for (_, key, ids) in &users {
        for id in ids {
            right.account_token(key, id).await.unwrap();
        }
    }
    let counts = rig.server.counts();
    assert_eq!(counts.refreshes_ok, users.len() as u64);
    assert_eq!(counts.reuse_detected, 0);
    assert!(counts.unauthenticated > 0);
}

#[tokio::test]
async fn a_dead_token_is_the_end_of_its_own_grant() {
    let rig = Rig::new().await.unwrap();
    let (ada, of_ada) = rig.connected("ada", BROKER).await.unwrap();
    let (bob, of_bob) = rig.connected("bob", BROKER).await.unwrap();
    rig.server.end_connections("ada");
    rig.clock.advance(HOUR);
    let dead = rig.token(&ada, &of_ada[1]).await;
    assert_eq!(dead, Err(ErrorKind::NeedsReauth));
    let state = states(&rig.manager, "ada").await[0];
    let refused = ReauthReason::Refused;
    assert!(matches!(state, GrantState::NeedsReauth { reason, .. } if reason == refused));
    assert!(rig.opens(&bob, BROKER, &of_bob[0]).await.unwrap());

    // She connects again.
    let (ada, of_ada) = rig.connected("ada", BROKER).await.unwrap();
    assert!(rig.opens(&ada, BROKER, &of_ada[0]).await.unwrap());
}

#[tokio::test]
async fn a_refusal_of_the_api_is_an_answer_and_refreshes_nothing() {
    let rig = Rig::new().await.unwrap();
    let (ada, ids) = rig.connected("ada", BROKER).await.unwrap();
    let asked = holdings(&rig.manager, &rig.server, "wrong", &ada, BROKER, &ids[0]);
    assert_eq!(asked.await.unwrap().0, StatusCode::UNAUTHORIZED);
    // Not even for a token that is no good any more.
    rig.server.expire_access_tokens();
    assert!(!rig.opens(&ada, BROKER, &ids[0]).await.unwrap());
    assert_eq!(rig.server.counts().refresh_requests, 0);
    assert_eq!(rig.server.counts().dead_tokens, 1);
}

#[tokio::test]
async fn a_second_factor_goes_with_the_token_of_the_first_answer() {
    let rig = Rig::new().await.unwrap();
    let (ada, ids) = rig.connected("ada", MeshBroker::Lakeside).await.unwrap();
    let (bob, of_bob) = rig.connected("bob", BROKER).await.unwrap();
    rig.server.require_code("314159");
    rig.clock.advance(HOUR);
    let wanted = rig.token(&ada, &ids[0]).await;
    assert_eq!(wanted, Err(ErrorKind::UserAction));
    assert_eq!(rig.server.counts().codes_wanted, 1);

    // More often than failures may come before a circuit opens.
    for _ in 0..6 {
        let wrong = rig.manager.refresh_with_code(&ada, "271828").await;
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::UserAction);
    }
    rig.manager.refresh_with_code(&ada, "314159").await.unwrap();
    assert!(
        rig.opens(&ada, MeshBroker::Lakeside, &ids[0])
            .await
            .unwrap()
    );
    assert_eq!(rig.server.counts().refreshes_ok, 1);
    assert_eq!(rig.server.counts().reuse_detected, 0);
    assert_eq!(states(&rig.manager, "ada").await, [GrantState::Active]);

    // Nobody else had to wait for that.
    rig.server.require_code(None);
    assert!(rig.opens(&bob, BROKER, &of_bob[0]).await.unwrap());
}

/// A manager over a Mesh that answers as it is told, with a user who has the accounts `a`
/// and `b`, whose tokens have expired.
async fn told() -> (Recorder, ManualClock, TokenManager, GrantKey) {
    let recorder = Recorder::start(Value::Null).await.unwrap();
    let (clock, ring) = (ManualClock::new(), KeyRing::generate().unwrap());
    let mesh = Mesh::new("mesh", "id", "secret").base_url(recorder.url());
    let store = MemoryStore::with_clock(clock.clone());
    let manager = manager(mesh, store, &ring, &clock).await.unwrap();
    let ada = GrantKey::new("mesh", "ada");
    let accounts = ["a", "b"].map(|id| AccountToken::new(id, format!("{id}-1")));
    let consent = TokenResponse::for_accounts(accounts)
        .refresh_token("r-1")
        .expires_in(HOUR)
        .metadata("brokerType", "sandbox");
    manager.connect(&ada, consent).await.unwrap();
    (recorder, clock, manager, ada)
}

#[tokio::test]
async fn a_new_refresh_token_is_kept_when_no_access_token_comes() {
    let (recorder, clock, manager, ada) = told().await;
    clock.advance(HOUR);
    let answer = |content: Value| recorder.answer(json!({ "status": "ok", "content": content }));
    answer(json!({
        "status": "succeeded",
        "brokerAccountTokens": [{ "account": { "accountId": "a" }, "refreshToken": "r-2" }],
    }));
    manager.account_token(&ada, "a").await.unwrap_err();
    let [first] = &recorder.take()[..] else {
        panic!("not one request");
    };
    assert_eq!(first.body["refreshToken"], "r-1");

    // The old one is not sent again, and nothing has to be connected anew.
    let entry =
        |id: &str| json!({ "account": { "accountId": id }, "accessToken": format!("{id}-2") });
    answer(json!({ "status": "succeeded", "brokerAccountTokens": [entry("b"), entry("a")] }));
    clock.advance(HOUR);
    assert_eq!(
        manager.account_token(&ada, "a").await.unwrap().expose(),
        "a-2"
    );
    assert_eq!(
        manager.account_token(&ada, "b").await.unwrap().expose(),
        "b-2"
    );
    let [second] = &recorder.take()[..] else {
        panic!("not one request");
    };
    assert_eq!(second.body["refreshToken"], "r-2");
    assert_eq!(states(&manager, "ada").await, [GrantState::Active]);
}

#[tokio::test]
async fn a_failure_is_no_death_unless_it_says_so() {
    for (message, state) in [
        (json!(null), None),
        (json!("the institution is down"), None),
        (json!("Unauthorized"), None),
        (json!("Unauthorized token"), Some(ReauthReason::Refused)),
    ] {
        let (recorder, clock, manager, ada) = told().await;
        clock.advance(HOUR);
        let content = json!({ "status": "failed", "errorMessage": message });
        recorder.answer(json!({ "status": "ok", "content": content }));
        manager.account_token(&ada, "a").await.unwrap_err();
        let reason = match states(&manager, "ada").await[0] {
            GrantState::NeedsReauth { reason, .. } => Some(reason),
            _ => None,
        };
        assert_eq!(reason, state, "{message}");
    }
}
