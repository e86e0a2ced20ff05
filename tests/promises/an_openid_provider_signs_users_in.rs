//! Users sign in by a real OpenID provider, by its own pages, and leave by it.

use axum::extract::State;
use axum::routing::get;
use axum::{Router, body::Bytes};
use axum_extra::extract::cookie::Key;
use axum_token::{
    ConnectProvider, CurrentSubject, NoStoreLayer, OAuthRoutes, OpenId, PublicOrigin,
    SessionTokenLayer, SignIns, TokenRejection, TokenState, Tokens, sessions,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use reqwest::Url;
use serde_json::{Value, json};
use tests::BoxError;
use tests::oidc::Oidc;
use tests::person::Person;
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_sessions::MemoryStore as MemorySessions;
use tower_token::{GrantKey, KeyRing, MemoryStore, SealedStore, TokenManager};

/// The service, on a port of its own, and its provider.
struct Service {
    origin: String,
    oidc: Oidc,
    manager: TokenManager,
    _running: tokio::task::JoinSet<()>,
}

impl Service {
    async fn start() -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let oidc = Oidc::start_for_web(60, &origin).await?;
        let openid = OpenId::discover(oidc.base()).await?;
        let provider = openid
            .provider("op")
            .client_secret_basic("web", "web-secret")
            .allow_origin(oidc.base());
        let op = ConnectProvider::openid(&openid, provider.code_exchange()?)
            .scope("offline_access email")
            .signs_in();
        let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
        let manager = TokenManager::builder()
            .store(store)
            .provider(provider)
            .provider(SignIns::provider())
            .build()
            .await?;
        let sign_ins = SignIns::new(&manager);
        let public: PublicOrigin = origin.parse()?;
        let routes = OAuthRoutes::new(&public, "/auth", Key::generate(), sessions::Sessions)
            .sign_ins(&sign_ins)
            .provider(op);
        let app = Router::new()
            .route("/", get(home))
            .route("/token", get(token))
            .merge(routes.router()?)
            .layer(
                ServiceBuilder::new()
                    .layer(NoStoreLayer)
                    .layer(sessions::layer(&public, MemorySessions::default()))
                    .layer(SessionTokenLayer::new(sessions::Sessions).sign_ins(&sign_ins)),
            )
            .with_state(TokenState::new(&manager));
        let mut running = tokio::task::JoinSet::new();
        running.spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self {
            origin,
            oidc,
            manager,
            _running: running,
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// To the provider.
    async fn sent_on(&self, person: &mut Person) -> Result<String, BoxError> {
        let answer = self.send(person, Method::GET, "/auth/op?next=/").await?;
        Ok(answer.headers()["location"].to_str()?.to_owned())
    }

    async fn sign_in(&self, person: &mut Person) -> Result<String, BoxError> {
        let there = self.sent_on(person).await?;
        let back = person.authorize(&there).await?;
        self.arrive(person, &back).await
    }

    async fn arrive(&self, person: &mut Person, back: &Url) -> Result<String, BoxError> {
        let arrival = person.visit(back.as_str()).await?;
        Ok(String::from_utf8(arrival.page.body().to_vec())?)
    }

    async fn send(
        &self,
        person: &mut Person,
        method: Method,
        path: &str,
    ) -> Result<Response<Bytes>, BoxError> {
        let request = Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("origin", &self.origin)
            .header("x-csrf", "1")
            .body(Full::default())?;
        person.send(request).await
    }

    async fn is_connected(&self, user: &str) -> Result<bool, BoxError> {
        let grants = self.manager.grants(user).await?;
        Ok(grants.iter().any(|grant| grant.key().provider() == "op"))
    }

    async fn count(&self, name: &str) -> Result<Value, BoxError> {
        Ok(self.oidc.counts().await?[name].clone())
    }
}

async fn home(user: Option<CurrentSubject>) -> String {
    user.map_or_else(|| "nobody".into(), |user| user.as_str().to_owned())
}

async fn token(tokens: Tokens, State(_): State<TokenState>) -> Result<String, TokenRejection> {
    Ok(tokens.valid("op").await?.access_token().expose().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn by_its_own_login_and_consent_pages() -> Result<(), BoxError> {
    let service = Service::start().await?;
    let mut alice = Person::new("alice");
    assert_eq!(service.sign_in(&mut alice).await?, "op|alice");
    let token = service.send(&mut alice, Method::GET, "/token").await?;
    assert!(service.oidc.accepts(str::from_utf8(token.body())?).await?);
    let key = GrantKey::new("op", "op|alice");
    let grants = service.manager.grants(key.subject()).await?;
    let grant = grants.iter().find(|grant| *grant.key() == key).unwrap();
    assert!(grant.refresh_token().is_some() && grant.id_token().is_some());

    // With new keys, which are asked for when they are met.
    service.oidc.rotate_keys(true).await?;
    let mut bob = Person::new("bob");
    assert_eq!(service.sign_in(&mut bob).await?, "op|bob");
    assert_eq!(service.count("code_ok").await?, 2);
    assert_eq!(service.count("code_failed").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_agree_is_told_and_can_begin_again() -> Result<(), BoxError> {
    let service = Service::start().await?;
    let mut alice = Person::new("alice");
    let there = service.sent_on(&mut alice).await?;
    let back = alice.deny(&there).await?;
    let page = service.arrive(&mut alice, &back).await?;
    assert!(page.contains("You did not agree"), "{page}");
    assert!(!service.is_connected("op|alice").await?);
    assert_eq!(service.sign_in(&mut alice).await?, "op|alice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_comes_again_spends_nothing() -> Result<(), BoxError> {
    let service = Service::start().await?;
    let mut alice = Person::new("alice");
    let there = service.sent_on(&mut alice).await?;
    let back = alice.authorize(&there).await?;
    assert_eq!(service.arrive(&mut alice, &back).await?, "op|alice");
    let page = service.arrive(&mut alice, &back).await?;
    assert!(page.contains("done before"), "{page}");
    assert_eq!(service.count("code_replayed").await?, 0);
    assert_eq!(service.count("grants_revoked").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_here_signs_out_there() -> Result<(), BoxError> {
    let service = Service::start().await?;
    let mut alice = Person::new("alice");
    service.sign_in(&mut alice).await?;
    let left = service
        .send(&mut alice, Method::POST, "/auth/op/logout")
        .await?;
    assert_eq!(left.status(), StatusCode::OK);
    let left: Value = serde_json::from_slice(left.body())?;
    let on = service.send(&mut alice, Method::GET, left["location"].as_str().unwrap());
    let on = on.await?.headers()["location"].to_str()?.to_owned();
    assert!(
        on.starts_with(service.oidc.base()) && on.contains("id_token_hint="),
        "{on}"
    );
    let back = alice.log_out(&on).await?;
    assert_eq!(service.arrive(&mut alice, &back).await?, "nobody");
    assert_eq!(service.count("logouts").await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_there_is_signed_out_and_disconnected_here() -> Result<(), BoxError> {
    let service = Service::start().await?;
    let (mut alice, mut bob) = (Person::new("alice"), Person::new("bob"));
    service.sign_in(&mut alice).await?;
    service.sign_in(&mut bob).await?;
    let mut elsewhere = Person::new("alice");
    service.sign_in(&mut elsewhere).await?;

    // Tokens of the provider that say something else, or to somebody else.
    for (client, claims) in [
        ("web", json!({ "events": null })),
        ("web", json!({ "nonce": "x" })),
        ("basic", json!({})),
    ] {
        let wanted = json!({ "account": "alice", "client_id": client, "claims": claims });
        let token = service.oidc.logout_token(&wanted).await?;
        assert_eq!(
            service.told(&token).await?,
            StatusCode::BAD_REQUEST,
            "{client} {claims}"
        );
    }
    let page = service.send(&mut alice, Method::GET, "/").await?;
    assert_eq!(page.body(), "op|alice");

    let genuine = service
        .oidc
        .logout_token(&json!({ "account": "alice" }))
        .await?;
    service.oidc.end_session("alice").await?;
    for person in [&mut alice, &mut elsewhere] {
        let page = service.send(person, Method::GET, "/").await?;
        assert_eq!(page.body(), "nobody");
    }
    assert!(!service.is_connected("op|alice").await?);
    let page = service.send(&mut bob, Method::GET, "/").await?;
    assert_eq!(page.body(), "op|bob");
    assert!(service.is_connected("op|bob").await?);

    // One that was made before is good once.
    assert_eq!(service.told(&genuine).await?, StatusCode::OK);
    assert_eq!(service.told(&genuine).await?, StatusCode::BAD_REQUEST);
    Ok(())
}

impl Service {
    /// A logout token, by the back channel.
    async fn told(&self, token: &str) -> Result<StatusCode, BoxError> {
        let request = Request::post(self.url("/auth/op/backchannel-logout"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(format!("logout_token={token}")))?;
        Ok(Person::new("nobody").send(request).await?.status())
    }
}
