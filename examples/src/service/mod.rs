//! An OAuth token service and an API behind it, in this process but over real HTTP: something to
//! try the layer against without an account anywhere.
//!
//! [`TokenService`] serves, on a free port of the loopback interface:
//!
//! * `POST /token`: the refresh of RFC 6749, section 6. Refresh tokens rotate, and the reuse of an
//!   old one revokes its grant.
//! * `POST /revoke`: RFC 7009, for the whole grant.
//! * `GET /me` and `POST /echo`: an API protected by bearer tokens.
//!
//! It forgets everything when it is dropped, and it checks no more than a test needs: it is not
//! for production.

mod clock;
mod fault;
mod http;
mod ledger;
mod request;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    sync::oneshot,
};

use self::{
    clock::Clock,
    fault::Faults,
    ledger::{Ledger, Lifetimes, Pair, Refused},
    request::Client,
};
pub use self::{fault::Fault, ledger::Issued};

const MINUTE: Duration = Duration::from_secs(60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What the service has done so far.
///
/// An answer is counted before it is sent: a client that has read it finds it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Token requests that exchanged the refresh token, whether or not the answer arrived.
    pub refreshes_ok: u64,
    /// Token requests that exchanged nothing, including those that failed by a [`Fault`].
    pub refreshes_failed: u64,
    /// Those of the failed ones that presented a token for the second time.
    pub reuse_detected: u64,
    /// API requests with a good access token.
    pub api_ok: u64,
    /// API requests answered with 401.
    pub api_unauthorized: u64,
}

/// A running service. Dropping it stops the service and closes its port.
///
/// The service has a thread and a runtime of its own: it starts inside or outside of another
/// runtime, and answers also while that one is blocked or its time is paused.
pub struct TokenService {
    app: Arc<App>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl TokenService {
    /// Starts a service with the defaults.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Sets up a service before its start.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            lifetimes: Lifetimes {
                access: MINUTE,
                refresh: MONTH,
            },
        }
    }

    /// The base address of the token service, `http://127.0.0.1:port`.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where to refresh: `/token` at the [`issuer`](Self::issuer).
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Where to revoke: `/revoke` at the [`issuer`](Self::issuer).
    #[must_use]
    pub fn revocation_endpoint(&self) -> String {
        format!("http://{}/revoke", self.address)
    }

    /// The base address of the API, `http://127.0.0.1:port`.
    #[must_use]
    pub fn api(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The id of the one registered client.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.app.client.id
    }

    /// The secret of that client, random for each service. It contains characters that HTTP Basic
    /// must carry form-encoded (RFC 6749, section 2.3.1).
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.app.client.secret
    }

    /// Issues the first tokens of a new grant, as the consent of `user` would have done.
    #[must_use]
    pub fn connect(&self, user: &str) -> Issued {
        let pair = random_pair();
        let now = self.app.clock.now();
        self.app.ledger.lock().connect(user, pair, now)
    }

    /// Puts the clock of the service forward.
    pub fn advance(&self, by: Duration) {
        self.app.clock.advance(by);
    }

    /// Makes every access token expire now. The grants stand.
    pub fn expire_access_tokens(&self) {
        let now = self.app.clock.now();
        self.app.ledger.lock().expire_access(now);
    }

    /// Revokes the user's access tokens before their time. The grants stand.
    pub fn kill_access(&self, user: &str) {
        self.app.ledger.lock().kill_access(user);
    }

    /// Revokes every grant of the user, with all tokens.
    pub fn revoke_grant(&self, user: &str) {
        self.app.ledger.lock().revoke_user(user);
    }

    /// What the service has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.app.counts.lock()
    }

    /// Sets what goes wrong with the token requests that arrive from now on, until set anew.
    /// Requests that are held already stay held.
    pub fn set_fault(&self, fault: Fault) {
        self.app.faults.set(fault);
    }

    /// Serves the requests that are held, and ends [`Fault::HoldUntilReleased`] if that is the
    /// fault in force.
    pub fn release(&self) {
        self.app.faults.release();
    }

    /// Resolves when a token request is held: at once if one is already.
    ///
    /// It waits for requests from the time of the call, not of the first poll. It also resolves
    /// when the service stops.
    pub fn held(&self) -> impl Future<Output = ()> + Send + use<> {
        self.app.faults.held()
    }
}

impl fmt::Debug for TokenService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenService")
            .field("address", &self.address)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Short: no task on it blocks. A panic there was reported there.
            let _ = thread.join();
        }
    }
}

/// A service to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    lifetimes: Lifetimes,
}

impl Builder {
    /// How long an access token lasts: one minute by default. The answer says it in whole seconds,
    /// rounded down.
    #[must_use]
    pub fn access_ttl(mut self, ttl: Duration) -> Self {
        self.lifetimes.access = ttl;
        self
    }

