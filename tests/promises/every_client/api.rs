//! An API on loopback, of HTTP/1.1 and HTTP/2.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use super::upload;

/// By its path, it answers
/// - `/early`: as `/`, but refuses before it has read the body,
/// - `/late`: nothing, until it is [let go](Api::let_go),
/// - `/reset`: nothing; the connection is reset,
/// - where it was told to [redirect](Api::redirect): a 302,
/// - `/`: 401 to a token that it was told to [refuse](Api::refuse), and else 200 with that token.
#[derive(Clone)]
pub struct Api {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    refused: Mutex<Vec<String>>,
    redirects: Mutex<HashMap<&'static str, String>>,
    connections: AtomicUsize,
    seen: watch::Sender<Vec<Seen>>,
    taken: Mutex<Vec<(usize, bool)>>,
    let_go: watch::Sender<bool>,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    /// What stands in its `Authorization` behind `Bearer`; `-` without one.
    pub token: String,
    /// What it says of whose it is.
    pub user: String,
    /// The connection that it came by.
    pub connection: usize,
}

impl Api {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let api = Self { address, state };
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        api
    }

    async fn serve(self, stream: TcpStream) {
        let connection = self.state.connections.fetch_add(1, Ordering::SeqCst);
        // Dropped, it is reset and not closed.
        stream.set_zero_linger().unwrap();
        let reset = Arc::new(Notify::new());
        let service = service_fn(|request| {
            let (api, reset) = (self.clone(), Arc::clone(&reset));
            async move { Ok::<_, Infallible>(api.answer(connection, request, &reset).await) }
        });
        let server = auto::Builder::new(TokioExecutor::new());
        let server = server.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            _ = server => {}
            () = reset.notified() => {}
        }
    }

    async fn answer(
        &self,
        connection: usize,
        request: Request<Incoming>,
        reset: &Notify,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let token = token_of(request.headers());
        let user = request.headers().get("x-user");
        let seen = Seen {
            path: path.clone(),
            token: token.clone(),
            user: user.map_or_else(String::new, |user| user.to_str().unwrap().to_owned()),
            connection,
        };
        self.state.seen.send_modify(|all| all.push(seen));
        if let Some(location) = self.state.redirects.lock().get(&*path) {
            let response = Response::builder().status(StatusCode::FOUND);
            let response = response.header(LOCATION, location);
            return response.body(Full::default()).unwrap();
        }
        match &*path {
            "/reset" => {
                reset.notify_one();
                std::future::pending::<()>().await;
            }
            "/late" => {
                let mut let_go = self.state.let_go.subscribe();
                let_go.wait_for(|let_go| *let_go).await.unwrap();
            }
            _ => {}
        }
        let refused = self.state.refused.lock().contains(&token);
        if !(refused && path == "/early") {
            let (mut len, mut sound, mut body) = (0, true, request.into_body());
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    // Cut off: it is no body, and nobody waits for the answer.
                    return Response::default();
                };
                for byte in frame.into_data().unwrap_or_default() {
                    sound &= byte == upload::at(len);
                    len += 1;
                }
            }
            self.state.taken.lock().push((len, sound));
        }
        let mut response = Response::new(Full::from(token));
        if refused {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        response
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers 401 to this token from now on.
    pub fn refuse(&self, token: &str) {
        self.state.refused.lock().push(token.to_owned());
    }

    /// Answers a 302 to `path` from now on.
    pub fn redirect(&self, path: &'static str, to: String) {
        self.state.redirects.lock().insert(path, to);
    }

    /// Answers what came for `/late`, and what comes.
    pub fn let_go(&self) {
        self.state.let_go.send_replace(true);
    }

    /// What came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.borrow().clone()
    }

    /// The tokens that came, in order.
    pub fn tokens(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.token).collect()
    }

    /// Waits for this many requests.
    pub fn has_seen(&self, requests: usize) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut seen = self.state.seen.subscribe();
        async move {
            let _ = seen.wait_for(|seen| seen.len() >= requests).await;
        }
    }

    /// How long the bodies were that it took to their end, and whether they were as they were
    /// made.
    pub fn taken(&self) -> Vec<(usize, bool)> {
        self.state.taken.lock().clone()
    }
}

fn token_of(headers: &HeaderMap) -> String {
    headers.get(AUTHORIZATION).map_or_else(
        || String::from("-"),
        |value| value.to_str().unwrap().replace("Bearer ", ""),
    )
}
