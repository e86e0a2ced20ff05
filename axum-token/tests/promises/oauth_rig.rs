//! A provider of OpenID Connect that lies when it is told to, and a service whose users sign in
//! and connect there. Its tokens are real ones of the rig's token service.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum_extra::extract::cookie::Key;
use axum_token::{
    ConnectProvider, NoStoreLayer, OAuthRoutes, OpenId, PublicOrigin, SameOriginLayer,
    SessionTokenLayer, SignIns, TokenState, sessions,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKeyId, PrivateSigningKey as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower::{ServiceBuilder, service_fn};
use tower_token::testkit::Issued;
use tower_token::{Clock as _, KeyRing, MetadataClient, OAuth2, SystemClock};

use crate::stamps_rig::Loads;
use crate::support::{Answer, Browser, ORIGIN, Rig, manager};

pub const ISSUER: &str = "https://op.example";
pub const CLIENT: &str = "the-client";
pub const CLIENT_SECRET: &str = "secret-of-the-client";

/// What a code stands for, and what its answer says.
#[derive(Clone)]
pub struct Consent {
    pub sub: String,
    pub nonce: String,
    pub code_challenge: String,
    pub redirect_uri: String,
    /// Changes claims of the id token: null takes one out.
    pub claims: Value,
    /// No id token at all.
    pub without_id_token: bool,
    pub without_refresh_token: bool,
    /// Signed by another key of the same id.
    pub forged: bool,
}

#[derive(Default)]
struct State {
    codes: HashMap<String, (Consent, Issued)>,
    exchanges: usize,
    reused: usize,
    revoked: Vec<String>,
    /// The form of the last exchange.
    exchanged: Vec<u8>,
    jwks: usize,
    down: bool,
    sends_iss: bool,
}

/// Of the next code: the first is told when it is exchanged, the second lets the answer go.
type Pause = (oneshot::Sender<()>, oneshot::Receiver<()>);

#[derive(Clone)]
pub struct Op {
    issuer: &'static str,
    state: Arc<Mutex<State>>,
    paused: Arc<Mutex<Option<Pause>>>,
    key: Arc<CoreEdDsaPrivateSigningKey>,
    other_key: Arc<CoreEdDsaPrivateSigningKey>,
}

fn key(seed: u8) -> Arc<CoreEdDsaPrivateSigningKey> {
    // PKCS #8 of RFC 8410: a few fixed bytes before the seed.
    let mut der = vec![48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    der.extend([seed; 32]);
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64::prelude::BASE64_STANDARD.encode(der)
    );
    let id = Some(JsonWebKeyId::new("k1".into()));
    Arc::new(CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, id).unwrap())
}

pub fn unix_now() -> u64 {
    // Id tokens are checked by the system's time.
    SystemClock::new().now().as_unix_millis() / 1_000
}

impl Default for Op {
    fn default() -> Self {
        Self::of(ISSUER)
    }
}

impl Op {
    pub fn of(issuer: &'static str) -> Self {
        Self {
            issuer,
            state: Arc::default(),
            paused: Arc::default(),
            key: key(1),
            other_key: key(2),
        }
    }

    /// The next answer with tokens is on its way until it is let go.
    pub fn pause(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (begun, begins) = oneshot::channel();
        let (go, goes) = oneshot::channel();
        *self.paused.lock() = Some((begun, goes));
        (begins, go)
    }

    pub fn set_down(&self, down: bool) {
        self.state.lock().down = down;
    }

    pub fn set_sends_iss(&self) {
        self.state.lock().sends_iss = true;
    }

    /// Codes that were exchanged.
    pub fn exchanges(&self) -> usize {
        self.state.lock().exchanges
    }

    /// Codes that came a second time.
    pub fn reused(&self) -> usize {
        self.state.lock().reused
    }

    /// What the last exchange said of `name`, however often.
    pub fn exchanged(&self, name: &str) -> Vec<String> {
        all(&self.state.lock().exchanged, name)
    }

    pub fn revoked(&self) -> usize {
        self.state.lock().revoked.len()
    }

    /// The user consents: a code for it.
    fn code(&self, consent: Consent, issued: Issued) -> String {
        let mut state = self.state.lock();
        let code = format!("code-{}", state.codes.len());
        state.codes.insert(code.clone(), (consent, issued));
        code
    }

