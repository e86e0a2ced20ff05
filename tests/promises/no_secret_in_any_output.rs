//! Invariant 26: what is printed holds no secret, in any form.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::json;
use tests::BoxError;
use tests::child::Service;
use tests::leaks::Leaks;
use tests::oidc::Oidc;
use tower::{Layer as _, Service as _};
use tower_token::*;

use crate::support::{API, Api};

const MARKS: [&str; 8] = [
    "mark-access-token",
    "mark-refresh-token",
    "mark-id-token",
    "mark-client-secret",
    "mark-subject@example.com",
    "mark-connection",
    "mark-answered-token",
    "mark-metadata",
];

/// Everything that lib.rs, the modules for reqwest and of the store, and the testkit export. A
/// new name has to be added here, and to a test below if a secret could get into it.
const EXPORTED: &str = "AccessToken Account AccountToken Announce AssertionClaims AuthServer \
    AuthServerBuilder Authorization BodyRefusalFuture BodyRefusalLayer BodyRefusalService Buffered \
    ByteStore Case Changes ClientAssertion Clock CloneBody CodeExchange CodeRequest Counts Cursor \
    DataKey DataKeyState Durability Error ErrorKind Event EventKind Events Expected Export Fault \
    Fingerprint Freshness Grant GrantKey GrantState Group Import IntoProvider InvalidMeshPayload \
    InvalidTokenResponse Issued JsonBody KeyProvider KeyRing KeyRotation Lease LeaseOwner \
    LinkTokenRequest ManualClock MemoryStore Mesh MeshBroker MeshCounts MeshGrant MeshLink \
    MeshPayload MeshServer MeshServerBuilder MetadataClient MoveProgress MovingStore MultiProcess \
    NoReplay NotSent OAuth2 OnStale Outcome PeekedBody Placement PostgresMigration PostgresStore \
    PostgresStoreBuilder Provider ReauthReason Recovery RedbStore RefreshError RefreshRequest \
    RefreshWindow Refresher RefusalFuture RefusalLayer RefusalService Replay ReplayAgain \
    ReplayBody ReplayBodyError Report ReqwestFuture ReqwestService ResponseFuture Revoker Rewrap \
    RewrapProgress Rotation Row RowKey SaveOutcome SealedRow SealedStore SealedStoreBuilder \
    SealedToken Secret SendWith SendWithFuture Serial SharedStore SharedUserTokenStore \
    SingleProcess SledStore StoreCopy StoreError StoreErrorKind Suite SweepAction SweepItem \
    SweepReport SystemClock Timestamp TokenClient TokenClientBuilder TokenClientFuture TokenHeader \
    TokenKey TokenLayer TokenManager TokenManagerBuilder TokenRefused TokenRequest TokenResponse \
    TokenService TokenServiceError TransferProgress UserTokenStore Verdict VerdictRule Version";

#[test]
fn every_exported_name_is_known_here() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tower-token/src");
    let modules = [
        "lib.rs",
        "reqwest/mod.rs",
        "store/contract/mod.rs",
        "store/custom/mod.rs",
        "testkit/mod.rs",
    ];
    let text = modules
        .map(|file| std::fs::read_to_string(source.join(file)).unwrap())
        .concat();
    let exported: BTreeSet<&str> = text
        .split(';')
        .filter_map(|item| item.split_once("pub use self::"))
        .flat_map(|(_, path)| path.split(|c: char| !c.is_alphanumeric()))
        .filter(|name| name.starts_with(char::is_uppercase))
        .collect();
    assert_eq!(exported, EXPORTED.split_whitespace().collect());
}

fn response() -> TokenResponse {
    TokenResponse::new(MARKS[0])
        .refresh_token(MARKS[1])
        .id_token(MARKS[2])
        .metadata("account", MARKS[7])
        .account(AccountToken::new(MARKS[5], MARKS[0]).name(MARKS[7]))
        .expires_in(Duration::from_secs(1))
        .obtained_at(Timestamp::from_unix_millis(0))
}

fn key() -> GrantKey {
    GrantKey::new("p", MARKS[4]).with_connection(MARKS[5])
}

