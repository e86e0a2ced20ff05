//! However many requests of a user come at the moment of expiry: one exchange, and the
//! session store is read at most once for each.

use std::collections::BTreeSet;

use http::StatusCode;

use crate::support::{Rig, TTL};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_requests_at_expiry_make_one_exchange() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let ada = rig.ada().await;
    rig.clock.advance(TTL);
    let before = rig.sessions.loads();
    let requests: Vec<_> = (0..200)
        .map(|_| {
            let mut browser = ada.clone();
            tokio::spawn(async move { browser.get("/token").await })
        })
        .collect();
    let mut tokens = BTreeSet::new();
    for request in requests {
        let answer = request.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        tokens.insert(answer.body);
    }
    let counts = rig.server.counts();
    let reads = rig.sessions.loads() - before;
    println!(
        "200 requests: {} exchanges, {} tokens, {reads} session reads",
        counts.token_requests,
        tokens.len()
    );
    assert_eq!((counts.token_requests, counts.refreshes_ok), (1, 1));
    assert_eq!(tokens.len(), 1);
    assert_eq!(reads, 200);
}

#[tokio::test]
async fn a_request_reads_the_session_store_at_most_once() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let mut ada = rig.ada().await;
    let mut nobody = rig.browser();
    let mut reads = Vec::new();
    for path in [
        "/public",
        "/me",
        "/token",
        "/optional",
        "/named/demo",
        "/note",
    ] {
        let before = (rig.sessions.loads(), rig.sessions.writes());
        ada.get(path).await;
        nobody.get(path).await;
        reads.push(rig.sessions.loads() - before.0);
        assert_eq!(rig.sessions.writes(), before.1, "{path} writes");
    }
    // One for Ada, and none for nobody.
    assert_eq!(reads, [1; 6]);
    let before = rig.sessions.loads();
    ada.post("/login/ada").await;
    ada.post("/logout").await;
    assert_eq!(rig.sessions.loads() - before, 2);
}
