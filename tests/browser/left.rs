//! What is left behind when everything is over.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::BoxError;
use tower_token::{KeyRing, Provider, RefreshError, RefreshRequest, Refresher, SealedStore};
use tower_token::{SledStore, TokenManager, TokenResponse, Verdict};

/// The grants that say which sessions are over (`axum_token::SignIns::PROVIDER`).
pub const SIGN_INS: &str = "axum-token.sign-ins";

/// What the data folder knows of `user`: the providers of the grants in the store, and whether
/// something is to be revoked still.
pub async fn grants(data: &Path, user: &str) -> Result<(Vec<String>, usize), BoxError> {
    let keys = KeyRing::from_file(data.join("key"))?;
    let store = SealedStore::open(SledStore::open(data.join("grants")).await?, keys).await?;
    let manager = TokenManager::builder()
        .store(store)
        .provider(Provider::new("mesh", Nobody))
        .provider(Provider::new(SIGN_INS, Nobody))
        .build()
        .await?;
    let grants = manager.grants(user).await?;
    let providers = grants.iter().map(|grant| grant.key().provider().to_owned());
    let providers = providers.collect();
    let to_do = manager.sweep_dry_run().await?.items.len();
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok((providers, to_do))
}

/// How many connections `user` has at the stand-in that still can be used, and how many ended.
pub fn connections(data: &Path, user: &str) -> Result<(usize, usize), BoxError> {
    let state: Value = serde_json::from_slice(&std::fs::read(data.join("mesh.json"))?)?;
    let connections = state["ledger"]["connections"].as_array();
    let connections = connections.ok_or("no connections")?.iter();
    let (ended, usable): (Vec<_>, Vec<_>) = connections
        .filter(|connection| connection["user"] == user)
        .partition(|connection| connection["ended"] == true);
    Ok((usable.len(), ended.len()))
}

/// Nothing is refreshed here.
struct Nobody;

impl Refresher for Nobody {
    async fn refresh(&self, _: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        Err(RefreshError::new(
            Verdict::Misconfigured,
            "not in this test",
        ))
    }
}