/// A token service whose answers are full of marks, in every broken form.
fn answers() -> Vec<Result<(u16, Vec<u8>), &'static str>> {
    let token = MARKS[6];
    let error = |code: &str| json!({ "error": code, "error_description": token }).to_string();
    let mut answers: Vec<Result<(u16, Vec<u8>), &'static str>> = vec![
        Err("the connection died"),
        Ok((200, token.into())),
        Ok((200, format!("{{\"access_token\":\"{token}\"").into())),
        Ok((200, json!({ "access_token": [token] }).to_string().into())),
        Ok((
            200,
            json!({ "access_token": format!("{token} {token}") })
                .to_string()
                .into(),
        )),
        Ok((200, format!("{token}{}", "x".repeat(2 << 20)).into())),
    ];
    for status in [302, 307, 400, 401, 403, 404, 408, 429, 500, 502, 503] {
        answers.push(Ok((status, token.into())));
        for code in [
            "invalid_grant",
            "invalid_client",
            "interaction_required",
            token,
        ] {
            answers.push(Ok((status, error(code).into())));
        }
    }
    answers
}

#[tokio::test]
async fn no_type_error_or_event_prints_a_secret() {
    let leaks = Leaks::new(MARKS);
    for answer in answers() {
        let transport = tower::service_fn(move |_: Request<Full<Bytes>>| {
            let answer = answer.clone();
            async move {
                let (status, body) = answer.map_err(BoxError::from)?;
                let response = Response::builder()
                    .status(status)
                    .body(Full::<Bytes>::from(body))?;
                Ok::<_, BoxError>(response)
            }
        });
        let provider = OAuth2::new("p", "https://auth.example.com/token")
            .client_secret_post("id", MARKS[3])
            .allow_origin(API)
            .transport(transport);
        leaks.check_debug("OAuth2", &provider);
        leaks.check_debug("Provider", &provider.clone().into_provider().unwrap());
        let exchange = provider.code_exchange().unwrap();
        leaks.check_debug("CodeExchange", &exchange);
        let code = CodeRequest::new(MARKS[0], API).code_verifier(MARKS[3]);
        leaks.check_debug("CodeRequest", &code);
        if let Err(error) = exchange.exchange(code).await {
            leaks.check_error("Error", &error);
        }
        let ring = KeyRing::generate().unwrap();
        let keys = ring.encode();
        let leaks_of_keys = Leaks::new([keys.expose()]);
        leaks_of_keys.check_debug("KeyRing", &ring);
        leaks_of_keys.check_debug("SealedStoreBuilder", &SealedStore::builder());
        let store = SealedStore::open(MemoryStore::new(), ring).await.unwrap();
        for leaks in [&leaks, &leaks_of_keys] {
            leaks.check_debug("SealedStore", &store);
            leaks.check_debug("KeyRotation", &store.key_rotation());
            leaks.check_debug("Rewrap", &store.key_rotation().rewrap());
        }
        let builder = TokenManager::builder().store(store).provider(provider);
        leaks.check_debug("TokenManagerBuilder", &builder);
        let manager = builder.build().await.unwrap();
        let mut events = manager.events(64);
        leaks.check_debug("TokenResponse", &response());
        leaks.check_debug("Secret", &Secret::from(MARKS[0]));
        leaks.check_debug("GrantKey", &key());
        manager.connect(&key(), response()).await.unwrap();
        leaks.check_debug("TokenManager", &manager);

        let layer = TokenLayer::new(&manager).for_key(key());
        leaks.check_debug("TokenLayer", &layer);
        let mut service = layer.layer(Api::default().service::<Full<Bytes>>());
        let request = || {
            let wanted = TokenRequest::new(key()).account(MARKS[5]);
            Request::get(API)
                .extension(wanted)
                .body(Full::<Bytes>::default())
                .unwrap()
        };
        leaks.check_debug("Request", &request());
        futures_util::future::poll_fn(|cx| service.poll_ready(cx))
            .await
            .unwrap();
        let future = service.call(request());
        leaks.check_debug("ResponseFuture", &future);
        if let Err(error) = future.await {
            leaks.check_error("TokenServiceError", &error);
        }
        match manager.token(&key()).await {
            Ok(token) => leaks.check_debug("AccessToken", &token),
            Err(error) => leaks.check_error("Error", &error),
        }
        leaks.check_debug("grants", &manager.grants(MARKS[4]).await.unwrap());
        while let Some(event) = events.try_next() {
            leaks.check_debug("Event", &event);
        }
        leaks.check(
            "Fingerprint",
            manager.fingerprint(&key()).to_string().as_bytes(),
        );
    }
}

