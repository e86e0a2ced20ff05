//! A token service, and an API over real connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_client_token::{Error, TokenClientBuilder};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower_token::testkit::ManualClock;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, Provider, RefreshError, RefreshRequest, Refresher, SealedStore,
    TokenManager, TokenResponse,
};

pub const HOUR: Duration = Duration::from_secs(3_600);

/// A manager whose tokens may go to one API.
pub struct Rig {
    pub manager: TokenManager,
    pub tokens: Tokens,
    pub clock: ManualClock,
}

impl Rig {
    pub async fn of(api: &Api) -> Self {
        Self::at(&api.origin()).await
    }

    pub async fn at(origin: &str) -> Self {
        let (tokens, clock) = (Tokens::default(), ManualClock::new());
        let store = MemoryStore::with_clock(clock.clone());
        let ring = KeyRing::generate().unwrap();
        let manager = TokenManager::builder()
            .store(SealedStore::open(store, ring).await.unwrap())
            .provider(Provider::new("fake", tokens.clone()).allow_origin(origin))
            .clock(clock.clone())
            .build()
            .await
            .unwrap();
        Self {
            manager,
            tokens,
            clock,
        }
    }

    /// Connects a user, whose access token is `user-0` for an hour.
    pub async fn connect(&self, user: &str) -> GrantKey {
        let key = GrantKey::new("fake", user);
        self.manager
            .connect(&key, Tokens::nth(user, 0))
            .await
            .unwrap();
        key
    }
}

/// A token service whose tokens say whose they are: `ada-0`, then `ada-1`.
#[derive(Clone)]
pub struct Tokens(Arc<(watch::Sender<usize>, Semaphore)>);

impl Default for Tokens {
    fn default() -> Self {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Self(Arc::new((watch::Sender::new(0), gate)))
    }
}

impl Tokens {
    pub fn nth(user: &str, n: usize) -> TokenResponse {
        let token = format!("{user}-{n}");
        TokenResponse::new(token.clone())
            .refresh_token(token)
            .expires_in(HOUR)
    }

    /// Holds every exchange from now on until [`release`](Self::release).
    pub fn hold(&self) {
        self.0.1.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn release(&self) {
        self.0.1.add_permits(Semaphore::MAX_PERMITS);
    }

    pub fn exchanges(&self) -> usize {
        *self.0.0.borrow()
    }

    /// Waits until `n` exchanges have begun.
    pub async fn begun(&self, n: usize) {
        let mut exchanges = self.0.0.subscribe();
        let begun = exchanges.wait_for(|begun| *begun >= n);
        let begun = timeout(Duration::from_secs(60), begun).await;
        begun.expect("no exchange").unwrap();
    }
}

impl Refresher for Tokens {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        self.0.0.send_modify(|begun| *begun += 1);
        let _held = self.0.1.acquire().await;
        let (user, n) = request.refresh_token().expose().rsplit_once('-').unwrap();
        Ok(Self::nth(user, n.parse::<usize>().unwrap() + 1))
    }
}

/// An API on loopback that answers who asked, by the token in `authorization` or `x-api-key`, and
/// speaks whichever HTTP it is spoken to. `/redirect?URI` redirects there.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    tls: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: usize,
    refused: Vec<String>,
    refuse_next: bool,
    hang_ups: usize,
    seen: Vec<Seen>,
}

/// A request that has arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: Arc<http::request::Parts>,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Seen {
    pub fn token(&self) -> &str {
        token(&self.head.headers)
    }

    /// What says where the body ends.
    pub fn framing(&self) -> [Option<&str>; 2] {
        ["content-length", "transfer-encoding"]
            .map(|name| Some(self.head.headers.get(name)?.to_str().unwrap()))
    }
}

fn token(headers: &HeaderMap) -> &str {
    let value = headers.get(AUTHORIZATION).or(headers.get("x-api-key"));
    value.map_or("-", |value| {
        value.to_str().unwrap().trim_start_matches("Bearer ")
    })
}

impl Api {
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    pub async fn start_tls(tls: TlsAcceptor) -> Self {
        Self::serve(Some(tls)).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            address: listener.local_addr().unwrap(),
            tls: tls.is_some(),
            state: Arc::default(),
        };
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.state.lock().connections += 1;
                let (api, tls) = (server.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => api.talk(stream).await,
                        Some(tls) => {
                            // Who does not trust it hangs up.
                            if let Ok(stream) = tls.accept(stream).await {
                                api.talk(stream).await;
                            }
                        }
                    }
                });
            }
        });
        api
    }

    async fn talk(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = hyper::service::service_fn(move |request| self.clone().answer(request));
        let server = auto::Builder::new(TokioExecutor::new());
        // It fails where that was asked for.
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, &'static str> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| "the body was cut")?;
        let seen = Seen {
            head: Arc::new(head),
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        };
        let mut state = self.state.lock();
        state.seen.push(seen.clone());
        if state.hang_ups > 0 {
            state.hang_ups -= 1;
            return Err("as told");
        }
        let mut response = Response::new(Full::from(seen.token().to_owned()));
        let refused = state.refused.iter().any(|refused| refused == seen.token());
        if std::mem::take(&mut state.refuse_next) || refused {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        } else if seen.head.uri.path() == "/redirect" {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let to = seen.head.uri.query().unwrap().parse().unwrap();
            response.headers_mut().insert(LOCATION, to);
        }
        Ok(response)
    }

    pub fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn uri(&self, path: &str) -> Uri {
        format!("{}{path}", self.origin()).parse().unwrap()
    }

    /// Answers 401 to the next request, whatever its token.
    pub fn refuse_once(&self) {
        self.state.lock().refuse_next = true;
    }

    /// Answers 401 to this token from now on.
    pub fn refuse(&self, token: &str) {
        self.state.lock().refused.push(token.to_owned());
    }

    /// Hangs up on the next request instead of answering.
    pub fn hang_up(&self) {
        self.state.lock().hang_ups += 1;
    }

    /// How often somebody has connected.
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    pub fn tokens(&self) -> Vec<String> {
        let seen = self.seen();
        seen.iter().map(|seen| seen.token().to_owned()).collect()
    }
}

type Change = fn(TokenClientBuilder) -> TokenClientBuilder;

/// Both versions of HTTP, without TLS.
pub const VERSIONS: [(http::Version, Change); 2] = [
    (http::Version::HTTP_11, |http| http),
    (http::Version::HTTP_2, TokenClientBuilder::http2_only),
];

pub async fn text(response: Result<Response<Incoming>, Error>) -> String {
    let body = response.unwrap().into_body();
    let body = body.collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

pub fn token_error(response: Result<Response<Incoming>, Error>) -> tower_token::Error {
    match response.unwrap_err() {
        Error::Token(error) => error,
        Error::Inner(error) => panic!("{error:?}"),
    }
}

/// What is found on the way to the first cause of `error`.
pub fn cause<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref())
}
