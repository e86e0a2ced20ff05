//! Pages that call an API, which is a real server and counts.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;
use axum::{Router, extract::Path};
use axum_token::{
    ProxyRoutes, PublicOrigin, SessionTokenLayer, SignIns, TokenState, TrustedHeader, Upstream,
    UserRoutes, sessions,
};
use bytes::Bytes;
use http::header::{LINK, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tower::ServiceBuilder;
use tower_sessions::Session;
use tower_token::testkit::{AuthServer, ManualClock};
use tower_token::{GrantKey, KeyRing, ReplayBody, RowKey, SealedStore, TokenManager};

use crate::stamps_rig::Loads;
use crate::support::{Answer, Browser, CountingStore, ORIGIN};

/// From a script of a page.
pub const PAGE: [(&str, &str); 2] = [("sec-fetch-site", "same-origin"), ("x-csrf", "1")];

/// Nothing may hang.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Where nobody listens.
const DEAD: &str = "http://127.0.0.1:1";

pub type HttpClient = Client<HttpConnector, ReplayBody<Body>>;

pub struct ProxyRig {
    pub server: AuthServer,
    pub manager: TokenManager,
    pub clock: ManualClock,
    pub grants: Loads,
    ring: KeyRing,
    pub sessions: CountingStore,
    pub api: Api,
}

impl ProxyRig {
    pub async fn new() -> Self {
        let clock = ManualClock::new();
        let server = AuthServer::builder().clock(clock.clone()).start().unwrap();
        let api = Api::start().await;
        let (grants, ring) = (Loads::default(), KeyRing::generate().unwrap());
        let manager = manager(&grants, &ring, &server, &api, &clock).await;
        Self {
            server,
            manager,
            clock,
            grants,
            ring,
            sessions: CountingStore::default(),
            api,
        }
    }

    /// What the manager had in its memory is gone.
    pub async fn restart(&mut self) {
        let Self {
            grants,
            ring,
            server,
            api,
            clock,
            ..
        } = &*self;
        self.manager = manager(grants, ring, server, api, clock).await;
    }

    /// Somebody with a grant, in a browser.
    pub async fn user(&self, user: &str) -> Browser {
        self.connect("demo", user).await;
        self.signed_in(user).await
    }

    pub async fn connect(&self, provider: &str, user: &str) {
        let tokens = self.server.connect(user);
        let key = GrantKey::new(provider, user);
        self.manager.connect(&key, tokens.into()).await.unwrap();
    }

    pub async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = Browser::new(self.router(self.routes()));
        browser.sign_in(user).await;
        browser
    }

    /// The token that the manager has for `user` now, as it is sent.
    pub async fn bearer(&self, user: &str) -> String {
        let token = self.manager.token(&GrantKey::new("demo", user)).await;
        format!("Bearer {}", token.unwrap().expose())
    }

    pub fn upstream(&self, name: &'static str) -> Upstream {
        Upstream::new(name, "demo", format!("{}/v3/", self.api.origin()))
    }

    pub fn routes(&self) -> Router<TokenState> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let routes = ProxyRoutes::<HttpClient>::new(&self.manager, client)
            .strip_header(HeaderName::from_static("x-employee"))
            .upstream(self.upstream("calendar"))
            .upstream(
                self.upstream("open")
                    .response_header(LOCATION)
                    .response_header(LINK),
            )
            .upstream(
                self.upstream("few")
                    .methods([Method::GET])
                    .path_prefix("/users/me"),
            )
            .upstream(self.upstream("small").max_body(1_000))
            .upstream(self.upstream("hasty").timeout(Duration::from_secs(2)))
            .upstream(Upstream::new("foreign", "narrow", self.api.origin()))
            .upstream(Upstream::new("dead", "demo", DEAD));
        let origin: PublicOrigin = ORIGIN.parse().unwrap();
        routes.router(&origin).unwrap()
    }

    /// Where a proxy in front says who the user is.
    pub fn behind(&self, source: TrustedHeader) -> Browser {
        let state = TokenState::new(&self.manager);
        let router = Router::new()
            .nest("/api", self.routes())
            .layer(SessionTokenLayer::new(source))
            .with_state(state);
        Browser::new(router)
    }

    pub fn router(&self, routes: Router<TokenState>) -> Router {
        let origin: PublicOrigin = ORIGIN.parse().unwrap();
        let login = async |session: Session, Path(user): Path<String>| {
            sessions::sign_in(&session, user).await
        };
        let state = TokenState::new(&self.manager)
            .login_at(Uri::from_static("/login"))
            .connect_at("demo", Uri::from_static("/auth/demo"));
        Router::new()
            .route("/login/{user}", post(login))
            .nest("/api", routes)
            .merge(UserRoutes::new().provider("narrow").router())
            .layer(
                ServiceBuilder::new()
                    .layer(sessions::layer(&origin, self.sessions.clone()))
                    .layer(SessionTokenLayer::new(sessions::Sessions)),
            )
            .with_state(state)
    }

    /// Every row of a grant there is.
    pub async fn stored(&self) -> HashMap<RowKey, Bytes> {
        self.grants.rows().await
    }
}