/// Nor does a client over reqwest, whose own output names its default headers.
#[tokio::test]
async fn a_client_over_reqwest_prints_no_secret() {
    let leaks = Leaks::new(MARKS);
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate().unwrap());
    let manager = TokenManager::builder().store(store.await.unwrap());
    let provider = OAuth2::new("p", "https://a.example/t").public_client("c");
    let manager = manager.provider(provider).build().await.unwrap();
    manager.connect(&key(), response()).await.unwrap();
    let headers = [(http::header::COOKIE, MARKS[3].parse().unwrap())];
    let http =
        || ::reqwest::Client::builder().default_headers(headers.clone().into_iter().collect());
    assert!(leaks.find(format!("{:?}", http()).as_bytes()).is_some());

    let builder = reqwest::TokenClient::builder(&manager);
    leaks.check_debug("TokenClientBuilder", &builder);
    let ada = builder.build(http()).unwrap().for_key(key());
    leaks.check_debug("TokenClient", &ada);
    let request = || {
        Request::get(API)
            .body(::reqwest::Body::from(MARKS[0]))
            .unwrap()
    };
    leaks.check_debug("TokenClientFuture", &(&ada).call(request()));
    let mut service = reqwest::ReqwestService::new(http()).unwrap();
    leaks.check_debug("ReqwestService", &service);
    leaks.check_debug("ReqwestFuture", &service.call(request()));
    let sent = reqwest::SendWith::send_with(ada.client().get(API).body(MARKS[0]), &ada);
    leaks.check_debug("SendWithFuture", &sent);
    leaks.check_error("TokenServiceError", &sent.await.unwrap_err());
}

/// The default back channel's errors, too: a token endpoint's query may hold a key.
#[tokio::test]
async fn the_url_of_the_token_endpoint_is_not_in_its_errors() {
    let leaks = Leaks::new(MARKS);
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate().unwrap())
        .await
        .unwrap();
    let endpoint = format!("http://127.0.0.1:9/token?key={}", MARKS[3]);
    let provider = OAuth2::new("p", endpoint).public_client("c");
    leaks.check_debug("OAuth2", &provider);
    let manager = TokenManager::builder()
        .store(store)
        .provider(provider)
        .build()
        .await
        .unwrap();
    manager.connect(&key(), response()).await.unwrap();
    let error = manager.token(&key()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenService);
    assert!(std::error::Error::source(&error).is_some());
    leaks.check_error("Error", &error);
}

#[test]
fn a_request_with_a_token_in_it_prints_none() {
    // What the inner service could log: the header is marked sensitive.
    let leaks = Leaks::new(MARKS);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let api = Api::default();
    runtime.block_on(async {
        let store = SealedStore::open(MemoryStore::new(), KeyRing::generate().unwrap());
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(
                OAuth2::new("p", "https://a.example/t")
                    .public_client("c")
                    .allow_origin(API),
            )
            .build()
            .await
            .unwrap();
        manager
            .connect(&key(), TokenResponse::new(MARKS[0]))
            .await
            .unwrap();
        let client = TokenLayer::new(&manager).layer(api.service::<Full<Bytes>>());
        let wanted = TokenRequest::new(key());
        let request = Request::get(API)
            .extension(wanted)
            .body(Full::default())
            .unwrap();
        tower::ServiceExt::oneshot(client, request).await.unwrap();
        leaks.check_debug("AccessToken", &manager.token(&key()).await.unwrap());
    });
    assert_eq!(api.tokens(), [MARKS[0]]);
    leaks.check_debug("the request that was sent", &api.last());
}

