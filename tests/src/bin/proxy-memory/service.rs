//! The service that is measured.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum_token::{
    ProxyRoutes, PublicOrigin, SessionTokenLayer, TokenState, TrustedHeader, Upstream,
};
use http::HeaderName;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tests::fake::Fake;
use tests::{BoxError, resident};
use tokio::net::TcpListener;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, Provider, ReplayBody, SealedStore, TokenManager,
};

pub(crate) const ORIGIN: &str = "https://app.example.com";

/// Says who the user is.
pub(crate) const USER: &str = "x-authenticated-user";

/// A running one. It ends with this.
pub(crate) struct Service {
    address: String,
    child: Child,
    // Its end of this pipe tells it when to end.
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Service {
    pub(crate) fn start(api: &str) -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--service", api])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let asked = child.stdin.take();
        let answers = child.stdout.take().ok_or("no stdout")?;
        let mut service = Self {
            address: String::new(),
            child,
            asked,
            answers: BufReader::new(answers),
        };
        service.address = service.line()?;
        Ok(service)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its peak in KiB, which begins anew at `begin`.
    pub(crate) fn level(&mut self, when: &str) -> Result<usize, BoxError> {
        writeln!(self.asked.as_ref().ok_or("no stdin")?, "{when}")?;
        Ok(self.line()?.parse()?)
    }

    fn line(&mut self) -> Result<String, BoxError> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.asked.take());
        let _ = self.child.wait();
    }
}

/// Serves until stdin ends.
// Each thread has memory of its own from the allocator: as many on any machine.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
pub(crate) async fn run(api: &str) -> Result<(), BoxError> {
    let fake = Fake::new(Duration::from_secs(3_600));
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
    let manager = TokenManager::builder()
        .store(store)
        .provider(Provider::new("fake", fake.clone()).allow_origin(api))
        .build()
        .await?;
    let ada = GrantKey::new("fake", "ada");
    manager.connect(&ada, fake.consent()).await?;

    let client: Client<_, ReplayBody<Body>> = Client::builder(TokioExecutor::new()).build_http();
    let origin: PublicOrigin = ORIGIN.parse()?;
    let user = HeaderName::from_static(USER);
    let routes = ProxyRoutes::new(&manager, client)
        .strip_header(user.clone())
        .upstream(Upstream::new("files", "fake", api));
    let users = SessionTokenLayer::new(TrustedHeader::overwritten_by_proxy(user));
    let app = Router::new()
        .nest("/api", routes.router(&origin)?)
        .layer(users)
        .with_state(TokenState::new(&manager));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    tokio::task::spawn_blocking(tell).await??;
    serving.abort();
    Ok(())
}

fn tell() -> Result<(), BoxError> {
    for line in std::io::stdin().lines() {
        if line? == "begin" {
            resident::forget_peak()?;
        }
        println!("{}", resident::peak()?);
    }
    Ok(())
}
