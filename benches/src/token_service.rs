//! A token service on loopback, for whoever asks: it counts, and is slow or broken as it is told.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::BoxError;

/// How many connections are held at once: with the other ends of ten thousand, fewer than a
/// process may have files open. More wait to be accepted.
const MAX_CONNECTIONS: usize = 8_000;

/// How many may wait to be accepted, as far as the system allows it.
const BACKLOG: u32 = 4_096;

/// Runs on the runtime it was started on, until its last clone is dropped: then its connections
/// end too, and with them whatever hangs.
#[derive(Debug, Clone)]
pub struct TokenService {
    shared: Arc<Shared>,
    url: Arc<str>,
    _listener: Arc<Listener>,
}

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// With a token, after a while.
    Healthy(Duration),
    /// With 500, after a while.
    Failing(Duration),
    /// Never.
    Hanging,
}

#[derive(Debug)]
struct Shared {
    mood: Mutex<Mood>,
    life: Mutex<Duration>,
    token_len: usize,
    exchanges: AtomicU64,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

#[derive(Debug)]
struct Listener(AbortHandle);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl TokenService {
    /// Answers at once with tokens of this many bytes that live for `life`.
    pub async fn start(token_len: usize, life: Duration) -> Result<Self, BoxError> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 1], 0).into())?;
        let listener = socket.listen(BACKLOG)?;
        let url = format!("http://{}/token", listener.local_addr()?).into();
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Healthy(Duration::ZERO)),
            life: Mutex::new(life),
            token_len,
            exchanges: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        });
        let serving = Handle::current().spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self {
            shared,
            url,
            _listener: Arc::new(Listener(serving.abort_handle())),
        })
    }

    /// The token endpoint: any `POST` is answered as OAuth 2.0's are, any `GET` is not found.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it answers like this.
    pub fn set_mood(&self, mood: Mood) {
        *locked(&self.shared.mood) = mood;
    }

    /// From now on its tokens live for so long.
    pub fn set_life(&self, life: Duration) {
        *locked(&self.shared.life) = life;
    }

    /// How long its tokens live, to the second.
    pub fn life(&self) -> Duration {
        *locked(&self.shared.life)
    }

    /// How many were asked for since the start.
    pub fn exchanges(&self) -> u64 {
        self.shared.exchanges.load(Ordering::Relaxed)
    }

    /// The most that were under way at once.
    pub fn most_under_way(&self) -> usize {
        self.shared.most_under_way.load(Ordering::Relaxed)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped with this task, and all of them with it.
    let mut connections = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((connection, _)) = listener.accept().await else {
            // There are no files left: some will be.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let talk = converse(connection, Arc::clone(&shared));
        connections.spawn(async move {
            talk.await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(connection: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    // Whoever hangs up has had enough.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(connection), service)
        .await;
}

/// Counts one exchange for as long as it lives.
struct UnderWay<'a>(&'a Shared);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            return status(StatusCode::NOT_FOUND);
        }
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed);
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        let _under_way = UnderWay(self);
        self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        let _ = request.into_body().collect().await;
        let mood = *locked(&self.mood);
        match mood {
            Mood::Healthy(delay) => {
                wait(delay).await;
                self.token(number)
            }
            Mood::Failing(delay) => {
                wait(delay).await;
                status(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Mood::Hanging => std::future::pending().await,
        }
    }

    fn token(&self, number: u64) -> Response<Full<Bytes>> {
        let life = locked(&self.life).as_secs();
        let token = format!("{number:0>width$}", width = self.token_len);
        #[cfg_attr(
            not(feature = "peers"),
            expect(unused_mut, reason = "only they add to it")
        )]
        let mut body = serde_json::json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": life,
            "refresh_token": format!("r-{number}"),
            "id_token": jwt(life),
        });
        #[cfg(feature = "peers")]
        crate::peers::kube::add_credential(&mut body, &token, life);
        let mut response = Response::new(Full::from(body.to_string()));
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        response
    }
}

/// Not at all where that is the delay: a timer rounds up to the next millisecond.
async fn wait(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A token that tells when it expires (RFC 7519), signed by nobody.
fn jwt(life: u64) -> String {
    use base64::Engine as _;
    let text = |json: serde_json::Value| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string())
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let exp = now.map_or(0, |now| now.as_secs()) + life;
    let head = text(serde_json::json!({ "alg": "none" }));
    format!("{head}.{}.c2ln", text(serde_json::json!({ "exp": exp })))
}