    /// A JWT by this provider.
    pub fn sign(&self, header: &Value, claims: &Value, forged: bool) -> String {
        let part = |part: &Value| BASE64.encode(part.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let key = if forged { &self.other_key } else { &self.key };
        let signature = key
            .sign(&CoreJwsSigningAlgorithm::EdDsa, input.as_bytes())
            .unwrap();
        format!("{input}.{}", BASE64.encode(signature))
    }

    fn id_token(&self, consent: &Consent) -> String {
        let now = unix_now();
        let mut claims = json!({
            "iss": self.issuer, "sub": consent.sub, "aud": CLIENT, "nonce": consent.nonce,
            "iat": now, "exp": now + 300, "sid": "session-1", "email": "ada@example.com",
        });
        merge(&mut claims, &consent.claims);
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": "JWT" });
        self.sign(&header, &claims, consent.forged)
    }

    /// A logout token, with claims changed.
    pub fn logout_token(&self, changed: &Value) -> String {
        let now = unix_now();
        let mut claims = json!({
            "iss": self.issuer, "sub": "ada", "aud": CLIENT, "iat": now, "exp": now + 120,
            "jti": "jti-1", "sid": "session-1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        merge(&mut claims, changed);
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": "logout+jwt" });
        self.sign(&header, &claims, false)
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let mut state = self.state.lock();
        if state.down {
            return answer(503, &json!({}));
        }
        match request.uri().path() {
            "/.well-known/openid-configuration" => answer(
                200,
                &json!({
                    "issuer": self.issuer,
                    "authorization_endpoint": format!("{}/authorize", self.issuer),
                    "token_endpoint": format!("{}/token", self.issuer),
                    "revocation_endpoint": format!("{}/revoke", self.issuer),
                    "end_session_endpoint": format!("{}/end", self.issuer),
                    "jwks_uri": format!("{}/jwks", self.issuer),
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["EdDSA"],
                    "authorization_response_iss_parameter_supported": state.sends_iss,
                }),
            ),
            "/jwks" => {
                state.jwks += 1;
                let keys = CoreJsonWebKeySet::new(vec![self.key.as_verification_key()]);
                answer(200, &serde_json::to_value(keys).unwrap())
            }
            "/token" => self.token(&mut state, request.body()),
            "/revoke" => {
                let form = form(request.body());
                state.revoked.push(form["token"].clone());
                answer(200, &json!({}))
            }
            path => panic!("{path} was asked for"),
        }
    }

    fn token(&self, state: &mut State, body: &[u8]) -> Response<Full<Bytes>> {
        state.exchanged = body.to_vec();
        let form = form(body);
        assert_eq!(form["grant_type"], "authorization_code");
        let invalid = answer(400, &json!({ "error": "invalid_grant" }));
        let code = form.get("code").cloned().unwrap_or_default();
        let Some((consent, issued)) = state.codes.get(&code).cloned() else {
            return invalid;
        };
        if consent.sub.is_empty() {
            state.reused += 1;
            return invalid;
        }
        let challenge = openidconnect::PkceCodeChallenge::from_code_verifier_sha256(
            &openidconnect::PkceCodeVerifier::new(form["code_verifier"].clone()),
        );
        let is_right = challenge.as_str() == consent.code_challenge
            && form["redirect_uri"] == consent.redirect_uri;
        // Good once, whoever comes with it.
        if let Some((held, _)) = state.codes.get_mut(&code) {
            held.sub.clear();
        }
        if !is_right {
            return invalid;
        }
        state.exchanges += 1;
        let mut tokens = json!({
            "access_token": issued.access_token,
            "token_type": "Bearer",
            "expires_in": 3_600,
            "refresh_token": issued.refresh_token,
            "id_token": self.id_token(&consent),
        });
        if consent.without_id_token {
            merge(&mut tokens, &json!({ "id_token": null }));
        }
        if consent.without_refresh_token {
            merge(&mut tokens, &json!({ "refresh_token": null }));
        }
        answer(200, &tokens)
    }

    pub fn metadata_client(&self) -> MetadataClient {
        let op = self.clone();
        MetadataClient::with_transport(service_fn(move |request: Request<Bytes>| {
            let answer = op.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        }))
    }

    fn client(&self, openid: &OpenId, name: &str) -> OAuth2 {
        let op = self.clone();
        openid
            .provider(name.to_owned())
            .client_secret_post(CLIENT, CLIENT_SECRET)
            .transport(service_fn(move |request: Request<Bytes>| {
                let answer = op.answer(&request);
                let exchanges = request.uri().path() == "/token";
                let paused = exchanges.then(|| op.paused.lock().take()).flatten();
                async move {
                    if let Some((begun, goes)) = paused {
                        begun.send(()).unwrap();
                        goes.await.unwrap();
                    }
                    Ok::<_, Infallible>(answer)
                }
            }))
    }

    /// It as a provider of routes, called `name`.
    pub async fn provider(&self, name: &str) -> ConnectProvider {
        let discovered = OpenId::discover_with(self.issuer, self.metadata_client()).await;
        let openid = discovered.unwrap();
        let exchange = self.client(&openid, name).code_exchange().unwrap();
        ConnectProvider::openid(&openid, exchange).scope("offline_access")
    }

    /// It as one of OAuth alone.
    pub async fn plain(&self, name: &str) -> ConnectProvider {
        let discovered = OpenId::discover_with(self.issuer, self.metadata_client()).await;
        let exchange = self.client(&discovered.unwrap(), name).code_exchange();
        ConnectProvider::oauth2(format!("{}/authorize", self.issuer), exchange.unwrap())
            .scope("notes")
    }
}

/// The service: users sign in by `demo`.
pub struct Service {
    pub rig: Rig,
    pub op: Op,
}

impl Service {
    pub async fn new() -> Self {
        Self {
            rig: Rig::new().await,
            op: Op::default(),
        }
    }

    /// On this store: as after a restart, if it was in use before.
    pub async fn on(store: &Loads, ring: &KeyRing) -> Self {
        let mut service = Self::new().await;
        let rig = &mut service.rig;
        rig.manager = manager(store.clone(), ring, &rig.server, &rig.clock).await;
        rig.sign_ins = SignIns::new(&rig.manager);
        rig.app.tokens = TokenState::new(&rig.manager);
        rig.app.sign_ins = rig.sign_ins.clone();
        service
    }

    /// The user consents: a code for it.
    pub fn code(&self, consent: Consent) -> String {
        let issued = self.rig.server.connect(&consent.sub);
        self.op.code(consent, issued)
    }

    /// Whose users sign in by `demo`.
    pub async fn router(&self) -> Router {
        self.router_of(self.op.provider("demo").await.signs_in())
    }

    pub fn router_of(&self, provider: ConnectProvider) -> Router {
        self.router_with(self.routes().provider(provider))
    }

    pub fn routes(&self) -> OAuthRoutes<sessions::Sessions> {
        let origin: PublicOrigin = ORIGIN.parse().unwrap();
        OAuthRoutes::new(&origin, "/auth", Key::from(&[7; 64]), sessions::Sessions)
            .sign_ins(&self.rig.sign_ins)
            // One that looks at nothing but the account.
            .subject(|account| account.subject().to_owned())
    }

    pub fn router_with(&self, routes: OAuthRoutes<sessions::Sessions>) -> Router {
        let origin: PublicOrigin = ORIGIN.parse().unwrap();
        let mut app = self.rig.app.clone();
        app.stamped = true;
        crate::support::routes(app.clone())
            .layer(SameOriginLayer::new(&origin))
            .merge(routes.router().unwrap().with_state(app))
            .layer(
                ServiceBuilder::new()
                    .layer(NoStoreLayer)
                    .layer(sessions::layer(&origin, self.rig.sessions.clone()))
                    .layer(SessionTokenLayer::new(sessions::Sessions).sign_ins(&self.rig.sign_ins)),
            )
    }

    pub async fn browser(&self) -> Browser {
        Browser::new(self.router().await)
    }

    /// `sub` goes through all of it.
    pub async fn sign_in(&self, browser: &mut Browser, sub: &str) -> Answer {
        let asked = Asked::by(browser, "/auth/demo").await;
        let code = self.code(asked.consent(sub));
        browser.get(&asked.callback(&code)).await
    }
}

/// What the provider was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub endpoint: String,
    pub parameters: HashMap<String, String>,
    path: String,
    query: String,
}

impl Asked {
    pub async fn by(browser: &mut Browser, path: &str) -> Self {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        let (endpoint, query) = answer.header("location").split_once('?').unwrap();
        Self {
            endpoint: endpoint.to_owned(),
            parameters: form(query.as_bytes()),
            query: query.to_owned(),
            path: path.split('?').next().unwrap().to_owned(),
        }
    }

    pub fn consent(&self, sub: &str) -> Consent {
        let parameter = |name: &str| self.parameters.get(name).cloned().unwrap_or_default();
        Consent {
            sub: sub.to_owned(),
            nonce: parameter("nonce"),
            code_challenge: parameter("code_challenge"),
            redirect_uri: parameter("redirect_uri"),
            claims: json!({}),
            without_id_token: false,
            without_refresh_token: false,
            forged: false,
        }
    }

    /// What it says of `name`, however often.
    pub fn all(&self, name: &str) -> Vec<String> {
        all(self.query.as_bytes(), name)
    }

    pub fn state(&self) -> &str {
        &self.parameters["state"]
    }

    pub fn callback(&self, code: &str) -> String {
        format!("{}/callback?code={code}&state={}", self.path, self.state())
    }
}

fn all(form: &[u8], name: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(form).into_owned();
    pairs
        .filter(|(other, _)| other == name)
        .map(|(_, value)| value)
        .collect()
}

pub fn form(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

fn merge(into: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            into[name] = value.clone();
        }
    }
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::from(body.to_string()))
        .unwrap()
}