    /// How long a refresh token lasts: thirty days by default.
    #[must_use]
    pub fn refresh_ttl(mut self, ttl: Duration) -> Self {
        self.lifetimes.refresh = ttl;
        self
    }

    /// Starts the service.
    ///
    /// # Errors
    ///
    /// If the system denies a port, a thread or random numbers.
    pub fn start(self) -> io::Result<TokenService> {
        let app = Arc::new(App {
            client: Client {
                id: "example app".to_owned(),
                secret: format!("{}+/:%&=", random_token()?),
            },
            clock: Clock::start(),
            ledger: Mutex::new(Ledger::new(self.lifetimes)),
            counts: Mutex::default(),
            faults: Faults::new(),
        });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;

        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("token-service".to_owned())
            .spawn({
                let app = Arc::clone(&app);
                move || match listen(listener) {
                    Ok((runtime, listener)) => {
                        let _ = ready.send(Ok(()));
                        // Dropping the runtime drops the connections.
                        runtime.block_on(async move {
                            tokio::select! {
                                _ = stopped => {}
                                never = http::serve(listener, app) => match never {},
                            }
                        });
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                    }
                }
            })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(TokenService {
            app,
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

fn listen(listener: std::net::TcpListener) -> io::Result<(Runtime, TcpListener)> {
    listener.set_nonblocking(true)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    Ok((runtime, listener))
}

/// What the handle and the routes share.
struct App {
    client: Client,
    clock: Clock,
    ledger: Mutex<Ledger>,
    counts: Mutex<Counts>,
    faults: Faults,
}

impl App {
    fn refresh(&self, presented: &str) -> Result<Issued, Refused> {
        let next = random_pair();
        let now = self.clock.now();
        let outcome = self.ledger.lock().refresh(presented, next, now);
        if let Err(Refused::Reused) = outcome {
            self.count(|counts| counts.reuse_detected += 1);
        }
        outcome
    }

    fn user_of(&self, access: &str) -> Option<String> {
        let now = self.clock.now();
        self.ledger.lock().user_of(access, now).map(str::to_owned)
    }

    fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.counts.lock());
    }
}

#[expect(
    clippy::expect_used,
    reason = "no service starts without its random secret, and the source does not dry up"
)]
fn random_pair() -> Pair {
    let token = || random_token().expect("it has worked before");
    Pair {
        access: token(),
        refresh: token(),
    }
}

