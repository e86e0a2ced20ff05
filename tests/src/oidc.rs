//! The real OAuth server of `peers/oidc-provider`, one process per test.

use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tower_token::{GrantKey, OAuth2, TokenManager, TokenResponse};

use crate::{BoxError, HttpClient, accepts, http_client, json};

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
        Self::spawn(access_ttl, None).await
    }

    /// The same, for an app at `origin` (as `http://localhost:8080`) that signs users in as the
    /// client `web`, with the secret `web-secret`. It calls the server `op`: the redirect URI is
    /// `{origin}/auth/op/callback`.
    pub async fn start_for_web(access_ttl: u32, origin: &str) -> Result<Self, BoxError> {
        Self::spawn(access_ttl, Some(origin)).await
    }

    async fn spawn(access_ttl: u32, web_origin: Option<&str>) -> Result<Self, BoxError> {
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
            .envs(web_origin.map(|origin| ("WEB_ORIGIN", origin)))
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