async fn manager(
    grants: &Loads,
    ring: &KeyRing,
    server: &AuthServer,
    api: &Api,
    clock: &ManualClock,
) -> TokenManager {
    let store = SealedStore::open(grants.clone(), ring.clone());
    TokenManager::builder()
        .store(store.await.unwrap())
        .provider(
            server
                .provider("demo")
                .allow_origin(api.origin())
                .allow_origin(DEAD),
        )
        .provider(server.provider("narrow"))
        .provider(SignIns::provider())
        .clock(clock.clone())
        .build()
        .await
        .unwrap()
}

/// From a page, by its script.
pub async fn call(browser: &mut Browser, method: Method, path: &str) -> Answer {
    browser.send(method, path, &PAGE).await
}

pub async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// A connection to a service.
pub async fn connection(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

/// What is answered until the server ends the connection.
pub async fn answered(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // One that is reset has answered nothing more.
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(DEADLINE, read).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// What arrived at the API.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
}

/// The API.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    seen: Mutex<Vec<Seen>>,
    /// Requests with these tokens get a 401.
    refused: Mutex<Vec<String>>,
    arrivals: watch::Sender<usize>,
    /// Of handlers and bodies that were dropped before their end.
    dropped: watch::Sender<usize>,
    pub rest: Notify,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self(Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            seen: Mutex::default(),
            refused: Mutex::default(),
            arrivals: watch::Sender::new(0),
            dropped: watch::Sender::new(0),
            rest: Notify::new(),
        }));
        let serving = api.clone();
        let handler = async move |request: Request| serving.answer(request).await;
        let router = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        api
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.0.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().clone()
    }

    /// The only request there was since the last time.
    pub fn only(&self) -> Seen {
        let mut seen = std::mem::take(&mut *self.0.seen.lock());
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    pub fn refuse(&self, bearer: String) {
        self.0.refused.lock().push(bearer);
    }

    /// Lets `/drip` go on.
    pub fn go_on(&self) {
        self.0.rest.notify_one();
    }

    pub async fn arrived(&self, n: usize) {
        reached(&self.0.arrivals, n).await;
    }

    pub async fn dropped(&self, n: usize) {
        reached(&self.0.dropped, n).await;
    }

    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        self.0.seen.lock().push(Seen {
            method: parts.method.clone(),
            target: parts.uri.to_string(),
            headers: parts.headers.clone(),
        });
        self.0.arrivals.send_modify(|n| *n += 1);
        let bearer = parts.headers.get("authorization").cloned();
        let bearer = bearer.map_or_else(String::new, |it| it.to_str().unwrap().to_owned());
        if parts.uri.path() == "/v3/refused-late" {
            body.collect().await.unwrap();
            let refused = self.0.refused.lock().contains(&bearer);
            return status(match refused {
                true => StatusCode::UNAUTHORIZED,
                false => StatusCode::OK,
            });
        }
        if self.0.refused.lock().contains(&bearer) {
            return status(StatusCode::UNAUTHORIZED);
        }
        let guard = Guard(self.clone(), true);
        match parts.uri.path() {
            "/v3/upload" => {
                let Ok(body) = body.collect().await else {
                    return status(StatusCode::BAD_REQUEST);
                };
                guard.done();
                Response::new(Body::from(format!("{} bytes", body.to_bytes().len())))
            }
            "/v3/deaf" | "/v3/hang" => {
                std::future::pending::<()>().await;
                drop((guard, body));
                status(StatusCode::OK)
            }
            "/v3/drip" => {
                let api = self.clone();
                let rest = futures_util::stream::unfold(0, move |at| {
                    let (api, _held) = (api.clone(), &guard);
                    async move {
                        if at == 1 {
                            api.0.rest.notified().await;
                        }
                        let piece = Ok::<_, std::io::Error>(["first ", "second"].get(at).copied()?);
                        Some((piece, at + 1))
                    }
                });
                Response::new(Body::from_stream(rest))
            }
            "/v3/endless" => {
                let endless = futures_util::stream::repeat_with(move || {
                    let _held = &guard;
                    Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 16 << 10]))
                });
                Response::new(Body::from_stream(endless))
            }
            path => {
                guard.done();
                scripted(path, &bearer)
            }
        }
    }
}

