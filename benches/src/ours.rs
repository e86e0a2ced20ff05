//! A manager whose grants are in memory and fresh.

use std::time::Duration;

use tokio::runtime::Runtime;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, Provider, RefreshError, RefreshRequest, Refresher, SealedStore,
    TokenManager, TokenManagerBuilder, TokenResponse,
};

use crate::BoxError;
use crate::noop::ORIGIN;

const DAY: Duration = Duration::from_secs(86_400);

/// A manager, the keys of its users, and the runtime it lives on.
#[derive(Debug)]
pub struct Ours {
    /// Every user's token is fresh, and in memory.
    pub manager: TokenManager,
    /// Of the users; a subject is a UUID.
    pub keys: Vec<GrantKey>,
    /// Idle, unless somebody drives it.
    pub runtime: Runtime,
}

/// Nothing is refreshed while fresh tokens are measured.
struct Never;

impl Refresher for Never {
    async fn refresh(&self, _: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        std::future::pending().await
    }
}

impl Ours {
    /// So many users, each with a token of so many bytes.
    pub fn connected(users: usize, token_len: usize) -> Result<Self, BoxError> {
        Self::connected_at(ORIGIN, users, token_len)
    }

    /// The same, and their tokens may go to this origin.
    pub fn connected_at(origin: &str, users: usize, token_len: usize) -> Result<Self, BoxError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let keys: Vec<_> = (0..users).map(key).collect();
        let connecting = async {
            let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
            let manager = over_at(store, origin).cache_capacity(users);
            let manager = manager.build().await?;
            for (user, key) in keys.iter().enumerate() {
                manager.connect(key, response(user, token_len)).await?;
            }
            Ok::<_, BoxError>(manager)
        };
        let manager = runtime.block_on(connecting)?;
        Ok(Self {
            manager,
            keys,
            runtime,
        })
    }
}

/// A manager over a store, of the provider that all keys name, and with nothing at work behind.
pub fn over(store: SealedStore) -> TokenManagerBuilder {
    over_at(store, ORIGIN)
}

fn over_at(store: SealedStore, origin: &str) -> TokenManagerBuilder {
    TokenManager::builder()
        .store(store)
        .provider(Provider::new("example", Never).allow_origin(origin))
        .without_sweeper()
}

/// The key of one user.
pub fn key(user: usize) -> GrantKey {
    GrantKey::new("example", format!("6f1c9f5e-2f9d-4b8e-9a4e-{user:012x}"))
}

/// What a user connects with: a token that is fresh for long.
pub fn response(user: usize, token_len: usize) -> TokenResponse {
    TokenResponse::new(token(user, token_len)).expires_in(DAY)
}

/// Their token: another for each, and so long.
pub fn token(user: usize, len: usize) -> String {
    format!("{user:0>len$}")
}
