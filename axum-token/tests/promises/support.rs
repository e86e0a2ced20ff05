//! A service with users, and a browser.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Path, State};
use axum::routing::{get, post};
use axum_token::{
    CurrentSubject, Logout, NoStoreLayer, ProviderName, PublicOrigin, SameOriginLayer,
    SessionTokenLayer, SignIns, TokenRejection, TokenState, Tokens, ValidToken, sessions,
};
use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_sessions::session::{Id, Record};
use tower_sessions::{Session, SessionStore, session_store};
use tower_token::testkit::{AuthServer, ManualClock};
use tower_token::{ByteStore, GrantKey, KeyRing, MemoryStore, SealedStore, TokenManager};

pub const ORIGIN: &str = "https://app.example.com";
pub const TTL: Duration = Duration::from_secs(3_600);
pub const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

pub struct Demo;

impl ProviderName for Demo {
    const NAME: &'static str = "demo";
}

/// A service: pages, users in sessions, their tokens, and the servers that these are of.
pub struct Rig {
    pub server: AuthServer,
    pub manager: TokenManager,
    pub sign_ins: SignIns,
    pub clock: ManualClock,
    /// Where grants are.
    pub grants: MemoryStore,
    /// Where sessions are.
    pub sessions: CountingStore,
    pub app: App,
}

#[derive(Clone, Debug)]
pub struct App {
    pub tokens: TokenState,
    pub sign_ins: SignIns,
    /// Whether sign-ins carry a stamp.
    pub stamped: bool,
    /// What the next consent brings.
    pub consent: Arc<Mutex<Option<tower_token::TokenResponse>>>,
}

impl FromRef<App> for TokenState {
    fn from_ref(app: &App) -> Self {
        app.tokens.clone()
    }
}

impl Rig {
    pub async fn new() -> Self {
        let clock = ManualClock::new();
        let server = AuthServer::builder()
            .clock(clock.clone())
            .access_ttl(TTL)
            .start()
            .unwrap();
        let grants = MemoryStore::with_clock(clock.clone());
        let ring = KeyRing::generate().unwrap();
        let manager = manager(grants.clone(), &ring, &server, &clock).await;
        let tokens = TokenState::new(&manager)
            .login_at(Uri::from_static("/login"))
            .connect_at("demo", Uri::from_static("/connect/demo"));
        let sign_ins = SignIns::new(&manager);
        Self {
            server,
            clock,
            grants,
            sessions: CountingStore::default(),
            app: App {
                tokens,
                sign_ins: sign_ins.clone(),
                stamped: false,
                consent: Arc::default(),
            },
            sign_ins,
            manager,
        }
    }

    /// Tokens of `user`, as after their consent.
    pub async fn connect(&self, user: &str) {
        let key = GrantKey::new("demo", user);
        let tokens = self.server.connect(user);
        self.manager.connect(&key, tokens.into()).await.unwrap();
    }

    pub fn router(&self) -> Router {
        self.router_with(SessionTokenLayer::new(sessions::Sessions))
    }

    pub fn router_with(&self, layer: SessionTokenLayer<sessions::Sessions>) -> Router {
        let origin: PublicOrigin = ORIGIN.parse().unwrap();
        *self.app.consent.lock() = Some(self.server.connect("somebody").into());
        routes(self.app.clone()).layer(
            ServiceBuilder::new()
                .layer(NoStoreLayer)
                .layer(SameOriginLayer::new(&origin))
                .layer(sessions::layer(&origin, self.sessions.clone()))
                .layer(layer),
        )
    }

    pub fn browser(&self) -> Browser {
        Browser::new(self.router())
    }

    /// Ada's browser, signed in.
    pub async fn ada(&self) -> Browser {
        let mut browser = self.browser();
        browser.sign_in("ada").await;
        browser
    }

    /// Everything that is stored: of grants, and of sessions.
    pub async fn stored(&self) -> (Vec<(Vec<u8>, u64, Bytes)>, BTreeMap<i128, String>) {
        let rows = self.grants.scan(None, 10_000).await.unwrap();
        let rows = rows
            .into_iter()
            .map(|(key, row)| (key.as_bytes().to_vec(), row.version.0, row.bytes))
            .collect();
        (rows, self.sessions.all())
    }
}

pub async fn manager(
    grants: impl ByteStore,
    ring: &KeyRing,
    server: &AuthServer,
    clock: &ManualClock,
) -> TokenManager {
    TokenManager::builder()
        .store(SealedStore::open(grants, ring.clone()).await.unwrap())
        .provider(server.provider("demo"))
        .provider(server.provider("notes"))
        .provider(SignIns::provider())
        .clock(clock.clone())
        .build()
        .await
        .unwrap()
}

pub fn routes(app: App) -> Router {
    Router::new()
        .route("/login/{user}", post(login))
        .route("/logout", post(logout))
        .route("/leave", post(leave))
        .route("/connect", post(connect))
        .route("/note/{text}", post(note))
        .route("/note", get(read_note))
        .route("/me", get(me))
        .route("/public", get(|| async { "public" }))
        .route("/token", get(token))
        .route("/optional", get(optional))
        .route("/named/{provider}", get(named))
        .with_state(app)
}

async fn login(
    State(app): State<App>,
    session: Session,
    Path(user): Path<String>,
) -> Result<(), TokenRejection> {
    if app.stamped {
        return sessions::sign_in(&session, app.sign_ins.admit(&user).await?).await;
    }
    sessions::sign_in(&session, user).await
}

