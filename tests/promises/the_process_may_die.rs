//! A process is killed and started again, and the user does not log in again.

use serde_json::{Value, json};
use tests::child::Service;
use tests::oidc::Oidc;
use tower_token::KeyRing;

const SERVICE: &str = env!("CARGO_BIN_EXE_connected-service");

#[tokio::test]
async fn a_killed_process_continues_without_a_login() {
    let oidc = Oidc::start(3).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::generate().unwrap();
    let start = || Service::start(SERVICE, folder.path(), Some(&ring), oidc.base());

    let mut service = start().await.unwrap();
    let tokens = oidc.mint("basic", "ada", "opaque").await.unwrap();
    assert_eq!(
        service.ask(&format!("connect ada {tokens}")).await.unwrap(),
        "connected"
    );
    assert_eq!(service.ask("call ada").await.unwrap(), "200 ada");
    service.kill().await.unwrap();

    // Again and again, with refreshes in between: each rotates the refresh token.
    for _ in 0..3 {
        expire(&oidc).await;
        let mut service = start().await.unwrap();
        assert_eq!(service.ask("call ada").await.unwrap(), "200 ada");
        service.kill().await.unwrap();
    }
    let counts = oidc.counts().await.unwrap();
    assert_eq!(counts["refresh_ok"], 3, "{counts}");
    assert_eq!(
        (&counts["reuse_detected"], &counts["refresh_failed"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn a_process_killed_in_the_middle_of_an_exchange_continues_where_it_was_not_processed() {
    let oidc = Oidc::start(3).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::generate().unwrap();
    let start = || Service::start(SERVICE, folder.path(), Some(&ring), oidc.base());

    let mut service = start().await.unwrap();
    let tokens = oidc.mint("basic", "ada", "opaque").await.unwrap();
    service.ask(&format!("connect ada {tokens}")).await.unwrap();
    expire(&oidc).await;
    oidc.faults(json!({ "hold_ms": -1 })).await.unwrap();
    service.tell("call ada").await.unwrap();
    oidc.held(1).await.unwrap();
    service.kill().await.unwrap();
    oidc.faults(json!({})).await.unwrap();

    // The intent it left is live for two seconds: the next one waits for that first.
    let mut service = start().await.unwrap();
    assert_eq!(service.ask("call ada").await.unwrap(), "200 ada");
    let counts = oidc.counts().await.unwrap();
    assert_eq!(
        (&counts["refresh_ok"], &counts["reuse_detected"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn without_the_key_and_with_another_one_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::generate().unwrap();
    let start = |ring: Option<KeyRing>| {
        let folder = folder.path().to_owned();
        async move { Service::start(SERVICE, &folder, ring.as_ref(), "http://127.0.0.1:9").await }
    };
    let mut first = start(Some(ring.clone())).await.unwrap();
    let tokens = json!({ "access_token": "kept", "refresh_token": "r" });
    first.ask(&format!("connect ada {tokens}")).await.unwrap();
    assert_eq!(first.ask("shutdown").await.unwrap(), "closed");
    first.finish().await.unwrap();

    let error = start(None).await.unwrap_err().to_string();
    assert!(error.contains("TOWER_TOKEN_KEYS holds no key"), "{error}");
    let other = KeyRing::generate().unwrap();
    let error = start(Some(other)).await.unwrap_err().to_string();
    assert!(error.contains("made with another outer key"), "{error}");
    // And with the right one everything is still there.
    let mut again = start(Some(ring)).await.unwrap();
    assert_eq!(again.ask("grants ada").await.unwrap(), "1");
}

#[tokio::test]
async fn a_second_process_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::generate().unwrap();
    let base = "http://127.0.0.1:9";
    let _first = Service::start(SERVICE, folder.path(), Some(&ring), base)
        .await
        .unwrap();
    let error = Service::start(SERVICE, folder.path(), Some(&ring), base)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("open in another process"),
        "{error}"
    );
}

/// Lets the server's clock pass the access tokens' three seconds.
async fn expire(oidc: &Oidc) {
    // The server's time is real, and so is this: its own answer tells when it has come.
    let probe: Value = oidc.mint("basic", "probe", "opaque").await.unwrap();
    let token = probe["access_token"].as_str().unwrap();
    while oidc.accepts(token).await.unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
