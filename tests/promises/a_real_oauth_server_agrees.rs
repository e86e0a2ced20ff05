//! The main job against a real OAuth server, judged by the server's own counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tests::oidc::Oidc;
use tests::{BoxError, HttpClient, http_client, json as body_of};
use tower::{Layer as _, ServiceExt as _};
use tower_token::{
    AssertionClaims, ClientAssertion, Clock as _, ErrorKind, EventKind, GrantKey, KeyRing,
    MemoryStore, OAuth2, SealedStore, Secret, SystemClock, TokenLayer, TokenManager, TokenRequest,
    TokenResponse, TokenService,
};

async fn manager(provider: OAuth2) -> TokenManager {
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate().unwrap())
        .await
        .unwrap();
    TokenManager::builder()
        .store(store)
        .provider(provider)
        .build()
        .await
        .unwrap()
}

fn client(manager: &TokenManager) -> TokenService<HttpClient> {
    TokenLayer::new(manager).layer(http_client())
}

/// Calls the API as `key`'s user; the status, and whom the API took the caller for.
async fn call(client: &TokenService<HttpClient>, oidc: &Oidc, key: &GrantKey) -> (u16, String) {
    let request = Request::get(oidc.url("/api/me")).extension(TokenRequest::new(key.clone()));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = client.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        body_of(response).await.unwrap()["sub"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

/// Waits until the server itself no longer takes `token`.
async fn expired(oidc: &Oidc, token: &Value) {
    while oidc
        .accepts(token["access_token"].as_str().unwrap())
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Connects ada, as if her tokens had come so long ago.
async fn connect_as_of(oidc: &Oidc, manager: &TokenManager, ago: Duration) -> GrantKey {
    let minted = oidc.mint("basic", "ada", "opaque").await.unwrap();
    let response = TokenResponse::from_json(minted.to_string().as_bytes()).unwrap();
    let response = response.obtained_at(SystemClock::new().now() - ago);
    let key = GrantKey::new("oidc", "ada");
    manager.connect(&key, response).await.unwrap();
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_at_expiry_make_one_refresh() {
    let oidc = Arc::new(Oidc::start(60).await.unwrap());
    let manager = manager(oidc.provider()).await;
    // It has expired by its own account: what takes its place outlives all of the callers.
    let key = connect_as_of(&oidc, &manager, Duration::from_secs(61)).await;
    oidc.post("/test/reset", &json!({})).await.unwrap();
    // Held until all are there, so that they do meet at the expiry.
    oidc.faults(json!({ "hold_ms": -1 })).await.unwrap();
    let client = client(&manager);
    let callers: Vec<_> = (0..200)
        .map(|_| {
            let (client, oidc, key) = (client.clone(), Arc::clone(&oidc), key.clone());
            tokio::spawn(async move { call(&client, &oidc, &key).await })
        })
        .collect();
    oidc.held(1).await.unwrap();
    oidc.post("/test/release", &json!({})).await.unwrap();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), (200, String::from("ada")));
    }
    let counts = oidc.counts().await.unwrap();
    assert_eq!(counts["refresh_ok"], 1, "{counts}");
    assert_eq!(counts["token_requests"], 1, "{counts}");
    assert_eq!(counts["reuse_detected"], 0, "{counts}");
}

/// 10 refreshes of a token that lives for 16 seconds, with every exchange held for half a
/// second: the test takes about two minutes. (The server rounds a token's life down to 15
/// seconds at worst; it falls due after 11, which leaves a slow machine seconds.)
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_across_ten_expiries_and_nobody_waits() {
    let oidc = Oidc::start(16).await.unwrap();
    let manager = manager(oidc.provider()).await;
    let (key, _) = oidc.connect(&manager, "ada").await.unwrap();
    oidc.faults(json!({ "hold_ms": 500 })).await.unwrap();
    let mut events = manager.events(100_000);
    let client = client(&manager);
    let mut calls = 0u32;
    loop {
        assert_eq!(call(&client, &oidc, &key).await, (200, String::from("ada")));
        calls += 1;
        let refreshes = oidc.counts().await.unwrap()["refresh_ok"].as_u64().unwrap();
        if refreshes >= 10 && calls >= 1_000 {
            break;
        }
        // Spread over the time it takes: the server's clock is a real one.
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    let counts = oidc.counts().await.unwrap();
    assert_eq!(counts["reuse_detected"], 0, "{counts}");
    assert_eq!(counts["refresh_failed"], 0, "{counts}");
    assert_eq!(counts["api"]["401"], 0, "{counts}");
    let waited: Vec<_> = std::iter::from_fn(|| events.try_next())
        .filter(|event| {
            matches!(
                event.kind,
                EventKind::Waited { .. } | EventKind::Refused { .. }
            )
        })
        .collect();
    assert!(waited.is_empty(), "{waited:?}");
    assert_eq!(events.missed(), 0);
}

#[tokio::test]
async fn an_access_token_killed_at_the_server_is_healed_by_one_refresh_and_one_resend() {
    let oidc = Oidc::start(60).await.unwrap();
    let manager = manager(oidc.provider()).await;
    let (key, tokens) = oidc.connect(&manager, "ada").await.unwrap();
    let client = client(&manager);
    assert_eq!(call(&client, &oidc, &key).await.0, 200);
    let killed = json!({ "access_token": tokens["access_token"] });
    oidc.post("/test/kill-access", &killed).await.unwrap();
    assert_eq!(call(&client, &oidc, &key).await, (200, String::from("ada")));
    let counts = oidc.counts().await.unwrap();
    assert_eq!(counts["api"], json!({ "200": 2, "401": 1 }));
    assert_eq!(
        (&counts["refresh_ok"], &counts["token_requests"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_users_interleaved_on_one_client_are_never_mixed_up() {
    let oidc = Arc::new(Oidc::start(6).await.unwrap());
    let manager = manager(oidc.provider()).await;
    let mut keys = Vec::new();
    for n in 0..50 {
        keys.push(
            oidc.connect(&manager, &format!("user-{n}"))
                .await
                .unwrap()
                .0,
        );
    }
    let client = client(&manager);
    // Long enough that tokens are refreshed on the way.
    for _ in 0..10 {
        let calls: Vec<_> = keys
            .iter()
            .chain(keys.iter().rev())
            .map(|key| {
                let (client, oidc, key) = (client.clone(), Arc::clone(&oidc), key.clone());
                tokio::spawn(async move {
                    let answer = call(&client, &oidc, &key).await;
                    assert_eq!(answer, (200, key.subject().to_owned()));
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let counts = oidc.counts().await.unwrap();
    assert!(counts["refresh_ok"].as_u64() >= Some(50), "{counts}");
    assert_eq!(counts["reuse_detected"], 0, "{counts}");
}

#[tokio::test]
async fn every_way_of_client_authentication_is_taken() {
    let oidc = Oidc::start(60).await.unwrap();
    let over = SystemClock::new().now() - Duration::from_secs(61);
    let at = |name: &str| OAuth2::new(name, oidc.url("/token")).allow_origin(oidc.base());
    for (id, counted, provider) in [
        (
            "basic",
            "basic",
            at("p").client_secret_basic("basic", "basic-secret"),
        ),
        (
            "odd:id",
            "basic",
            at("p").client_secret_basic("odd:id", "a b+c%2Fd&e=f"),
        ),
        (
            "post",
            "post",
            at("p").client_secret_post("post", "post-secret"),
        ),
        ("public", "none", at("p").public_client("public")),
    ] {
        let manager = manager(provider).await;
        let tokens = oidc.mint(id, "ada", "opaque").await.unwrap();
        let key = GrantKey::new("p", "ada");
        let response = TokenResponse::from_json(tokens.to_string().as_bytes()).unwrap();
        let response = response.obtained_at(over);
        manager.connect(&key, response).await.unwrap();
        oidc.post("/test/reset", &json!({})).await.unwrap();
        assert_eq!(call(&client(&manager), &oidc, &key).await.0, 200, "{id}");
        let counts = oidc.counts().await.unwrap();
        assert_eq!(counts["token_auth"][counted], 1, "{id}: {counts}");
    }
}

/// The private half of the key that the server knows the client `jwt` by.
const CLIENT_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNbqIvnuQsy2UtLBGjHhae\
    /51NrKotbJlqx4H5Nh/Z+ihRANCAARwivyR5JVSgoIpU0xkEdfhJYlgWOCkQnuiv/4nj10CVu46J20oa6jRFsTXOs4dERk\
    oXIKJcy5EV/xKLwh+2y3p";

/// Signs as the client `jwt`.
struct Signer {
    key: EcdsaKeyPair,
    signed: Arc<AtomicU64>,
}

impl Signer {
    fn new(signed: &Arc<AtomicU64>) -> Self {
        let key = STANDARD.decode(CLIENT_KEY).unwrap();
        Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key).unwrap(),
            signed: Arc::clone(signed),
        }
    }
}

impl ClientAssertion for Signer {
    async fn sign(&self, claims: AssertionClaims<'_>) -> Result<Secret, BoxError> {
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock::new().now().as_unix_millis() / 1_000;
        let header = json!({ "alg": "ES256", "kid": "test-key" });
        let payload = json!({
            "iss": claims.client_id(), "sub": claims.client_id(), "aud": claims.audience(),
            "jti": format!("{now}-{number}"), "iat": now, "exp": now + 60,
        });
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let text = format!("{}.{}", part(header), part(payload));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes())?;
        Ok(Secret::from(format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        )))
    }
}

/// RFC 7523: with a fresh assertion each time, since the server takes none twice.
#[tokio::test]
async fn a_client_that_signs_is_taken_for_refreshes_and_for_the_revocation() {
    let oidc = Oidc::start(60).await.unwrap();
    let signed = Arc::default();
    let provider = OAuth2::new("p", oidc.url("/token"))
        .client_assertion("jwt", Signer::new(&signed))
        .revocation_endpoint(oidc.url("/token/revocation"))
        .allow_origin(oidc.base());
    let manager = manager(provider).await;
    let tokens = oidc.mint("jwt", "ada", "opaque").await.unwrap();
    let key = GrantKey::new("p", "ada");
    let response = TokenResponse::from_json(tokens.to_string().as_bytes()).unwrap();
    manager.connect(&key, response).await.unwrap();
    let client = client(&manager);
    let killed = json!({ "access_token": tokens["access_token"] });
    oidc.post("/test/kill-access", &killed).await.unwrap();
    assert_eq!(call(&client, &oidc, &key).await.0, 200);
    let mut events = manager.events(64);
    manager.disconnect(&key).await.unwrap();
    while events.next().await.unwrap().kind != EventKind::Revoked {}
    let counts = oidc.counts().await.unwrap();
    assert_eq!(counts["token_auth"]["jwt"], 1, "{counts}");
    assert_eq!(counts["grants_revoked"], 1, "{counts}");
    assert_eq!(signed.load(Ordering::Relaxed), 2);
}

/// Invariant 18: without `expires_in` the token itself may say, else a 401 does.
#[tokio::test]
async fn without_expires_in_a_jwt_says_itself_and_an_opaque_token_lasts_until_a_401() {
    let oidc = Oidc::start(6).await.unwrap();
    let manager = manager(oidc.provider()).await;
    let client = client(&manager);
    for format in ["jwt", "opaque"] {
        let tokens = oidc.mint("basic", format, format).await.unwrap();
        let key = GrantKey::new("oidc", format);
        let response = TokenResponse::from_json(tokens.to_string().as_bytes()).unwrap();
        manager.connect(&key, response).await.unwrap();
        expired(&oidc, &tokens).await;
        oidc.faults(json!({ "omit_expires_in": true }))
            .await
            .unwrap();
        assert_eq!(
            call(&client, &oidc, &key).await,
            (200, String::from(format))
        );
        let expires_at = manager.token(&key).await.unwrap().expires_at();
        assert_eq!(expires_at.is_some(), format == "jwt", "{format}");
        oidc.faults(json!({})).await.unwrap();
        oidc.post("/test/reset", &json!({})).await.unwrap();
        let issued = json!({ "access_token": manager.token(&key).await.unwrap().expose() });
        expired(&oidc, &issued).await;
        // The JWT was refreshed before the API could refuse it.
        assert_eq!(
            call(&client, &oidc, &key).await,
            (200, String::from(format))
        );
        let refused = oidc.counts().await.unwrap()["refresh_ok"].clone();
        assert_eq!(refused, 1, "{format}");
    }
}

/// What services really answer, one fault after the other: the tokens are kept, and
/// the next refresh works.
#[tokio::test]
async fn odd_answers_are_read_leniently() {
    for fault in ["expires_in_as_string", "omit_refresh_token", "omit_scope"] {
        let oidc = Oidc::start(3).await.unwrap();
        let manager = manager(oidc.provider()).await;
        let (key, tokens) = oidc.connect(&manager, "ada").await.unwrap();
        let client = client(&manager);
        expired(&oidc, &tokens).await;
        oidc.faults(json!({ fault: true, "times": 1 }))
            .await
            .unwrap();
        assert_eq!(call(&client, &oidc, &key).await.0, 200, "{fault}");
        assert!(
            manager.grants("ada").await.unwrap()[0].can_refresh(),
            "{fault}"
        );
    }
}

/// The back channel follows no redirect, reads no endless answer, and waits for no one for
/// ever; whatever happens, the user's grant is not given up for it.
#[tokio::test]
async fn the_back_channel_is_bounded() {
    for (fault, kind) in [
        (json!({ "redirect": true }), ErrorKind::ClientRefused),
        (json!({ "oversize": true }), ErrorKind::TokenService),
        (json!({ "hold_ms": -1 }), ErrorKind::TokenService),
        (json!({ "status": 503 }), ErrorKind::TokenService),
        (json!({ "garbage": true }), ErrorKind::TokenService),
        (json!({ "truncate": true }), ErrorKind::TokenService),
        (json!({ "reset_after": true }), ErrorKind::TokenService),
    ] {
        let oidc = Oidc::start(60).await.unwrap();
        let mut provider = oidc.provider();
        if fault["hold_ms"] == -1 {
            // The others are answered, on a slow machine later.
            provider = provider.exchange_timeout(Duration::from_secs(2));
        }
        let manager = manager(provider).await;
        // A caller who needs more than is left makes an exchange.
        let key = connect_as_of(&oidc, &manager, Duration::from_secs(30)).await;
        oidc.faults(fault.clone()).await.unwrap();
        let mut events = manager.events(64);
        let token = manager.token_valid_for(&key, Duration::from_secs(50)).await;
        assert!(token.is_ok(), "{fault}");
        let seen: Vec<_> = std::iter::from_fn(|| events.try_next())
            .map(|e| e.kind)
            .collect();
        let failed = |event: &EventKind| matches!(event, EventKind::RefreshFailed { cause, .. } if *cause == kind);
        assert!(seen.iter().any(failed), "{fault}: {seen:?}");
        let counts = oidc.counts().await.unwrap();
        assert_eq!(counts["redirects_followed"], 0, "{fault}");
        assert_eq!(counts["token_requests"], 1, "{fault}");
        assert!(
            manager.grants("ada").await.unwrap()[0].can_refresh(),
            "{fault}"
        );
    }
}
