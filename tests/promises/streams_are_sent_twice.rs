//! A body that cannot be cloned is sent twice all the same, if what went by could be kept: over
//! real connections of HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::TRAILER;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tests::fake::{Fake, Next};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::ManualClock;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, Provider, ReplayBody, SealedStore, TokenLayer, TokenManager,
    TokenRequest, Verdict,
};

use crate::support::HOUR;

const KIB: usize = 1 << 10;
const LIMIT: usize = 64 * KIB;
const CHUNK: usize = 8 * KIB;

/// An API on loopback that refuses `a0`: at once on `/early`, after the whole body on `/late`.
#[derive(Clone)]
struct Api {
    address: std::net::SocketAddr,
    /// How many of its refusals have arrived.
    refused: Arc<watch::Sender<usize>>,
    /// How long the bodies were that it took, and whether they were as they were sent.
    taken: Arc<Mutex<Vec<(usize, bool)>>>,
    /// What stood in the trailers of each.
    trailers: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            address: listener.local_addr().unwrap(),
            refused: Arc::default(),
            taken: Arc::default(),
            trailers: Arc::default(),
        };
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
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

    /// Refuses at once, and tells at the end how much it was sent all the same.
    fn greedy(body: Incoming) -> Response<BoxBody> {
        let count = async move {
            let sent = body.collect().await.map(|body| body.to_bytes().len());
            let sent = sent.map_or_else(|_| String::from("cut off"), |len| len.to_string());
            Ok(Frame::data(Bytes::from(sent)))
        };
        let body = StreamBody::new(futures_util::stream::once(count));
        let mut response = Response::new(body.boxed_unsync());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody> {
        let refused = request.headers()["authorization"] == "Bearer a0";
        if refused && request.uri().path() == "/greedy" {
            return Self::greedy(request.into_body());
        }
        let early = request.uri().path() == "/early";
        if !(refused && early) {
            let (mut len, mut sound, mut body) = (0, true, request.into_body());
            let mut trailers = HeaderMap::new();
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    return Response::new(empty());
                };
                match frame.into_data() {
                    Ok(data) => {
                        for byte in data {
                            sound &= byte == at(len);
                            len += 1;
                        }
                    }
                    Err(frame) => trailers.extend(frame.into_trailers().unwrap()),
                }
            }
            self.taken.lock().push((len, sound));
            self.trailers.lock().push(trailers);
        }
        let mut response = Response::new(empty());
        if refused {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        response
    }
}

type BoxBody = UnsyncBoxBody<Bytes, Infallible>;

fn empty() -> BoxBody {
    Full::default().boxed_unsync()
}

/// What byte a body has at this place.
fn at(place: usize) -> u8 {
    (place % 251) as u8
}

