//! Setting a manager up.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::cache::Cache;
use super::gate::Gate;
use super::listen::{self, OnStale};
use super::outage::Outage;
use super::registered::Registered;
use super::unsaved::Unsaved;
use super::{Shared, TokenManager, sweep};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::event::EventBus;
use crate::grant::Owner;
use crate::provider::{IntoProvider, Provider};
use crate::rt::{AtomicU8, Handle, watch};
use crate::store::{SealedStore, fill};

/// Builds a [`TokenManager`]; begin with [`TokenManager::builder`].
#[derive(Debug)]
pub struct TokenManagerBuilder {
    store: Option<SealedStore>,
    providers: Vec<Result<Provider, Error>>,
    clock: Box<dyn Clock>,
    cache_capacity: usize,
    wait_deadline: Duration,
    max_unsaved: usize,
    max_stale: Duration,
    on_stale: OnStale,
    sweeper: bool,
}

impl TokenManagerBuilder {
    pub(super) fn new() -> Self {
        Self {
            store: None,
            providers: Vec::new(),
            clock: Box::new(SystemClock::new()),
            cache_capacity: 100_000,
            wait_deadline: Duration::from_secs(10),
            max_unsaved: 1_000,
            max_stale: Duration::from_secs(30),
            on_stale: OnStale::Serve,
            sweeper: true,
        }
    }

    /// Where grants are kept. Required.
    #[must_use]
    pub fn store(mut self, store: SealedStore) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds a token service. At least one is required.
    #[must_use]
    pub fn provider(mut self, provider: impl IntoProvider) -> Self {
        self.providers.push(provider.into_provider());
        self
    }

    /// How long a caller waits for a token before it gets
    /// [`ErrorKind::Timeout`]: 10 seconds by default. The refresh goes on.
    #[must_use]
    pub fn wait_deadline(mut self, deadline: Duration) -> Self {
        self.wait_deadline = deadline;
        self
    }

    /// How many grants are kept in memory: 100,000 by default. Others are read from the
    /// store when they are asked for.
    #[must_use]
    pub fn cache_capacity(mut self, grants: usize) -> Self {
        self.cache_capacity = grants;
        self
    }

    /// How many refreshed tokens may wait in memory while the store does not take them:
    /// 1,000 by default. Then no other refresh begins, but those under way end.
    #[must_use]
    pub fn max_unsaved(mut self, grants: usize) -> Self {
        self.max_unsaved = grants;
        self
    }

    /// For how long nothing may be heard of other instances, and what becomes of tokens in
    /// memory then: 30 seconds by default, and they are served.
    ///
    /// A user who leaves at one instance is forgotten by all others that reach the store within
    /// a second ([`SealedStore::open_shared`]). One that does not reach it cannot know. After
    /// `limit` it says so by an event, [`Stale`](crate::EventKind::Stale), and goes on, or, by
    /// [`OnStale::FailClosed`], sends no token any more that the store does not confirm. That
    /// takes a store that tells of [changes](crate::ByteStore::changes_since).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_token::{OnStale, TokenManager};
    ///
    /// TokenManager::builder().max_stale(Duration::from_secs(5), OnStale::FailClosed);
    /// ```
    #[must_use]
    pub fn max_stale(mut self, limit: Duration, then: OnStale) -> Self {
        self.max_stale = limit;
        self.on_stale = then;
        self
    }

    /// Leaves grants that nobody uses alone.
    ///
    /// By default they are looked after once a minute: a refresh token that would die unused
    /// is renewed, a grant that can never be used again is marked and, a month later,
    /// removed, and revocations that failed are tried again: without a sweeper they are not.
    /// Where several managers share a store, one of them with a sweeper will do. A
    /// [custom store](crate::store::custom) without an index cannot be swept: an event says so,
    /// [`NotSwept`](crate::EventKind::NotSwept).
    #[must_use]
    pub fn without_sweeper(mut self) -> Self {
        self.sweeper = false;
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Checks the settings and captures the tokio runtime it is called on: refreshes run
    /// there, whoever asks for them.
    pub async fn build(self) -> Result<TokenManager, Error> {
        let config = |message| Error::new(ErrorKind::Config, message);
        let store = self
            .store
            .ok_or_else(|| config("the token manager has no store: add .store(..)"))?;
        let (mut providers, mut gates) = (HashMap::new(), HashMap::new());
        for provider in self.providers {
            let provider = provider?;
            let name = Arc::clone(&provider.name);
            gates.insert(Arc::clone(&name), Gate::new(provider.policy.max_exchanges));
            if providers.insert(Arc::clone(&name), provider).is_some() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("two providers are named {name:?}"),
                ));
            }
        }
        if providers.is_empty() {
            return Err(config(
                "the token manager has no provider: add .provider(..)",
            ));
        }
        let runtime = Handle::try_current()
            .map_err(|_| config("build the token manager on a tokio runtime"))?;
        let mut owner = Owner([0; 16]);
        fill(&mut owner.0)?;
        let is_shared = store.is_shared();
        let fails_closed = self.on_stale == OnStale::FailClosed;
        if self.max_stale < Duration::from_secs(1) {
            return Err(config(
                "max_stale is shorter than a second, which is how often other instances are heard",
            ));
        }
        if fails_closed && !is_shared {
            return Err(config(
                "OnStale::FailClosed takes a store that was opened for several processes: see \
                 SealedStore::open_shared",
            ));
        }
        if fails_closed {
            check_it_tells(&store).await?;
        }
        let trusted_until = match fails_closed {
            // Until something was heard.
            true => Timestamp::from_unix_millis(0),
            false => Timestamp::FAR_FUTURE,
        };
        let registered = |provider, manager: &Weak<_>| {
            Arc::new(Registered::new(provider, manager.clone(), trusted_until))
        };
        let shared = Arc::new_cyclic(|me| Shared {
            store,
            providers: providers
                .into_iter()
                .map(|(name, provider)| (name, registered(provider, me)))
                .collect(),
            gates,
            cache: Cache::new(self.cache_capacity),
            clock: self.clock,
            events: EventBus::default(),
            owner,
            runtime,
            wait_deadline: self.wait_deadline,
            max_stale: self.max_stale,
            on_stale: self.on_stale,
            outage: Outage::default(),
            unsaved: Unsaved::new(self.max_unsaved),
            underway: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            stage: AtomicU8::new(0),
        });
        if self.sweeper {
            sweep::start(&shared);
        }
        if is_shared {
            listen::start(&shared);
        }
        Ok(TokenManager(shared))
    }
}

/// To fail closed takes a store that tells what other instances did.
async fn check_it_tells(store: &SealedStore) -> Result<(), Error> {
    match store.changes_since(None, 0).await {
        Err(error) if error.kind() == ErrorKind::Unsupported => Err(Error::with_source(
            ErrorKind::Config,
            "OnStale::FailClosed takes a store that tells what other instances did, and this one \
             does not",
            error,
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}
