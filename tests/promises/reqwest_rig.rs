//! An API on loopback, and a manager whose tokens may go there: what the promises about reqwest
//! share.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tests::fake::Fake;
use tokio::net::TcpListener;
use tower_token::reqwest::TokenClient;
use tower_token::testkit::ManualClock;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, Provider, SealedStore, TokenManager, TokenResponse,
};

use crate::support::HOUR;

/// What arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    /// The value of this header; `-` for none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("-", |value| value.to_str().unwrap())
    }
}

/// A server that answers 200 and the `Authorization` it got, unless it was told otherwise.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    connections: usize,
    /// Answered with 401, wherever in the request they stand.
    refused: HashSet<String>,
    /// By path.
    redirects: HashMap<String, (u16, String)>,
}

impl Api {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.state.lock().connections += 1;
                let api = server.clone();
                let service = hyper::service::service_fn(move |request| {
                    let api = api.clone();
                    async move { Ok::<_, Infallible>(api.answer(request).await) }
                });
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        api
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn refuse(&self, token: &str) {
        self.state.lock().refused.insert(token.to_owned());
    }

    pub fn redirect(&self, path: &str, status: u16, location: impl Into<String>) {
        let to = (status, location.into());
        self.state.lock().redirects.insert(path.to_owned(), to);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    /// One header of each request that arrived; `-` where it had none.
    pub fn headers(&self, name: &str) -> Vec<String> {
        let seen = self.seen();
        seen.iter()
            .map(|seen| seen.header(name).to_owned())
            .collect()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let seen = Seen {
            method: head.method,
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        self.state.lock().seen.push(seen.clone());
        if seen.path == "/never" {
            // From here on only the clock can go on, and it does.
            tokio::time::pause();
            pending::<()>().await;
        }
        let state = self.state.lock();
        let mut response = Response::new(Full::from(seen.header("authorization").to_owned()));
        let text = format!("{seen:?}");
        if state.refused.iter().any(|token| text.contains(token)) {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        } else if let Some((status, location)) = state.redirects.get(&seen.path) {
            *response.status_mut() = StatusCode::from_u16(*status).unwrap();
            let location = location.parse().unwrap();
            response.headers_mut().insert("location", location);
        }
        response
    }
}

/// An API where the tokens of `ada` and `bob` may go.
pub struct Rig {
    pub api: Api,
    pub manager: TokenManager,
    pub fake: Fake,
    pub ada: GrantKey,
    pub bob: GrantKey,
}

pub const ADAS: &str = "token-of-ada";
pub const BOBS: &str = "token-of-bob";

impl Rig {
    pub async fn start() -> Self {
        let api = Api::start().await;
        let (fake, clock) = (Fake::new(HOUR), ManualClock::new());
        let store = MemoryStore::with_clock(clock.clone());
        let store = SealedStore::open(store, KeyRing::generate().unwrap());
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(Provider::new("fake", fake.clone()).allow_origin(api.url("")))
            .clock(clock)
            .build()
            .await
            .unwrap();
        let [ada, bob] = ["ada", "bob"].map(|user| GrantKey::new("fake", user));
        for (key, token) in [(&ada, ADAS), (&bob, BOBS)] {
            let tokens = TokenResponse::new(token)
                .refresh_token(format!("refresh-{token}"))
                .expires_in(HOUR);
            manager.connect(key, tokens).await.unwrap();
        }
        Self {
            api,
            manager,
            fake,
            ada,
            bob,
        }
    }

    pub fn client(&self) -> TokenClient {
        TokenClient::new(&self.manager, builder()).unwrap()
    }
}

/// Not by a proxy that the environment may name.
pub fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}
