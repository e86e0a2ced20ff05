//! What the promises about Mesh share: the stand-in, and users who are connected there.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::{ManualClock, MeshBroker, MeshServer};
use tower_token::{
    ByteStore, GrantKey, JsonBody, KeyRing, Mesh, MeshPayload, SealedStore, Secret, TokenLayer,
    TokenManager, TokenRequest,
};

use crate::{BoxError, http_client, json};

/// A stand-in, and the clock that it goes by.
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
