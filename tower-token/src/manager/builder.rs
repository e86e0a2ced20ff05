//! Setting a manager up.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::cache::Cache;
use super::gate::Gate;
use super::outage::Outage;
use super::registered::Registered;
use super::unsaved::Unsaved;
use super::{Shared, TokenManager, sweep};
use crate::clock::{Clock, SystemClock};
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
        let registered = |provider, manager: &Weak<_>| {
            let manager = manager.clone();
            Arc::new(Registered { provider, manager })
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
            outage: Outage::default(),
            unsaved: Unsaved::new(self.max_unsaved),
            underway: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            stage: AtomicU8::new(0),
        });
        if self.sweeper {
            sweep::start(&shared);
        }
        Ok(TokenManager(shared))
    }
}
