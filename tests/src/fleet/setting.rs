//! What a fleet runs on: a store, the way to it, and the users.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower_token::testkit::AuthServer;
use tower_token::{KeyRing, OAuth2, PostgresStore, SealedStore, TokenManager, TokenResponse};

use super::{PROVIDER, account, key};
use crate::BoxError;
use crate::oidc::Oidc;
use crate::postgres::{Pooler, Proxy, Server};

/// Which store the processes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A PostgreSQL of the test's own.
    Postgres,
}

impl Store {
    /// As `--store` names it.
    pub fn named(name: &str) -> Result<Self, BoxError> {
        match name {
            "postgres" => Ok(Self::Postgres),
            _ => Err(format!("no store is called {name:?}: postgres").into()),
        }
    }
}

/// How they reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// Directly.
    Nothing,
    /// By a PgBouncer that pools by the transaction; listening goes past it.
    PgBouncer,
    /// By a TCP proxy, listening as well.
    Proxy,
}

/// The token service, as the processes know it.
#[derive(Debug, Clone)]
pub struct Service {
    /// Where tokens are refreshed.
    pub endpoint: String,
    /// Of the one client.
    pub client: (String, String),
    /// How long an exchange may take.
    pub exchange_timeout: Duration,
    /// How long before its end a token is replaced though nobody asks for that.
    pub margin: Duration,
}

impl Service {
    /// A real server, its client `basic`, and times as usual.
    pub fn of(oidc: &Oidc) -> Self {
        Self {
            endpoint: oidc.url("/token"),
            client: ("basic".into(), "basic-secret".into()),
            exchange_timeout: Duration::from_secs(30),
            margin: Duration::from_secs(300),
        }
    }

    /// The same of the testkit's, which answers at once.
    pub fn of_testkit(server: &AuthServer) -> Self {
        Self {
            endpoint: server.token_endpoint(),
            client: (server.client_id().into(), server.client_secret().into()),
            exchange_timeout: Duration::from_secs(30),
            margin: Duration::from_secs(300),
        }
    }

    fn provider(&self) -> OAuth2 {
        OAuth2::new(PROVIDER, &*self.endpoint)
            .client_secret_basic(&*self.client.0, &*self.client.1)
            .exchange_timeout(self.exchange_timeout)
            .margin(self.margin)
            .allow_origin("http://127.0.0.1")
    }

    fn told(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "client": self.client.0,
            "secret": self.client.1,
            "exchange_timeout_ms": self.exchange_timeout.as_millis() as u64,
            "margin_ms": self.margin.as_millis() as u64,
        })
    }

    fn heard(task: &Value) -> Result<Self, BoxError> {
        let text = |name: &str| task[name].as_str().map(str::to_owned).ok_or("no such text");
        let time = |name: &str| {
            task[name]
                .as_u64()
                .map(Duration::from_millis)
                .ok_or("no such time")
        };
        Ok(Self {
            endpoint: text("endpoint")?,
            client: (text("client")?, text("secret")?),
            exchange_timeout: time("exchange_timeout_ms")?,
            margin: time("margin_ms")?,
        })
    }
}

/// A store that is running, and the keys to it.
#[derive(Debug)]
pub struct Setting {
    /// The store itself.
    pub server: Server,
    /// Before it, if that was asked for.
    pub pooler: Option<Pooler>,
    /// The same.
    pub proxy: Option<Proxy>,
    /// What everything is sealed under.
    pub ring: KeyRing,
    url: String,
    listen: Option<String>,
    /// Whether the processes are told of changes, or have to look.
    pub listening: bool,
}

impl Setting {
    /// Starts the store with an empty database.
    pub async fn start(store: Store, through: Through) -> Result<Self, BoxError> {
        let Store::Postgres = store;
        let server = Server::start().await?;
        let direct = server.database().await?;
        let (mut pooler, mut proxy) = (None, None);
        let (url, listen) = match through {
            Through::Nothing => (direct, None),
            Through::PgBouncer => {
                let pooler = pooler.insert(Pooler::start(&direct).await?);
                (pooler.url(), Some(direct))
            }
            Through::Proxy => (proxy.insert(Proxy::start(&direct).await?).url(), None),
        };
        Ok(Self {
            server,
            pooler,
            proxy,
            ring: KeyRing::generate()?,
            url,
            listen,
            listening: true,
        })
    }

    /// What a process is told to do: to be number `index` of those that refresh `grants` grants
    /// at `service`.
    pub fn task(&self, index: usize, grants: usize, service: &Service) -> Value {
        json!({
            "index": index,
            "grants": grants,
            "service": service.told(),
            "url": self.url,
            "listen": self.listen,
            "listening": self.listening,
        })
    }

    /// Connects as many users of `oidc`.
    pub async fn connect_at(
        &self,
        oidc: &Oidc,
        service: &Service,
        grants: usize,
    ) -> Result<(), BoxError> {
        let accounts: Vec<String> = (0..grants).map(account).collect();
        let mut responses = Vec::new();
        for minted in oidc.mint_all(&accounts).await? {
            responses.push(TokenResponse::from_json(minted.to_string().as_bytes())?);
        }
        self.connect(service, responses).await
    }

    /// Connects as many users of the testkit's `server`.
    pub async fn connect_testkit(
        &self,
        server: &AuthServer,
        service: &Service,
        grants: usize,
    ) -> Result<(), BoxError> {
        let responses = (0..grants).map(|n| server.connect(&account(n)).into());
        self.connect(service, responses.collect()).await
    }

    /// Connects the users from the first on, a response each.
    async fn connect(
        &self,
        service: &Service,
        responses: Vec<TokenResponse>,
    ) -> Result<(), BoxError> {
        let task = self.task(0, 0, service);
        let manager = manager(&task, self.ring.clone()).await?;
        let mut connecting = JoinSet::new();
        for (n, response) in responses.into_iter().enumerate() {
            if connecting.len() == 32 {
                connecting.join_next().await.ok_or("nobody")???;
            }
            let manager = manager.clone();
            connecting.spawn(async move { manager.connect(&key(n), response).await });
        }
        while let Some(connected) = connecting.join_next().await {
            connected??;
        }
        Ok(manager.shutdown(Duration::from_secs(10)).await?)
    }
}

/// A manager as `task` says, with keys from the environment.
pub(super) async fn manager(task: &Value, ring: KeyRing) -> Result<TokenManager, BoxError> {
    let mut store = PostgresStore::builder(task["url"].as_str().ok_or("no store")?);
    if let Some(listen) = task["listen"].as_str() {
        store = store.listen(listen);
    }
    if task["listening"] == false {
        store = store.without_listening();
    }
    let store = SealedStore::open_shared(store.open().await?, ring).await?;
    Ok(TokenManager::builder()
        .store(store)
        .provider(Service::heard(&task["service"])?.provider())
        // Longer than a sibling that stands still keeps its lease.
        .wait_deadline(Duration::from_secs(60))
        .build()
        .await?)
}