async fn logout(session: Session) -> Result<(), TokenRejection> {
    sessions::sign_out(&session).await
}

/// Signs out everywhere, and disconnects.
async fn leave(
    State(app): State<App>,
    user: CurrentSubject,
    session: Session,
) -> Result<(), TokenRejection> {
    let logout = Logout::of(&user).disconnect_all().everywhere(&app.sign_ins);
    let outcome = logout.run(app.tokens.manager()).await?;
    sessions::sign_out(&session).await?;
    outcome.complete()
}

async fn connect(State(app): State<App>, user: CurrentSubject) -> Result<(), TokenRejection> {
    let tokens = app.consent.lock().take().unwrap();
    let (manager, key) = (app.tokens.manager(), user.grant_key("demo"));
    manager.connect(&key, tokens).await?;
    if !user.is_signed_in().await? {
        manager.disconnect(&key).await?;
    }
    Ok(())
}

async fn note(session: Session, Path(text): Path<String>) {
    session.insert("note", text).await.unwrap();
}

async fn read_note(session: Session) -> String {
    session.get("note").await.unwrap().unwrap_or_default()
}

async fn me(user: CurrentSubject) -> String {
    user.as_str().into()
}

async fn token(token: ValidToken<Demo>) -> String {
    token.access_token().expose().into()
}

async fn optional(token: Option<ValidToken<Demo>>) -> &'static str {
    if token.is_some() { "some" } else { "none" }
}

async fn named(tokens: Tokens, Path(provider): Path<String>) -> Result<String, TokenRejection> {
    let token = tokens.valid(&provider).await?;
    Ok(token.access_token().expose().into())
}

/// Keeps cookies as browsers do: by name, and no `__Host-` one that is not as it should be.
#[derive(Clone)]
pub struct Browser {
    pub router: Router,
    pub cookies: BTreeMap<String, String>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Browser {
    pub fn new(router: Router) -> Self {
        Self {
            router,
            cookies: BTreeMap::new(),
        }
    }

    pub async fn sign_in(&mut self, user: &str) {
        let answer = self.post(&format!("/login/{user}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, &[]).await
    }

    /// From a page of the service, by its script.
    pub async fn post(&mut self, path: &str) -> Answer {
        let headers = [("sec-fetch-site", "same-origin"), ("x-csrf", "1")];
        self.send(Method::POST, path, &headers).await
    }

    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send_body(method, path, headers, Body::empty()).await
    }

    pub async fn send_body(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !self.cookies.is_empty() {
            let pairs = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            request = request.header(COOKIE, pairs.collect::<Vec<_>>().join("; "));
        }
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        for cookie in parts.headers.get_all(SET_COOKIE) {
            self.take(cookie.to_str().unwrap());
        }
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    fn take(&mut self, cookie: &str) {
        let mut parts = cookie.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attributes: Vec<_> = parts.collect();
        let has = |attribute| attributes.contains(&attribute);
        if name.starts_with("__Host-") && !(has("Secure") && has("Path=/")) {
            return;
        }
        if has("Max-Age=0") {
            self.cookies.remove(name);
        } else {
            self.cookies.insert(name.into(), value.into());
        }
    }
}

/// Sessions in memory: counts what is asked of it, and fails when told to.
#[derive(Debug, Clone, Default)]
pub struct CountingStore(Arc<Counting>);

#[derive(Debug, Default)]
struct Counting {
    records: Mutex<BTreeMap<i128, Record>>,
    loads: AtomicUsize,
    writes: AtomicUsize,
    broken: Mutex<Broken>,
}

/// What a store of sessions cannot do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Broken {
    #[default]
    Nothing,
    /// It can be read.
    Writes,
    /// What is there can be written and deleted: it is full.
    Creates,
    Everything,
}

impl CountingStore {
    pub fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }

    pub fn writes(&self) -> usize {
        self.0.writes.load(Ordering::SeqCst)
    }

    pub fn set_broken(&self, broken: bool) {
        self.set(if broken {
            Broken::Everything
        } else {
            Broken::Nothing
        });
    }

    pub fn set(&self, broken: Broken) {
        *self.0.broken.lock() = broken;
    }

    pub fn all(&self) -> BTreeMap<i128, String> {
        let records = self.0.records.lock();
        records
            .iter()
            .map(|(id, record)| (*id, format!("{:?}", record.data)))
            .collect()
    }

    /// The only session there is.
    pub fn record(&self) -> Record {
        let records = self.0.records.lock();
        assert_eq!(records.len(), 1);
        records.values().next().unwrap().clone()
    }

    pub fn put(&self, record: Record) {
        self.0.records.lock().insert(record.id.0, record);
    }

    /// Fails if one of these is how it is broken.
    fn check(&self, these: &[Broken]) -> session_store::Result<()> {
        let broken = *self.0.broken.lock();
        if broken == Broken::Everything || these.contains(&broken) {
            return Err(session_store::Error::Backend("told to fail".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl SessionStore for CountingStore {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.check(&[Broken::Creates])?;
        self.save(record).await
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        self.check(&[Broken::Writes])?;
        self.0.records.lock().insert(record.id.0, record.clone());
        Ok(())
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        self.check(&[])?;
        Ok(self.0.records.lock().get(&id.0).cloned())
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.0.writes.fetch_add(1, Ordering::SeqCst);
        self.check(&[Broken::Writes])?;
        self.0.records.lock().remove(&id.0);
        Ok(())
    }
}