#[tokio::test]
async fn a_process_prints_no_secret_in_any_fault() {
    let oidc = Oidc::start(3).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ring = KeyRing::generate().unwrap();
    let mut service = Service::start(
        env!("CARGO_BIN_EXE_connected-service"),
        folder.path(),
        Some(&ring),
        oidc.base(),
    )
    .await
    .unwrap();
    let mut marks = vec![
        String::from("basic-secret"),
        ring.encode().expose().to_owned(),
        // What `client_secret_basic` makes of them.
        String::from("YmFzaWM6YmFzaWMtc2VjcmV0"),
    ];
    for (n, fault) in [
        json!({}),
        json!({ "status": 500 }),
        json!({ "status": 429, "retry_after": "1" }),
        json!({ "status_after": 502 }),
        json!({ "hold_ms": 3_000 }),
        json!({ "garbage": true }),
        json!({ "truncate": true }),
        json!({ "oversize": true }),
        json!({ "redirect": true }),
        json!({ "reset_after": true }),
        json!({ "omit_refresh_token": true }),
    ]
    .into_iter()
    .enumerate()
    {
        let account = format!("marked-user-{n}@example.com");
        let mut tokens = oidc.mint("basic", &account, "opaque").await.unwrap();
        for name in ["access_token", "refresh_token"] {
            marks.push(tokens[name].as_str().unwrap().to_owned());
        }
        // Due at once, so that every call meets the fault.
        tokens["expires_in"] = json!(1);
        service
            .ask(&format!("connect {account} {tokens}"))
            .await
            .unwrap();
        oidc.faults(fault).await.unwrap();
        let kill = json!({ "access_token": tokens["access_token"] });
        oidc.post("/test/kill-access", &kill).await.unwrap();
        service.ask(&format!("call {account}")).await.unwrap();
        service.ask(&format!("call {account}")).await.unwrap();
        marks.push(account);
    }
    oidc.faults(json!({})).await.unwrap();
    let panicking = oidc.mint("basic", "panicking", "opaque").await.unwrap();
    for name in ["access_token", "refresh_token"] {
        marks.push(panicking[name].as_str().unwrap().to_owned());
    }
    let answer = service
        .ask(&format!("panic marked-user {panicking}"))
        .await
        .unwrap();
    assert_eq!(answer, "Err(TokenService)");
    let planted = oidc.mint("basic", "planted", "opaque").await.unwrap();
    service
        .ask(&format!("connect planted {planted}"))
        .await
        .unwrap();
    service.ask("leak planted").await.unwrap();
    let said = service.finish().await.unwrap();
    assert!(said.len() > 10_000, "there is nothing to search");
    let text = String::from_utf8_lossy(&said);
    assert!(
        text.contains("panicked at") && text.contains("RefreshRequest"),
        "no panic to search"
    );
    assert!(
        text.contains("event=\"refresh_failed\""),
        "no trace to search"
    );

    // The subject is what the API answers, so the child prints it: not the marks' affair.
    let secrets = marks
        .iter()
        .map(String::as_str)
        .filter(|mark| !mark.contains('@'));
    Leaks::new(secrets).check("the output", &said);
    // A leak that was planted is found.
    let planted = planted["access_token"].as_str().unwrap();
    assert!(Leaks::new([planted]).find(&said).is_some());
}

#[test]
fn a_leak_is_found_in_every_form() {
    use base64::Engine as _;
    let leaks = Leaks::new(["mark-access-token"]);
    let engines = [
        base64::engine::general_purpose::STANDARD,
        base64::engine::general_purpose::URL_SAFE,
    ];
    for engine in engines {
        for around in ["", "x", "xy", "xyz"] {
            let text = engine.encode(format!("{around}mark-access-token{around}"));
            assert!(leaks.find(text.as_bytes()).is_some(), "{text}");
        }
    }
    for leak in [
        "GET /?t=mark-access-token HTTP/1.1",
        "6d61726b2d6163636573732d746f6b656e",
        "6D61726B2D6163636573732D746F6B656E",
        "%6D%61%72%6B%2D%61%63%63%65%73%73%2D%74%6F%6B%65%6E",
        "[109, 97, 114, 107, 45, 97, 99, 99, 101, 115, 115, 45, 116, 111, 107, 101, 110]",
    ] {
        assert!(leaks.find(leak.as_bytes()).is_some(), "{leak}");
    }
    assert!(leaks.find(b"mark-access-toke and access-token").is_none());
}
