//! The provider `Mesh` sends what Mesh's own published client sends: method, path, the
//! headers that matter, and the JSON, field by field.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tests::recorder::{Recorded, Recorder};
use tokio::process::Command;
use tokio::time::timeout;
use tower_token::testkit::ManualClock;
use tower_token::{
    AccountToken, ErrorKind, EventKind, GrantKey, KeyRing, LinkTokenRequest, MemoryStore, Mesh,
    SealedStore, TokenManager, TokenResponse,
};

const ID: &str = "client-1";
const SECRET: &str = "secret-1";
const MINUTE: Duration = Duration::from_secs(60);

/// What `tests/peers/mesh/src/send.ts` sends by `@meshconnect/node-api`.
async fn by_their_client() -> Vec<Recorded> {
    let recorder = Recorder::start(json!({ "status": "ok" })).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/mesh");
    let built = folder.join("dist/send.js").is_file();
    assert!(
        built,
        "Mesh's client is not installed: run scripts/test, or `npm ci && npm run build` in \
         tests/peers/mesh"
    );
    let sent = Command::new("node")
        .args(["dist/send.js", recorder.url(), ID, SECRET])
        .current_dir(folder)
        .status()
        .await
        .unwrap();
    assert!(sent.success());
    recorder.take()
}

/// The same by the provider.
async fn by_our_provider() -> Vec<Recorded> {
    let recorder = Recorder::start(Value::Null).await.unwrap();
    let answer = |content: Value| recorder.answer(json!({ "status": "ok", "content": content }));
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let mesh = Mesh::new("mesh", ID, SECRET).base_url(recorder.url());
    let link = mesh.link().unwrap();
    let manager = TokenManager::builder()
        .store(
            SealedStore::open(store, KeyRing::generate().unwrap())
                .await
                .unwrap(),
        )
        .provider(mesh)
        .clock(clock.clone())
        .without_sweeper()
        .build()
        .await
        .unwrap();
    let ada = GrantKey::new("mesh", "ada");
    let consent = TokenResponse::for_accounts([AccountToken::new("a", "access-1")])
        .refresh_token("refresh-1")
        .expires_in(MINUTE)
        // So short that it has to be renewed whenever there is an occasion.
        .refresh_token_expires_in(2 * MINUTE)
        .metadata("brokerType", "weBull")
        .secret("tradeToken", "trade-1")
        .metadata("metadata.region", "eu");
    manager.connect(&ada, consent).await.unwrap();
    clock.advance(MINUTE + MINUTE / 2);

    answer(json!({ "status": "mfaRequired", "accessToken": "interim-1" }));
    let error = manager.account_token(&ada, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserAction);
    assert_eq!(recorder.take().len(), 1);
    let tokens = |n: u32, access_life: u64, life: u64| {
        answer(json!({
            "status": "succeeded", "expiresInSeconds": access_life,
            "refreshTokenExpiresInSeconds": life,
            "brokerAccountTokens": [{
                "account": { "accountId": "a" }, "accessToken": format!("access-{n}"),
                "refreshToken": format!("refresh-{n}"),
            }],
        }));
    };
    tokens(2, 60, 86_400 * 365);
    manager.refresh_with_code(&ada, "314159").await.unwrap();
    let mut seen = recorder.take();

    // Of the plain refresh only the request counts.
    clock.advance(MINUTE);
    answer(json!({ "status": "failed" }));
    manager.account_token(&ada, "a").await.unwrap_err();
    seen.extend(recorder.take());

    recorder.answer(json!({ "status": "ok" }));
    let mut events = manager.events(16);
    manager.disconnect(&ada).await.unwrap();
    let revoked = async { while events.next().await.unwrap().kind != EventKind::Revoked {} };
    timeout(MINUTE, revoked).await.expect("not revoked");
    seen.extend(recorder.take());

    answer(json!({ "linkToken": "link-1" }));
    let request = LinkTokenRequest::new("ada")
        .option("restrictMultipleAccounts", "true")
        .option("transferOptions", r#"{"amountInFiat":10}"#);
    assert_eq!(link.link_token(request).await.unwrap().expose(), "link-1");
    seen.extend(recorder.take());
    seen
}

#[tokio::test]
async fn each_request_is_the_one_that_their_client_sends() {
    let (theirs, ours) = tokio::join!(by_their_client(), by_our_provider());
    assert_eq!((theirs.len(), ours.len()), (4, 4));
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(ours.method, theirs.method);
        assert_eq!(ours.path, theirs.path);
        assert_eq!(ours.body, theirs.body, "{} {}", ours.method, ours.path);
        for name in ["x-client-id", "x-client-secret", "content-type"] {
            assert_eq!(ours.headers[name], theirs.headers[name], "{name}");
        }
        let accept = |it: &Recorded| it.headers["accept"].contains("application/json");
        assert!(accept(ours) && accept(theirs));
        assert!(!ours.headers.contains_key("authorization"));
    }
    // Both have every field that is documented.
    assert_eq!(ours[0].body.as_object().unwrap().len(), 7);
    assert_eq!(ours[2].method, "DELETE");
}
