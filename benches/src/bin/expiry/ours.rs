//! Ours: a manager that speaks OAuth 2.0 with the token service, and its layer.

use std::sync::Arc;
use std::time::Duration;

use benches::BoxError;
use benches::noop::{Body, Guarded, Noop, ORIGIN, Template};
use benches::ours::{key, token};
use benches::peer::Peer;
use benches::token_service::TokenService;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;
use tower_layer::Layer as _;
use tower_service::Service;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, OAuth2, SealedStore, SledStore, TokenLayer, TokenManager,
    TokenRequest, TokenResponse,
};

use crate::stage::TOKEN;

/// How long our callers wait at most. It is less than their patience, and none of the times at
/// which the callers of another case come.
pub const WAIT_DEADLINE: Duration = Duration::from_millis(1_700);

/// The cap on exchanges that are under way at once: the default, which has no getter.
pub const MAX_EXCHANGES: usize = 32;

/// A manager at `service`, with nobody connected.
pub async fn manager(service: &TokenService, store: SealedStore) -> Result<TokenManager, BoxError> {
    let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let provider = OAuth2::new("example", service.url())
        .client_secret_basic("benches", "secret")
        .transport(http)
        .max_exchanges(MAX_EXCHANGES)
        .allow_origin(ORIGIN);
    let manager = TokenManager::builder()
        .store(store)
        .provider(provider)
        .wait_deadline(WAIT_DEADLINE)
        .build()
        .await?;
    Ok(manager)
}

/// Connects one user, whose first token lives for `life` from now on.
pub async fn connect(
    manager: &TokenManager,
    user: usize,
    life: Duration,
) -> Result<GrantKey, BoxError> {
    let key = key(user);
    let first = TokenResponse::new(token(user, TOKEN))
        .refresh_token(format!("first-{user}"))
        .expires_in(life);
    manager.connect(&key, first).await?;
    Ok(key)
}

/// The layer over a service that looks whether a token has arrived; its requests name their user.
#[derive(Debug, Clone)]
pub struct Ours<const SLED: bool> {
    layered: tower_token::TokenService<Guarded>,
    template: Template,
    /// Of the store, if it is on the disk.
    _folder: Option<Arc<TempDir>>,
}

/// Grants in memory.
pub type InMemory = Ours<false>;
/// Grants in sled, every refresh durable before it is answered.
pub type InSled = Ours<true>;

impl<const SLED: bool> Peer for Ours<SLED> {
    const NAME: &'static str = if SLED {
        "tower-token, sled"
    } else {
        "tower-token"
    };
    type Request = Request<Body>;

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let ring = KeyRing::generate()?;
        let (store, folder) = if SLED {
            let folder = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))?;
            let store = SledStore::open(folder.path()).await?;
            let store = SealedStore::open(store, ring).await?;
            (store, Some(Arc::new(folder)))
        } else {
            (SealedStore::open(MemoryStore::new(), ring).await?, None)
        };
        let manager = manager(service, store).await?;
        let key = connect(&manager, 0, service.life()).await?;
        Ok(Self {
            layered: TokenLayer::new(&manager).layer(Guarded),
            template: Template::new()?.with(TokenRequest::new(key)),
            _folder: folder,
        })
    }

    fn request(&self) -> Self::Request {
        self.template.request()
    }

    async fn bare(&mut self, request: Self::Request) -> Result<(), BoxError> {
        Noop.call(request).await?;
        Ok(())
    }

    async fn send(&mut self, request: Self::Request) -> Result<(), BoxError> {
        let sent = self.layered.call(request).await;
        sent.map_err(|error| error.to_string())?;
        Ok(())
    }
}
