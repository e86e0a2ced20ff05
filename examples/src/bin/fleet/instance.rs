//! One process of the service: it calls the API for its users, and says what it did.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tower::{ServiceBuilder, ServiceExt as _};
use tower_token::{
    EventKind, Events, KeyRing, OAuth2, TokenLayer, TokenManager, TokenRequest, TokenService,
};

use crate::report::Report;

type HttpClient = TokenService<Client<HttpConnector, Full<Bytes>>>;

/// How many calls an instance has under way.
const CALLERS: usize = 8;
/// Between two calls of one caller.
const PAUSE: Duration = Duration::from_millis(2);

/// What all instances are told.
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) schema: String,
    pub(crate) keys: KeyRing,
    pub(crate) token_endpoint: String,
    pub(crate) client: (String, String),
    pub(crate) api: String,
    pub(crate) users: usize,
}

impl Settings {
    /// By the environment, which others do not see.
    pub(crate) fn to_env(&self) -> [(&'static str, String); 8] {
        [
            ("DATABASE_URL", self.url.clone()),
            ("FLEET_SCHEMA", self.schema.clone()),
            ("TOWER_TOKEN_KEYS", self.keys.encode().expose().to_owned()),
            ("FLEET_TOKEN_ENDPOINT", self.token_endpoint.clone()),
            ("FLEET_CLIENT_ID", self.client.0.clone()),
            ("FLEET_CLIENT_SECRET", self.client.1.clone()),
            ("FLEET_API", self.api.clone()),
            ("FLEET_USERS", self.users.to_string()),
        ]
    }

    /// Nothing where this process is the first.
    pub(crate) fn of_an_instance() -> Result<Option<Self>, Box<dyn Error>> {
        let var = |name| std::env::var(name);
        if var("FLEET_SCHEMA").is_err() {
            return Ok(None);
        }
        Ok(Some(Self {
            url: var("DATABASE_URL")?,
            schema: var("FLEET_SCHEMA")?,
            keys: KeyRing::from_env("TOWER_TOKEN_KEYS")?,
            token_endpoint: var("FLEET_TOKEN_ENDPOINT")?,
            client: (var("FLEET_CLIENT_ID")?, var("FLEET_CLIENT_SECRET")?),
            api: var("FLEET_API")?,
            users: var("FLEET_USERS")?.parse()?,
        }))
    }

    pub(crate) fn provider(&self) -> OAuth2 {
        let (id, secret) = &self.client;
        OAuth2::new("demo", &*self.token_endpoint)
            .client_secret_basic(&**id, &**secret)
            .allow_origin(&self.api)
    }

    /// Removes what the fleet has left in the database.
    pub(crate) async fn remove(&self) -> Result<(), Box<dyn Error>> {
        let sql = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        let (client, connection) =
            tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        client.batch_execute(&sql).await?;
        drop(client);
        Ok(connection.await??)
    }
}

/// Whether the store connects without TLS, too: what it encrypts, [`Settings::remove`] may not
/// send as it is.
pub(crate) fn may_be_plain(url: &str) -> bool {
    let Ok(config) = url.parse::<Config>() else {
        return false;
    };
    let is_here = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(is_loopback),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    match config.get_ssl_mode() {
        SslMode::Disable => true,
        SslMode::Prefer => {
            let addresses = config.get_hostaddrs();
            config.get_hosts().iter().all(is_here) && addresses.iter().copied().all(is_loopback)
        }
        _ => false,
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

pub(crate) async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let settings = Arc::new(settings);
    let manager = settings.manager().await?;
    let report = Arc::<Mutex<Report>>::default();
    tokio::spawn(watch(manager.events(65_536), Arc::clone(&report)));
    let http = Client::builder(TokioExecutor::new()).build_http();
    let client = ServiceBuilder::new()
        .layer(TokenLayer::new(&manager))
        .service(http);
    for _ in 0..CALLERS {
        let (settings, report) = (Arc::clone(&settings), Arc::clone(&report));
        tokio::spawn(call(client.clone(), settings, report));
    }
    let (mut asked, mut out) = (
        BufReader::new(tokio::io::stdin()).lines(),
        tokio::io::stdout(),
    );
    while let Some(line) = asked.next_line().await? {
        let answer = match line.strip_prefix("serves ") {
            Some(user) => match serves(&manager, &settings, user.parse()?).await {
                true => "yes".to_owned(),
                false => "no".to_owned(),
            },
            None => std::mem::take(&mut *report.lock()).line(),
        };
        out.write_all(format!("{answer}\n").as_bytes()).await?;
        out.flush().await?;
    }
    Ok(manager.shutdown(Duration::from_secs(5)).await?)
}

async fn serves(manager: &TokenManager, settings: &Settings, user: usize) -> bool {
    manager.token(&settings.key(user)).await.is_ok()
}

/// Calls the API for any of the users, over and over.
async fn call(client: HttpClient, settings: Arc<Settings>, report: Arc<Mutex<Report>>) {
    let url = format!("{}/me", settings.api);
    loop {
        let mut random = [0; 8];
        let user = match getrandom::fill(&mut random) {
            Ok(()) => usize::from_ne_bytes(random) % settings.users,
            Err(_) => 0,
        };
        let request = Request::get(&url)
            .extension(TokenRequest::new(settings.key(user)))
            .body(Full::default());
        let Ok(request) = request else {
            return;
        };
        let response = client.clone().oneshot(request).await;
        let went_well = response.is_ok_and(|response| response.status().is_success());
        {
            let mut report = report.lock();
            report.calls += u64::from(went_well);
            report.failed += u64::from(!went_well);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Counts what the manager does.
async fn watch(mut events: Events, report: Arc<Mutex<Report>>) {
    while let Some(event) = events.next().await {
        let mut report = report.lock();
        match event.kind {
            EventKind::Refreshed { .. } => report.exchanges += 1,
            EventKind::LostRace => report.lost_races += 1,
            EventKind::Adopted { .. } => report.adopted += 1,
            EventKind::Waited { .. } => report.waits += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_may_not_be_plain() {
        for (url, may_be) in [
            ("postgres://u:p@127.0.0.1:5432/d", true),
            ("postgres://u:p@[::1]/d", true),
            ("postgres://u:p@localhost/d", true),
            ("host=/run/postgresql user=u", true),
            ("postgres://u:p@db.example.com/d?sslmode=disable", true),
            ("postgres://u:p@db.example.com/d", false),
            ("postgres://u:p@127.0.0.1/d?sslmode=require", false),
            ("postgres://u:p@127.0.0.1/d?sslmode=verify-full", false),
            ("postgres://u:p@127.0.0.1,10.0.0.7/d", false),
            ("host=localhost hostaddr=10.0.0.7 user=u", false),
            ("not understood", false),
        ] {
            assert_eq!(may_be_plain(url), may_be, "{url}");
        }
    }
}
