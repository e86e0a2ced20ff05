//! The only orchestrator: it knows the store and the providers, and neither knows the
//! other.

mod backoff;
mod builder;
mod cache;
mod connect;
mod flight;
mod lease;
mod refresh;
mod save;
mod serve;
mod slot;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::builder::TokenManagerBuilder;
use self::cache::Cache;
pub(crate) use self::serve::Attached;
use self::slot::{Hold, Slot};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventBus, EventKind, Events, Fingerprint};
use crate::grant::{AccessToken, Grant, Owner, TokenResponse};
use crate::key::GrantKey;
use crate::provider::Provider;
use crate::store::{Opened, SealedStore};

/// Keeps every user's token usable. Cheap to clone; clones are the same manager.
///
/// ```
/// # use tower_token::*;
/// # #[tokio::main] async fn main() -> Result<(), Error> {
/// let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
/// let manager = TokenManager::builder()
///     .store(store)
///     .provider(
///         OAuth2::new("example", "https://auth.example.com/token")
///             .client_secret_basic("client-id", "client-secret")
///             .allow_origin("https://api.example.com"),
///     )
///     .build()
///     .await?;
///
/// // Once, after the user's consent:
/// let key = GrantKey::new("example", "user-17");
/// let response = TokenResponse::new("access").refresh_token("refresh");
/// manager.connect(&key, response).await?;
///
/// // Every time after:
/// assert_eq!(manager.token(&key).await?.expose(), "access");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct TokenManager(Arc<Shared>);

/// What a manager's clones, flights and layers share.
pub(crate) struct Shared {
    store: SealedStore,
    providers: HashMap<Arc<str>, Arc<Provider>>,
    cache: Cache,
    clock: Arc<dyn Clock>,
    events: EventBus,
    owner: Owner,
    runtime: Handle,
    wait_deadline: Duration,
    /// How many flights are under way.
    flights: watch::Sender<usize>,
    stage: AtomicU8,
}

/// [`Shared::stage`]: no flight begins any more.
const SHUT_DOWN: u8 = 1;
/// [`Shared::stage`]: and the store is closed.
const CLOSED: u8 = 2;

impl TokenManager {
    /// Begins to set a manager up.
    pub fn builder() -> TokenManagerBuilder {
        TokenManagerBuilder::new()
    }

    /// Stores what a user's consent brought. Connecting again replaces the grant, and
    /// whatever was under way for the old one is dropped.
    ///
    /// When this returns the tokens are as durable as the store makes them, also if the
    /// caller was dropped meanwhile.
    pub async fn connect(&self, key: &GrantKey, response: TokenResponse) -> Result<(), Error> {
        let work = Arc::clone(&self.0).connect(key.clone(), response);
        self.0.detached(work).await
    }

    /// Forgets a user's tokens. When this returns a mark is stored that keeps every
    /// refresh under way, and every late load, from bringing them back.
    ///
    /// The token service is not told: its own tokens there run out by themselves.
    pub async fn disconnect(&self, key: &GrantKey) -> Result<(), Error> {
        let work = Arc::clone(&self.0).disconnect(key.clone());
        self.0.detached(work).await
    }

    /// A usable access token, refreshed first if it has expired.
    pub async fn token(&self, key: &GrantKey) -> Result<AccessToken, Error> {
        self.0.usable(key, Duration::ZERO).await
    }

    /// A token that stays valid for `min_validity`, if its token service issues such
    /// tokens at all; else the newest one.
    pub async fn token_valid_for(
        &self,
        key: &GrantKey,
        min_validity: Duration,
    ) -> Result<AccessToken, Error> {
        self.0.usable(key, min_validity).await
    }

    /// Every connection of one user, also those that need the user to connect again.
    pub async fn grants(&self, subject: &str) -> Result<Vec<Grant>, Error> {
        let records = self.0.store.list(subject).await?;
        let mut grants: Vec<Grant> = records.into_iter().map(|record| record.grant).collect();
        grants.retain(|grant| !grant.is_disconnected());
        Ok(grants)
    }

    /// What happens from now on, up to `capacity` events behind. Dropping the stream
    /// ends the subscription.
    ///
    /// ```
    /// # use tower_token::*;
    /// # async fn f(manager: TokenManager) {
    /// let mut events = manager.events(1_024);
    /// while let Some(event) = events.try_next() {
    ///     println!("{} {}: {:?}", event.provider, event.grant, event.kind);
    /// }
    /// # }
    /// ```
    pub fn events(&self, capacity: usize) -> Events {
        self.0.events.subscribe(capacity)
    }

    /// The name that `key` has in [`Event`](crate::Event)s, for your own logs.
    pub fn fingerprint(&self, key: &GrantKey) -> Fingerprint {
        self.0.store.fingerprint(key)
    }

    /// Lets refreshes that are under way end, then closes the store. No new refresh
    /// begins; tokens that are in memory and fresh keep being served.
    ///
    /// An error says that `deadline` passed first: a token that was being written then
    /// is lost with the process.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        self.0.stage.fetch_max(SHUT_DOWN, Ordering::AcqRel);
        let mut flights = self.0.flights.subscribe();
        let landed = {
            let _runtime = self.0.runtime.enter();
            tokio::time::timeout(deadline, flights.wait_for(|flights| *flights == 0))
        };
        let landed = landed.await.is_ok();
        self.0.stage.fetch_max(CLOSED, Ordering::AcqRel);
        self.0.store.close().await;
        if landed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Timeout,
            "the deadline of the shutdown passed with refreshes under way",
        ))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Shared {
    fn provider(&self, name: &str) -> Result<&Arc<Provider>, Error> {
        self.providers.get(name).ok_or_else(|| {
            Error::new(
                ErrorKind::UnknownProvider,
                format!("no provider is named {name:?}: add it to the manager's builder"),
            )
        })
    }

    /// The slot of `key`, which stays in the map while it is held.
    fn hold(&self, key: &GrantKey) -> Result<Hold, Error> {
        let provider = self.provider(key.provider())?;
        Ok(self.cache.hold(key, || {
            let slot = Slot::new(key.clone(), Arc::clone(provider));
            slot.fingerprint(|| self.store.fingerprint(key));
            slot
        }))
    }

    /// The stored grant of `slot`, unless it is older than what was seen of it before.
    async fn load(&self, slot: &Slot) -> Result<Option<Opened>, Error> {
        let seen = slot.seen();
        let found = self.store.load(slot.key()).await?;
        if let Some(Opened { record, .. }) = &found
            && (record.grant.epoch, record.sequence) < seen
        {
            return Err(Error::new(
                ErrorKind::RolledBack,
                "a stored grant is older than it was before: the store was rolled back",
            ));
        }
        Ok(found)
    }

    fn emit(&self, slot: &Slot, kind: EventKind) {
        self.events.emit(&Event {
            provider: Arc::clone(&slot.provider().name),
            grant: slot.fingerprint(|| self.store.fingerprint(slot.key())),
            kind,
        });
    }

    /// Runs to its end on the manager's runtime, also if the caller is dropped.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.runtime.spawn(work).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::ShutDown,
                "the token manager's runtime is gone",
            ))
        })
    }

    fn is_shut_down(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= SHUT_DOWN
    }

    fn is_closed(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= CLOSED
    }
}

impl fmt::Debug for TokenManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManager")
            .field("providers", &self.0.providers.keys())
            .field("cached", &self.0.cache.len())
            .finish_non_exhaustive()
    }
}
