//! The real OAuth server of `peers/oidc-provider`, one process per test.

use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tower_token::{GrantKey, OAuth2, TokenManager, TokenResponse};

use crate::{BoxError, HttpClient, accepts, http_client, json};

/// What the token endpoint did with refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshes {
    /// Granted, whether or not the answer arrived.
    pub ok: u64,
    /// Refused, since the refresh token had been spent.
    pub reuse_detected: u64,
    /// Grants that are no more, whatever the cause.
    pub grants_revoked: u64,
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct Oidc {
    base: String,
    http: HttpClient,
    _server: Child,
}

impl Oidc {
    /// Starts a server on a free loopback port whose access tokens live `access_ttl`
    /// seconds (up to one less, since it counts in whole ones).
    pub async fn start(access_ttl: u32) -> Result<Self, BoxError> {
        Self::spawn(access_ttl, [].into_iter()).await
    }

    /// The same, with a storage that takes `storage_ms` for each access: requests interleave, and
    /// a refresh token is looked at some time before it is spent.
    pub async fn start_slow(access_ttl: u32, storage_ms: u32) -> Result<Self, BoxError> {
        let storage = ("STORAGE_MS", storage_ms.to_string());
        Self::spawn(access_ttl, [storage].into_iter()).await
    }

    /// The same, for an app at `origin` (as `http://localhost:8080`) that signs users in as the
    /// client `web`, with the secret `web-secret`. It calls the server `op`: the redirect URI is
    /// `{origin}/auth/op/callback`.
    pub async fn start_for_web(access_ttl: u32, origin: &str) -> Result<Self, BoxError> {
        let web = ("WEB_ORIGIN", origin.to_owned());
        Self::spawn(access_ttl, [web].into_iter()).await
    }

    async fn spawn(
        access_ttl: u32,
        settings: impl Iterator<Item = (&'static str, String)>,
    ) -> Result<Self, BoxError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/oidc-provider");
        if !folder.join("node_modules").is_dir() {
            return Err(
                "the OAuth server is not installed: run scripts/test, or `npm ci` in \
                        tests/peers/oidc-provider"
                    .into(),
            );
        }
        let mut server = Command::new("node")
            .arg("server.mjs")
            .current_dir(folder)
            .env("ACCESS_TTL", access_ttl.to_string())
            .envs(settings)
            // It ends when this closes, so it never outlives the test.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = server.stdout.take().ok_or("the server has no stdout")?;
        let first = BufReader::new(stdout).lines().next_line().await?;
        let first = first.ok_or("the server ended before it was ready")?;
        let base = first
            .strip_prefix("ready ")
            .ok_or("the server said something odd")?;
        Ok(Self {
            base: base.to_owned(),
            http: http_client(),
            _server: server,
        })
    }

    /// The server's URL, without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A URL on the server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The server as a provider, for its confidential client, allowed to see tokens.
    pub fn provider(&self) -> OAuth2 {
        OAuth2::new("oidc", self.url("/token"))
            .client_secret_basic("basic", "basic-secret")
            .allow_origin(&self.base)
    }

    /// What a user's consent would have brought.
    pub async fn mint(&self, client: &str, account: &str, format: &str) -> Result<Value, BoxError> {
        let wanted = json!({ "client_id": client, "account": account, "format": format });
        self.post("/test/grants", &wanted).await
    }

    /// The same for many accounts at once, as [`provider`](Self::provider)'s client, in their order.
    pub async fn mint_all(&self, accounts: &[String]) -> Result<Vec<Value>, BoxError> {
        let wanted = json!({ "client_id": "basic", "accounts": accounts });
        let mut minted = self.post("/test/grants", &wanted).await?;
        match minted["grants"].take() {
            Value::Array(grants) if grants.len() == accounts.len() => Ok(grants),
            _ => Err("not as many grants as accounts".into()),
        }
    }