async fn reached(count: &watch::Sender<usize>, n: usize) {
    let mut count = count.subscribe();
    let reached = count.wait_for(|at| *at >= n);
    tokio::time::timeout(DEADLINE, reached)
        .await
        .unwrap()
        .unwrap();
}

struct Guard(Api, bool);

impl Guard {
    fn done(mut self) {
        self.1 = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.1 {
            self.0.0.dropped.send_modify(|n| *n += 1);
        }
    }
}

/// What this API says to make a page's browser do things.
pub const NASTY: [(&str, &str); 22] = [
    ("set-cookie", "__Host-session=planted; Secure; Path=/"),
    ("set-cookie2", "x=y"),
    ("www-authenticate", "Basic realm=\"x\""),
    ("clear-site-data", "\"*\""),
    ("strict-transport-security", "max-age=0"),
    ("alt-svc", "h3=\"evil.example:443\""),
    ("access-control-allow-origin", "*"),
    ("access-control-allow-credentials", "true"),
    ("service-worker-allowed", "/"),
    ("refresh", "0; url=https://evil.example/"),
    ("link", "<https://evil.example/>; rel=preload"),
    ("location", "https://evil.example/"),
    ("content-location", "https://evil.example/"),
    ("content-security-policy", "default-src *"),
    ("cross-origin-resource-policy", "cross-origin"),
    ("x-accel-redirect", "/internal"),
    ("x-sendfile", "/etc/passwd"),
    ("cache-control", "public, max-age=3600"),
    ("cdn-cache-control", "public"),
    ("connection", "x-named"),
    ("x-named", "1"),
    ("report-to", "{}"),
];

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::from("of the API"));
    *response.status_mut() = status;
    for (name, value) in NASTY {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let kind = HeaderValue::from_static("text/html");
    response.headers_mut().insert("content-type", kind);
    response
        .headers_mut()
        .insert("etag", HeaderValue::from_static("\"1\""));
    response
}

fn scripted(path: &str, bearer: &str) -> Response {
    match path.strip_prefix("/v3/status/") {
        Some(code) => status(code.parse().unwrap()),
        None if path == "/v3/whose" => Response::new(Body::from(bearer.to_owned())),
        None => status(StatusCode::OK),
    }
}