/// A body that is made as it is sent, and can stop in the middle until a refusal has arrived.
struct Stream {
    sent: usize,
    len: usize,
    stop_at: usize,
    /// Whether it says how long it is.
    sized: bool,
    trailers: Option<HeaderMap>,
    refused: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream {
    fn new(api: &Api, len: usize, stop_at: usize) -> Self {
        let mut refused = api.refused.subscribe();
        Self {
            sent: 0,
            len,
            stop_at,
            sized: false,
            trailers: None,
            refused: Box::pin(async move {
                let _ = refused.wait_for(|refused| *refused > 0).await;
            }),
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn size_hint(&self) -> SizeHint {
        match self.sized {
            true => SizeHint::with_exact((self.len - self.sent) as u64),
            false => SizeHint::default(),
        }
    }

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == self.len {
            let trailers = self.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if self.sent >= self.stop_at {
            std::task::ready!(self.refused.as_mut().poll(cx));
            self.stop_at = usize::MAX;
        }
        let end = self.len.min(self.sent + CHUNK);
        let chunk: Vec<u8> = (self.sent..end).map(at).collect();
        self.sent = end;
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }
}

type Http = Client<HttpConnector, ReplayBody<Stream>>;

async fn manager(api: &Api) -> (TokenManager, Fake, GrantKey) {
    let (fake, clock) = (Fake::new(HOUR), ManualClock::new());
    let store = MemoryStore::with_clock(clock.clone());
    let provider =
        Provider::new("fake", fake.clone()).allow_origin(format!("http://{}", api.address));
    let manager = TokenManager::builder()
        .store(
            SealedStore::open(store, KeyRing::generate().unwrap())
                .await
                .unwrap(),
        )
        .provider(provider)
        .clock(clock)
        .build()
        .await
        .unwrap();
    let key = GrantKey::new("fake", "ada");
    manager.connect(&key, fake.consent()).await.unwrap();
    (manager, fake, key)
}

fn clients() -> [(&'static str, Http); 2] {
    let mut http = Client::builder(TokioExecutor::new());
    let http1 = http.build_http();
    let http2 = http.http2_only(true).build_http();
    [("HTTP/1.1", http1), ("HTTP/2", http2)]
}

/// Sends one body, and what the API took of it.
async fn send(
    http: Http,
    path: &str,
    len: usize,
    stop_at: usize,
    sized: bool,
) -> (StatusCode, Vec<(usize, bool)>, usize) {
    let api = Api::start().await;
    let (manager, fake, key) = manager(&api).await;
    let seen = Arc::clone(&api.refused);
    // The body stands still until the refusal has arrived, not only until it was sent.
    let http = http.map_response(move |response| {
        if response.status() == StatusCode::UNAUTHORIZED {
            seen.send_modify(|refused| *refused += 1);
        }
        response
    });
    let client = TokenLayer::new(&manager).buffered(LIMIT).layer(http);
    let request = Request::post(format!("http://{}{path}", api.address))
        .extension(TokenRequest::new(key))
        .body(Stream {
            sized,
            ..Stream::new(&api, len, stop_at)
        })
        .unwrap();
    let answer = timeout(Duration::from_secs(60), client.oneshot(request));
    let status = answer.await.expect("no answer").unwrap().status();
    let taken = api.taken.lock().clone();
    // Also one that is made behind.
    timeout(Duration::from_secs(60), fake.begun(1))
        .await
        .expect("no refresh");
    (status, taken, fake.exchanges())
}

#[tokio::test]
async fn a_refusal_after_the_whole_body_is_healed_if_that_could_be_kept() {
    for (version, http) in clients() {
        for len in [0, 10 * KIB, LIMIT - KIB] {
            let (status, taken, exchanges) =
                send(http.clone(), "/late", len, usize::MAX, false).await;
            assert_eq!(status, StatusCode::OK, "{version} {len}");
            assert_eq!(taken, [(len, true), (len, true)], "{version}");
            assert_eq!(exchanges, 1);
        }
        for len in [LIMIT, 10 * KIB * KIB] {
            let (status, taken, exchanges) =
                send(http.clone(), "/late", len, usize::MAX, false).await;
            // The refusal is the answer, and whoever comes next has a new token.
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{version} {len}");
            assert_eq!(taken, [(len, true)], "{version}");
            assert_eq!(exchanges, 1);
        }
    }
}

#[tokio::test]
async fn a_refusal_in_the_middle_is_healed_however_long_the_body_is() {
    for (version, http) in clients() {
        for len in [10 * KIB, 10 * KIB * KIB] {
            for (stop_at, sized) in [(CHUNK, false), (CHUNK, true), (0, false), (0, true)] {
                let sent = send(http.clone(), "/early", len, stop_at, sized).await;
                let healed = (StatusCode::OK, vec![(len, true)], 1);
                assert_eq!(sent, healed, "{version} {len} {sized}");
            }
        }
    }
}

#[tokio::test]
async fn trailers_go_out_each_time() {
    for (version, http) in clients() {
        for (path, times) in [("/late", 2), ("/early", 1)] {
            let api = Api::start().await;
            let (manager, fake, key) = manager(&api).await;
            let seen = Arc::clone(&api.refused);
            let http = http.clone().map_response(move |response| {
                seen.send_modify(|refused| *refused += 1);
                response
            });
            let client = TokenLayer::new(&manager).buffered(LIMIT).layer(http);
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("17"));
            let len = 20 * KIB;
            let stop_at = if path == "/early" { CHUNK } else { usize::MAX };
            let request = Request::post(format!("http://{}{path}", api.address))
                // Without it HTTP/1.1 sends none.
                .header(TRAILER, "x-sum")
                .extension(TokenRequest::new(key))
                .body(Stream {
                    trailers: Some(trailers.clone()),
                    ..Stream::new(&api, len, stop_at)
                })
                .unwrap();
            let response = client.oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{version} {path}");
            assert_eq!(*api.taken.lock(), vec![(len, true); times]);
            assert_eq!(*api.trailers.lock(), vec![trailers; times], "{version}");
            assert_eq!(fake.exchanges(), 1);
        }
    }
}

/// Without a newer token the 401 is the answer, and what was under way is not cut for it.
#[tokio::test]
async fn a_refusal_that_cannot_be_healed_leaves_the_first_send_alone() {
    for (version, http) in clients() {
        let api = Api::start().await;
        let (manager, fake, key) = manager(&api).await;
        let verdict = Verdict::Transient { retry_after: None };
        fake.script([Next::Fail(verdict)]);
        let client = TokenLayer::new(&manager).buffered(LIMIT).layer(http);
        let len = 20 * KIB;
        let request = Request::post(format!("http://{}/greedy", api.address))
            .extension(TokenRequest::new(key))
            .body(Stream::new(&api, len, CHUNK))
            .unwrap();
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        api.refused.send_modify(|refused| *refused += 1);
        let body = timeout(Duration::from_secs(60), response.into_body().collect()).await;
        let body = body.expect("it stands still").unwrap().to_bytes();
        // The API had refused before it read, and read on.
        assert_eq!(body, format!("{len}"), "{version}");
        assert_eq!(fake.exchanges(), 1);
    }
}