/// 256 bits, opaque.
fn random_token() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        pin::pin,
    };

    use ::http::{
        HeaderMap, Request, StatusCode,
        header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE},
    };
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use hyper_util::{
        client::legacy::{self, connect::HttpConnector},
        rt::TokioExecutor,
    };
    use serde_json::{Value, json};

    use super::*;

    type Failure = Box<dyn std::error::Error + Send + Sync>;

    struct Reply {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    }

    impl Reply {
        fn json(&self) -> Value {
            serde_json::from_slice(&self.body).unwrap()
        }

        fn header(&self, name: ::http::HeaderName) -> &str {
            self.headers[name].to_str().unwrap()
        }
    }

    struct Http(legacy::Client<HttpConnector, Full<Bytes>>);

    impl Http {
        fn new() -> Self {
            Self(legacy::Client::builder(TokioExecutor::new()).build_http())
        }

        async fn send(
            &self,
            request: ::http::request::Builder,
            body: Vec<u8>,
        ) -> Result<Reply, Failure> {
            let (head, body) = self
                .0
                .request(request.body(Full::from(body))?)
                .await?
                .into_parts();
            Ok(Reply {
                status: head.status,
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            })
        }

        async fn me(&self, service: &TokenService, token: &str) -> Reply {
            let request = Request::get(service.api() + "/me")
                .header(AUTHORIZATION, format!("Bearer {token}"));
            self.send(request, Vec::new()).await.unwrap()
        }

        /// Posts a form as the registered client.
        async fn post(
            &self,
            service: &TokenService,
            to: String,
            form: &[(&str, &str)],
        ) -> Result<Reply, Failure> {
            let encode =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let basic = BASE64_STANDARD.encode(format!(
                "{}:{}",
                encode(service.client_id()),
                encode(service.client_secret())
            ));
            let body = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(form)
                .finish();
            let request = Request::post(to)
                .header(AUTHORIZATION, format!("Basic {basic}"))
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
            self.send(request, body.into_bytes()).await
        }

        async fn refresh(&self, service: &TokenService, token: &str) -> Result<Reply, Failure> {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
            self.post(service, service.token_endpoint(), &form).await
        }
    }

    #[tokio::test]
    async fn a_refresh_answers_as_the_rfc_says() {
        let service = TokenService::start().unwrap();
        let http = Http::new();
        let issued = service.connect("ada");
        assert_eq!(
            http.me(&service, &issued.access_token).await.json(),
            json!({ "user": "ada" })
        );

        let reply = http.refresh(&service, &issued.refresh_token).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header(CACHE_CONTROL), "no-store");
        assert_eq!(reply.header(CONTENT_TYPE), "application/json");
        let fields = reply.json();
        assert_eq!(fields["token_type"], "Bearer");
        assert_eq!(fields["expires_in"], 60);
        assert_eq!(fields["scope"], "profile");
        assert_ne!(fields["refresh_token"], issued.refresh_token.as_str());

        let access = fields["access_token"].as_str().unwrap();
        assert_eq!(http.me(&service, access).await.status, StatusCode::OK);
        assert_eq!(
            service.counts(),
            Counts {
                refreshes_ok: 1,
                api_ok: 2,
                ..Counts::default()
            }
        );
    }

    #[tokio::test]
    async fn reuse_is_invalid_grant_and_takes_the_new_tokens_along() {
        let service = TokenService::start().unwrap();
        let http = Http::new();
        let issued = service.connect("ada");
        let fields = http
            .refresh(&service, &issued.refresh_token)
            .await
            .unwrap()
            .json();

        let reply = http.refresh(&service, &issued.refresh_token).await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.header(CACHE_CONTROL), "no-store");
        assert_eq!(reply.json()["error"], "invalid_grant");

        let access = fields["access_token"].as_str().unwrap();
        assert_eq!(
            http.me(&service, access).await.status,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            service.counts(),
            Counts {
                refreshes_ok: 1,
                refreshes_failed: 1,
                reuse_detected: 1,
                api_unauthorized: 1,
                ..Counts::default()
            }
        );
    }

    #[tokio::test]
    async fn the_api_challenges() {
        let service = TokenService::builder()
            .access_ttl(Duration::from_secs(10))
            .start()
            .unwrap();
        let http = Http::new();
        let bare = http
            .send(Request::get(service.api() + "/me"), Vec::new())
            .await
            .unwrap();
        assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
        assert_eq!(bare.header(WWW_AUTHENTICATE), "Bearer");

        let expired = service.connect("ada").access_token;
        service.advance(Duration::from_secs(10));
        let told = service.connect("ada").access_token;
        service.expire_access_tokens();
        let killed = service.connect("ada").access_token;
        service.kill_access("ada");
        let revoked = service.connect("ada").access_token;
        service.revoke_grant("ada");
        for token in ["unknown", &expired, &told, &killed, &revoked] {
            let reply = http.me(&service, token).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
            assert_eq!(
                reply.header(WWW_AUTHENTICATE),
                "Bearer error=\"invalid_token\""
            );
        }
    }

    #[tokio::test]
    async fn echo_reads_the_body_whatever_the_answer() {
        let service = TokenService::start().unwrap();
        let http = Http::new();
        let token = service.connect("ada").access_token;
        let size = 3_000_000;
        for (token, status) in [(&*token, StatusCode::OK), ("?", StatusCode::UNAUTHORIZED)] {
            let request = Request::post(service.api() + "/echo")
                .header(AUTHORIZATION, format!("Bearer {token}"));
            let reply = http.send(request, vec![7; size]).await.unwrap();
            assert_eq!(reply.status, status);
            if status == StatusCode::OK {
                assert_eq!(reply.json(), json!({ "user": "ada", "bytes": size }));
            }
        }
    }

    #[tokio::test]
    async fn wrong_requests_are_told_what_is_wrong() {
        let service = TokenService::start().unwrap();
        let http = Http::new();
        let token = &*service.connect("ada").refresh_token;

        let body =
            format!("grant_type=refresh_token&refresh_token={token}&client_id=x&client_secret=y");
        let request = Request::post(service.token_endpoint())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let reply = http.send(request, body.into_bytes()).await.unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.header(WWW_AUTHENTICATE), "Basic realm=\"token\"");
        assert_eq!(reply.json()["error"], "invalid_client");

        let grant = ("grant_type", "refresh_token");
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("refresh_token", token)], "invalid_request"),
            (&[grant], "invalid_request"),
            (
                &[("grant_type", "password"), ("refresh_token", token)],
                "unsupported_grant_type",
            ),
            (
                &[grant, ("refresh_token", token), ("scope", "profile admin")],
                "invalid_scope",
            ),
            (&[grant, ("refresh_token", "unknown")], "invalid_grant"),
        ];
        for (form, error) in cases {
            let reply = http
                .post(&service, service.token_endpoint(), form)
                .await
                .unwrap();
            assert_eq!(reply.status, StatusCode::BAD_REQUEST);
            assert_eq!(reply.json()["error"], error);
        }
        assert_eq!(service.counts().refreshes_failed, 6);

        let get = http
            .send(Request::get(service.token_endpoint()), Vec::new())
            .await
            .unwrap();
        assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(get.header(ALLOW), "POST");
        let elsewhere = http
            .send(Request::get(service.api() + "/x"), Vec::new())
            .await
            .unwrap();
        assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);

        // None of it spent the token.
        let reply = http.refresh(&service, token).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn revocation_takes_the_grant_and_never_complains() {
        let service = TokenService::start().unwrap();
        let http = Http::new();
        let issued = service.connect("ada");
        for token in ["unknown", &issued.refresh_token, &issued.refresh_token] {
            let reply = http
                .post(&service, service.revocation_endpoint(), &[("token", token)])
                .await
                .unwrap();
            assert_eq!(reply.status, StatusCode::OK);
        }
        let reply = http.me(&service, &issued.access_token).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn faults_before_serving_leave_the_token_good() {
        let service = TokenService::start().unwrap();
        let http = Http::new();
        let token = service.connect("ada").refresh_token;
        for (fault, status) in [
            (Fault::Status(503), 503),
            (Fault::Status(103), 500),
            (Fault::Status(7), 500),
            (Fault::Redirect, 307),
        ] {
            service.set_fault(fault);
            let reply = http.refresh(&service, &token).await.unwrap();
            assert_eq!(reply.status, status);
            if fault == Fault::Redirect {
                let moved = service.issuer() + reply.header(LOCATION);
                let form = [("grant_type", "refresh_token"), ("refresh_token", &token)];
                let reply = http.post(&service, moved, &form).await.unwrap();
                assert_eq!(reply.status, StatusCode::OK);
            }
        }
        assert_eq!(
            service.counts(),
            Counts {
                refreshes_ok: 1,
                refreshes_failed: 4,
                ..Counts::default()
            }
        );
    }

    #[tokio::test]
    async fn faults_of_the_answer_come_after_the_exchange() {
        let service = TokenService::start().unwrap();
        let http = Http::new();

        for fault in [Fault::LostAnswer, Fault::Truncate] {
            service.set_fault(fault);
            let token = service.connect("ada").refresh_token;
            assert!(http.refresh(&service, &token).await.is_err(), "{fault:?}");
        }

        service.set_fault(Fault::Garbage);
        let token = service.connect("ada").refresh_token;
        let reply = http.refresh(&service, &token).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert!(serde_json::from_slice::<Value>(&reply.body).is_err());

        service.set_fault(Fault::OmitExpiresIn);
        let token = service.connect("ada").refresh_token;
        let reply = http.refresh(&service, &token).await.unwrap();
        assert!(reply.json()["access_token"].is_string());
        assert!(reply.json().get("expires_in").is_none());

        service.set_fault(Fault::Oversize);
        let token = service.connect("ada").refresh_token;
        let reply = http.refresh(&service, &token).await.unwrap();
        assert!(reply.body.len() > 4_000_000);
        assert!(!reply.headers.contains_key("content-length"));
        assert_eq!(reply.json()["expires_in"], 60);

        assert_eq!(service.counts().refreshes_ok, 5);
    }

    #[tokio::test]
    async fn a_held_request_is_served_on_release_or_dropped_with_its_client() {
        let service = TokenService::start().unwrap();
        let http = Http::new();
        let token = service.connect("ada").refresh_token;

        service.set_fault(Fault::HoldUntilReleased);
        {
            let mut abandoned = pin!(http.refresh(&service, &token));
            tokio::select! {
                _ = &mut abandoned => panic!("not held"),
                () = service.held() => {}
            }
        }
        service.app.faults.none_held().await;

        let held = service.held();
        let mut refresh = pin!(http.refresh(&service, &token));
        tokio::select! {
            _ = &mut refresh => panic!("not held"),
            () = held => {}
        }
        assert_eq!(service.counts(), Counts::default());
        service.release();
        assert_eq!(refresh.await.unwrap().status, StatusCode::OK);
        assert_eq!(service.counts().refreshes_failed, 0);
    }

    #[test]
    fn it_needs_no_runtime_and_hangs_up_when_dropped() {
        let service = TokenService::start().unwrap();
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream
            .write_all(b"GET /me HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HTTP/1.1 401");

        drop(service);
        // Without the hang-up this would wait for ever.
        let _ = stream.read_to_end(&mut Vec::new());
    }

    #[test]
    fn debug_shows_no_secret() {
        let service = TokenService::start().unwrap();
        let issued = service.connect("ada");
        let shown = format!("{service:?} {issued:?}");
        for secret in [
            service.client_secret(),
            &issued.access_token,
            &issued.refresh_token,
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