    /// Connects `account` at `manager`, and returns its key and the tokens it got.
    pub async fn connect(
        &self,
        manager: &TokenManager,
        account: &str,
    ) -> Result<(GrantKey, Value), BoxError> {
        let minted = self.mint("basic", account, "opaque").await?;
        let key = GrantKey::new("oidc", account);
        manager
            .connect(
                &key,
                TokenResponse::from_json(minted.to_string().as_bytes())?,
            )
            .await?;
        Ok((key, minted))
    }

    /// What the server counted.
    pub async fn counts(&self) -> Result<Value, BoxError> {
        self.call(Method::GET, "/test/counts", Bytes::new()).await
    }

    /// What it counted of refreshes.
    pub async fn refreshes(&self) -> Result<Refreshes, BoxError> {
        let counts = self.counts().await?;
        let count = |name: &str| counts[name].as_u64().ok_or("no such count");
        Ok(Refreshes {
            ok: count("refresh_ok")?,
            reuse_detected: count("reuse_detected")?,
            grants_revoked: count("grants_revoked")?,
        })
    }

    /// Everything that it issued: arrays of `code`, `access_token`, `refresh_token` and
    /// `id_token`.
    pub async fn issued(&self) -> Result<Value, BoxError> {
        self.call(Method::GET, "/test/issued", Bytes::new()).await
    }

    /// Moves the client `web` to an app at `origin`, which calls this server `provider`.
    pub async fn register_web(&self, origin: &str, provider: &str) -> Result<(), BoxError> {
        let wanted = json!({ "origin": origin, "provider": provider });
        self.post("/test/web-origin", &wanted).await.map(drop)
    }

    /// Ends the account's sessions here, as a logout does: clients are told by their back
    /// channels before this returns. An error if one did not take it.
    pub async fn end_session(&self, account: &str) -> Result<(), BoxError> {
        let whose = json!({ "account": account });
        let did = self.post("/test/end-session", &whose).await?;
        match (did["sessions"].as_u64(), did["failed"].as_array()) {
            (Some(1..), Some(failed)) if failed.is_empty() => Ok(()),
            _ => Err(format!("of the end of {account}'s sessions: {did}").into()),
        }
    }

    /// A logout token that was not sent. `wanted` has at least `account`; see the server's
    /// README for what else.
    pub async fn logout_token(&self, wanted: &Value) -> Result<String, BoxError> {
        let token = self.post("/test/logout-token", wanted).await?;
        let token = token["logout_token"].as_str();
        Ok(token.ok_or("no logout token")?.to_owned())
    }

    /// A new key signs from here on. The former ones stay published unless they are to be
    /// forgotten.
    pub async fn rotate_keys(&self, forget: bool) -> Result<(), BoxError> {
        let how = json!({ "forget": forget });
        self.post("/test/rotate-keys", &how).await.map(drop)
    }

    /// Replaces the faults of the token endpoint.
    pub async fn faults(&self, faults: Value) -> Result<(), BoxError> {
        self.post("/test/faults", &faults).await.map(drop)
    }

    /// Waits until the token endpoint holds `n` requests.
    pub async fn held(&self, n: u64) -> Result<(), BoxError> {
        loop {
            let held = self.call(Method::GET, "/test/held", Bytes::new()).await?;
            if held["held"].as_u64() >= Some(n) {
                return Ok(());
            }
        }
    }

    /// Whether the server's API takes this access token now.
    pub async fn accepts(&self, token: &str) -> Result<bool, BoxError> {
        accepts(&self.http, self.url("/api/me"), token).await
    }

    /// Whose access token this is by the server's API; of nobody if it refuses it.
    pub async fn subject(&self, token: &str) -> Result<Option<String>, BoxError> {
        let request = Request::get(self.url("/api/me"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::default())?;
        let answer = json(self.http.request(request).await?).await?;
        Ok(answer["sub"].as_str().map(str::to_owned))
    }

    /// Posts JSON to one of the server's own routes.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, BoxError> {
        self.call(Method::POST, path, body.to_string().into()).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Value, BoxError> {
        let request = Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let response = self.http.request(request).await?;
        let status = response.status();
        let answer = json(response).await?;
        if !status.is_success() {
            return Err(format!("{path} answered {status}: {answer}").into());
        }
        Ok(answer)
    }
}
