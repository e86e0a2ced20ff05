//! What the promises about Mesh share: the stand-in, and users who are connected there.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::{ManualClock, MeshBroker, MeshServer};
use tower_token::{
    ByteStore, ErrorKind, GrantKey, JsonBody, KeyRing, MemoryStore, Mesh, MeshPayload, SealedStore,
    Secret, TokenLayer, TokenManager, TokenRequest,
};

use crate::{BoxError, http_client, json};

/// A stand-in with its own client, and a manager over a store in memory.
#[derive(Debug)]
pub struct Rig {
    /// That of both.
    pub clock: ManualClock,
    /// Its access tokens live for an hour.
    pub server: MeshServer,
    /// Its provider is called `mesh`.
    pub manager: TokenManager,
}

impl Rig {
    /// Nobody is connected yet.
    pub async fn new() -> Result<Self, BoxError> {
        let clock = ManualClock::new();
        let server = server(&clock)?;
        let (store, ring) = (MemoryStore::with_clock(clock.clone()), KeyRing::generate()?);
        let manager = manager(server.provider("mesh"), store, &ring, &clock).await?;
        Ok(Self {
            clock,
            server,
            manager,
        })
    }

    /// Connects a user with the accounts of one broker; the key, and the accounts' ids.
    pub async fn connected(
        &self,
        user: &str,
        broker: MeshBroker,
    ) -> Result<(GrantKey, Vec<String>), BoxError> {
        let payload = self.server.connect(user, broker);
        let mut keys = connect(&self.manager, user, &payload).await?;
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok((key, ids(&payload)?)),
            _ => Err("accounts of one refresh token are one grant".into()),
        }
    }

    /// What the account opens, by its own id.
    pub async fn opens(
        &self,
        key: &GrantKey,
        broker: MeshBroker,
        account: &str,
    ) -> Result<bool, BoxError> {
        let secret = self.server.client_secret();
        let answer = holdings(&self.manager, &self.server, secret, key, broker, account);
        let (status, content) = answer.await?;
        Ok(status == StatusCode::OK && content["accountId"] == account)
    }

    /// The token of one account, or the kind of the error.
    pub async fn token(&self, key: &GrantKey, account: &str) -> Result<String, ErrorKind> {
        let token = self.manager.account_token(key, account).await;
        token
            .map(|token| token.expose().to_owned())
            .map_err(|error| error.kind())
    }
}

/// The entries of a payload of access tokens.
pub fn entries(payload: &Secret) -> Result<Vec<Value>, BoxError> {
    let payload: Value = serde_json::from_str(payload.expose())?;
    let entries = payload["accessToken"]["accountTokens"].as_array();
    Ok(entries.ok_or("no entries")?.clone())
}

/// The ids of its accounts.
pub fn ids(payload: &Secret) -> Result<Vec<String>, BoxError> {
    let id = |entry: &Value| entry["account"]["accountId"].as_str().map(str::to_owned);
    let ids: Option<_> = entries(payload)?.iter().map(id).collect();
    Ok(ids.ok_or("an account has no id")?)
}

/// A stand-in that goes by this clock.
pub fn server(clock: &ManualClock) -> Result<MeshServer, BoxError> {
    let builder = MeshServer::builder().access_ttl(std::time::Duration::from_secs(3_600));
    Ok(builder.clock(clock.clone()).start()?)
}

/// A manager of `mesh` that sweeps only when it is told to.
pub async fn manager(
    mesh: Mesh,
    store: impl ByteStore,
    ring: &KeyRing,
    clock: &ManualClock,
) -> Result<TokenManager, BoxError> {
    let manager = TokenManager::builder()
        .store(SealedStore::open(store, ring.clone()).await?)
        .provider(mesh)
        .clock(clock.clone())
        .without_sweeper();
    Ok(manager.build().await?)
}

/// Connects a user with what the SDK would hand to their page; the keys of what came of it.
pub async fn connect(
    manager: &TokenManager,
    user: &str,
    payload: &Secret,
) -> Result<Vec<GrantKey>, BoxError> {
    let payload = MeshPayload::from_json(payload.expose().as_bytes())?;
    let mut keys = Vec::new();
    for grant in payload.grants() {
        let key = GrantKey::new("mesh", user).with_connection(grant.connection());
        manager.connect(&key, grant.response()).await?;
        keys.push(key);
    }
    Ok(keys)
}

/// The holdings of an account by the layer, as an application asks for them: the status, and
/// the content if it is 200.
pub async fn holdings(
    manager: &TokenManager,
    server: &MeshServer,
    client_secret: &str,
    key: &GrantKey,
    broker: MeshBroker,
    account: &str,
) -> Result<(StatusCode, Value), BoxError> {
    let layer = TokenLayer::new(manager).place(JsonBody::field("authToken"));
    let request = Request::post(format!("{}/api/v1/holdings/get", server.base_url()))
        .header("x-client-id", server.client_id())
        .header("x-client-secret", client_secret)
        .header("content-type", "application/json")
        .extension(TokenRequest::new(key.clone()).account(account))
        .body(Full::<Bytes>::from(
            json!({ "type": broker.broker_type() }).to_string(),
        ))?;
    let response = layer.layer(http_client()).oneshot(request).await?;
    let status = response.status();
    Ok((status, json(response).await?["content"].take()))
}
