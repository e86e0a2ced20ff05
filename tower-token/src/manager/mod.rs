//! The only orchestrator: it knows the store and the providers, and neither knows the
//! other.

mod backoff;
mod builder;
mod cache;
mod circuit;
mod confirm;
mod connect;
mod decide;
mod disconnect;
mod entry;
mod failure;
mod flight;
mod gate;
mod landed;
mod lease;
mod listen;
mod offer;
mod outage;
mod pace;
mod refresh;
mod registered;
mod revoke;
mod save;
mod serve;
#[cfg(test)]
#[cfg(shuttle)]
mod shuttle_tests;
mod slot;
mod state;
mod sweep;
mod unsaved;
mod upkeep;
mod wanted;

mod work;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;

pub use self::builder::TokenManagerBuilder;
use self::cache::Cache;
use self::disconnect::Leave;
use self::gate::Gate;
pub use self::listen::OnStale;
pub(crate) use self::offer::Offer;
use self::outage::{Call, Outage};
use self::registered::Registered;
pub(crate) use self::serve::Attached;
use self::slot::{Hold, Slot};
pub use self::sweep::{SweepAction, SweepItem, SweepReport};
use self::unsaved::Unsaved;
pub(crate) use self::wanted::{Wanted, Which};
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, EventBus, EventKind, Events, Fingerprint};
use crate::grant::{
    AccessToken, Account, Grant, GrantState, Owner, ReauthReason, Record, TokenResponse,
};
use crate::key::GrantKey;
use crate::provider::Provider;
use crate::rt::{AtomicU8, Handle, timeout, watch};
use crate::secret::Secret;
use crate::store::{Expected, Found, SaveOutcome, SealedStore, Sent, Version};

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
    providers: HashMap<Arc<str>, Arc<Registered>>,
    gates: HashMap<Arc<str>, Gate>,
    cache: Cache,
    clock: Box<dyn Clock>,
    events: EventBus,
    outage: Outage,
    unsaved: Unsaved,
    owner: Owner,
    runtime: Handle,
    wait_deadline: Duration,
    max_stale: Duration,
    on_stale: OnStale,
    /// How many flights, connects and disconnects are under way.
    underway: watch::Sender<usize>,
    /// Ends the sweeper; so does the end of the manager.
    stop: watch::Sender<bool>,
    stage: AtomicU8,
}

/// How long a shutdown that failed waits for others to say what is lost.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// [`Shared::stage`]: nothing begins any more.
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
    /// Where the provider has a way to revoke tokens
    /// ([`OAuth2::revocation_endpoint`](crate::OAuth2::revocation_endpoint)), the token
    /// service is told behind, and asked again for a week if it does not answer: the token
    /// to revoke stays sealed in the mark until then.
    pub async fn disconnect(&self, key: &GrantKey) -> Result<(), Error> {
        let work = Arc::clone(&self.0).disconnect(key.clone(), Leave::AndRevoke);
        self.0.detached(work).await
    }

    /// The same without telling the token service, for a grant whose tokens live on in another:
    /// where the same accounts were connected anew, a revocation could end these as well.
    pub async fn forget(&self, key: &GrantKey) -> Result<(), Error> {
        let work = Arc::clone(&self.0).disconnect(key.clone(), Leave::Quietly);
        self.0.detached(work).await
    }

    /// A usable access token, refreshed first if it has expired.
    pub async fn token(&self, key: &GrantKey) -> Result<AccessToken, Error> {
        self.0.usable(key, Wanted::of(None)).await
    }

    /// The same for one of the accounts of a grant that has several.
    pub async fn account_token(&self, key: &GrantKey, account: &str) -> Result<AccessToken, Error> {
        self.0.usable(key, Wanted::of(Some(account))).await
    }

    /// The accounts of a grant with usable tokens, refreshed first if these are valid for less
    /// than `min_validity`.
    ///
    /// One whose token has run out, and for which the token service brings no other, is left
    /// out; [`grants`](Self::grants) lists all.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_token::*;
    /// # async fn f(manager: TokenManager) -> Result<(), Error> {
    /// let key = GrantKey::new("broker", "user-17");
    /// for account in manager.accounts(&key, Duration::from_secs(120)).await? {
    ///     println!("{}: {:?}", account.id(), account.name());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn accounts(
        &self,
        key: &GrantKey,
        min_validity: Duration,
    ) -> Result<Vec<Account>, Error> {
        self.0.accounts(key, min_validity).await
    }

    /// Refreshes now, with a code that the user was asked for.
    ///
    /// Where a refresh fails with [`ErrorKind::UserAction`](crate::ErrorKind::UserAction), the
    /// token service may want a second factor, such as a code that it has sent to the user.
    /// Ask for it, and give it here. It is used once, also if the caller is dropped, and not
    /// stored.
    pub async fn refresh_with_code(
        &self,
        key: &GrantKey,
        code: impl Into<Secret>,
    ) -> Result<(), Error> {
        let work = Arc::clone(&self.0).refresh_with(key.clone(), code.into());
        self.0.detached(work).await
    }

    /// A token that stays valid for `min_validity`, if its token service issues such
    /// tokens at all; else the newest one.
    pub async fn token_valid_for(
        &self,
        key: &GrantKey,
        min_validity: Duration,
    ) -> Result<AccessToken, Error> {
        let wanted = Wanted::of(None).valid_for(min_validity);
        self.0.usable(key, wanted).await
    }

    /// Every connection of one user, also those that need the user to connect again.
    ///
    /// A row that does not open, or is older than it was before, is left out; asking for its
    /// [`token`](Self::token) says what is wrong with it, and
    /// [`unreadable_grants`](Self::unreadable_grants) how many there are.
    pub async fn grants(&self, subject: &str) -> Result<Vec<Grant>, Error> {
        let records = self.0.store.list(subject).await?;
        let records = records.into_iter().filter_map(Result::ok);
        Ok(records
            .filter(|record| !record.grant.is_disconnected() && self.0.is_current(record))
            .map(|record| record.grant)
            .collect())
    }

    /// How many rows of one user [`grants`](Self::grants) leaves out because they do not open,
    /// or are older than before. Nothing can be told of a row that does not open but whose
    /// user's it is; a [`disconnect`](Self::disconnect) of its key replaces it, and its tokens
    /// cannot be revoked.
    pub async fn unreadable_grants(&self, subject: &str) -> Result<usize, Error> {
        let records = self.0.store.list(subject).await?;
        let readable = |record: &Result<Record, Error>| {
            let record = record.as_ref().ok();
            record.is_some_and(|record| self.0.is_current(record))
        };
        Ok(records.iter().filter(|record| !readable(record)).count())
    }

    /// The names of the providers that were registered, in no order.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.0.providers.keys().map(|name| &**name)
    }

    /// Looks after every grant now: what the sweeper does for those that are due, for all.
    ///
    /// Call it once after [`refresh_token_idle_lifetime`] was set for a provider that has
    /// grants already.
    ///
    /// [`refresh_token_idle_lifetime`]: crate::OAuth2::refresh_token_idle_lifetime
    ///
    /// ```
    /// # async fn f(manager: tower_token::TokenManager) -> Result<(), tower_token::Error> {
    /// for item in manager.sweep_dry_run().await?.items {
    ///     println!("{:?}: {:?}", item.key, item.action);
    /// }
    /// let report = manager.sweep().await?;
    /// println!("{} grants looked at", report.examined);
    /// # Ok(()) }
    /// ```
    pub async fn sweep(&self) -> Result<SweepReport, Error> {
        let work = Arc::clone(&self.0).sweep_all(true);
        self.0.detached(work).await
    }

    /// What [`sweep`](Self::sweep) would do now, without doing it.
    pub async fn sweep_dry_run(&self) -> Result<SweepReport, Error> {
        let work = Arc::clone(&self.0).sweep_all(false);
        self.0.detached(work).await
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

    /// Lets what is under way end, then closes the store. Nothing new begins; tokens that
    /// are in memory and fresh keep being served.
    ///
    /// Waits for at most `deadline`. An error says that it passed first: a token that was
    /// being written then is lost with the process.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), Error> {
        self.0.stage.fetch_max(SHUT_DOWN, Ordering::AcqRel);
        self.0.stop.send_replace(true);
        let shared = Arc::clone(&self.0);
        let mut underway = self.0.underway.subscribe();
        let mut underway_again = underway.clone();
        let ended = async {
            // The sender lives in `self`.
            let _ = underway.wait_for(|underway| *underway == 0).await;
            shared.close().await;
        };
        if self.0.within(deadline, ended).await.is_some() {
            return Ok(());
        }
        // What waits to be stored says that it is lost, if it can do so at once.
        self.0.stage.fetch_max(CLOSED, Ordering::AcqRel);
        self.0.stop.send_replace(true);
        let said = underway_again.wait_for(|underway| *underway == 0);
        let _ = self.0.within(LAST_WORDS, said).await.is_some();
        // Nobody waits for it any longer, but what was accepted is still finished.
        self.0.runtime.spawn(async move { shared.close().await });
        Err(Error::new(
            ErrorKind::Timeout,
            "the deadline of the shutdown passed with work under way",
        ))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Shared {
    /// Counts what an API answered to a token of ours (feature `metrics`).
    pub(crate) fn answered(&self, key: &GrantKey, route: Option<&'static str>, status: StatusCode) {
        self.events.answered(key.provider(), route, status);
    }

    fn provider(&self, name: &str) -> Result<&Provider, Error> {
        Ok(&self.registered(name)?.provider)
    }

    fn registered(&self, name: &str) -> Result<&Arc<Registered>, Error> {
        self.providers
            .get(name)
            .ok_or_else(|| unknown_provider(name))
    }

    /// The way to the token service of `slot`.
    fn gate(&self, slot: &Slot) -> Result<&Gate, Error> {
        let name = &slot.provider().name;
        self.gates.get(name).ok_or_else(|| unknown_provider(name))
    }

    /// The slot of `key`, which stays in the map while it is held.
    fn hold(&self, key: &GrantKey) -> Result<Hold, Error> {
        self.cache.hold(key, || {
            let registered = Arc::clone(self.registered(key.provider())?);
            let fingerprint = self.store.fingerprint(key);
            Ok(Slot::new(key.clone(), registered, fingerprint))
        })
    }

    /// Whether nothing newer than it was seen before.
    fn is_current(&self, record: &Record) -> bool {
        let seen = self.cache.with(&record.grant.key, |slot| slot.seen());
        seen.is_none_or(|seen| record.rank() >= seen)
    }

    /// The row of `slot`, which serves nothing older from here on. One that is older than what
    /// was seen of it before counts as one that does not open.
    async fn find(&self, slot: &Slot) -> Result<Option<Found>, Error> {
        let (seen, doubts) = (slot.seen(), self.cache.doubts());
        let found = self.store.load(slot.key()).await;
        self.found(slot, seen, doubts, found)
    }

    /// The same, to tell by it what became of a write.
    async fn find_to_settle(&self, slot: &Slot) -> Result<Option<Found>, Error> {
        let (seen, doubts) = (slot.seen(), self.cache.doubts());
        let found = self.store.load_to_settle(slot.key()).await;
        self.found(slot, seen, doubts, found)
    }

    fn found(
        &self,
        slot: &Slot,
        seen: (u64, u64),
        doubts: u64,
        found: Result<Option<Found>, Error>,
    ) -> Result<Option<Found>, Error> {
        let mut found = self.noted(Call::Read, found)?;
        if let Some(Found { record, .. }) = &mut found
            && record.as_ref().is_ok_and(|record| record.rank() < seen)
        {
            *record = Err(Error::new(
                ErrorKind::RolledBack,
                "a stored grant is older than it was before: the store was rolled back",
            ));
        }
        if let Some(Found {
            record: Ok(record), ..
        }) = &found
        {
            // Whatever it was looked up for: from here on nothing older is served.
            slot.publish(record);
            if self.cache.doubts() != doubts {
                // It may be from before what was missed.
                slot.doubt();
            }
        }
        Ok(found)
    }

    /// The stored grant of `slot`.
    async fn load(&self, slot: &Slot) -> Result<Option<Opened>, Error> {
        opened(self.find(slot).await?)
    }

    /// The same, to tell by it what became of a write.
    async fn load_to_settle(&self, slot: &Slot) -> Result<Option<Opened>, Error> {
        opened(self.find_to_settle(slot).await?)
    }

    /// Writes the row of `slot`, with the time when there is something to do about it next.
    async fn save(
        &self,
        slot: &Slot,
        record: &Record,
        expected: Expected,
    ) -> Result<SaveOutcome, Error> {
        self.save_known(slot, record, expected, &Sent::default())
            .await
    }

    /// The same, by one who tells by what was `sent` what became of it.
    async fn save_known(
        &self,
        slot: &Slot,
        record: &Record,
        expected: Expected,
        sent: &Sent,
    ) -> Result<SaveOutcome, Error> {
        let due = self.due(slot, record);
        let saved = self.store.save(record, due, expected, sent).await;
        self.noted(Call::Write, saved)
    }

    /// Notes, and tells, whether the store works.
    fn noted<T>(&self, call: Call, result: Result<T, Error>) -> Result<T, Error> {
        if let Some(turn) = self.outage.note(call, self.clock.now(), &result) {
            self.emit_to_all(&turn);
        }
        result
    }

    fn due(&self, slot: &Slot, record: &Record) -> Option<Timestamp> {
        let idle_lifetime = slot.provider().policy.refresh_token_idle_lifetime;
        let next = upkeep::next_task(record, idle_lifetime, slot.jitter());
        next.map(|(at, _)| at)
    }

    /// Marks a grant that can no longer be refreshed, as its provider wants it.
    fn give_up(&self, slot: &Slot, record: &mut Record, reason: ReauthReason) {
        record.grant.give_up(reason, self.clock.now());
        if slot.provider().policy.wipe_when_dead {
            record.grant.wipe_access_tokens();
        }
        record.intent = None;
        record.sequence += 1;
    }

    /// Tells that a grant needs its user, if it does.
    fn emit_state(&self, slot: &Slot, grant: &Grant) {
        if let GrantState::NeedsReauth { reason, .. } = grant.state {
            self.emit(slot, EventKind::NeedsReauth { reason });
        }
    }

    async fn close(&self) {
        self.stage.fetch_max(CLOSED, Ordering::AcqRel);
        self.store.close().await;
    }

    fn emit(&self, slot: &Slot, kind: EventKind) {
        self.events.emit(|| Event {
            provider: Arc::clone(&slot.provider().name),
            grant: slot.fingerprint(),
            kind,
        });
    }

    /// Tells of what is about no grant in particular.
    fn emit_to_all(&self, kind: &EventKind) {
        for registered in self.providers.values() {
            self.events.emit(|| Event {
                provider: Arc::clone(&registered.provider.name),
                grant: Fingerprint::NONE,
                kind: kind.clone(),
            });
        }
    }

    /// Counts something that a shutdown has to wait for, unless one has begun.
    fn begin(self: &Arc<Self>) -> Result<Underway, Error> {
        // Counted first: either the shutdown sees the count, or this sees the shutdown.
        self.underway.send_modify(|underway| *underway += 1);
        let underway = Underway(Arc::clone(self));
        if self.is_shut_down() {
            return Err(state::shut_down());
        }
        Ok(underway)
    }

    /// Runs to its end on the manager's runtime, also if the caller is dropped.
    async fn detached<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let underway = self.begin()?;
        let work = async move {
            let done = work.await;
            drop(underway);
            done
        };
        let done = self.runtime.spawn(work).await;
        done.unwrap_or_else(|error| {
            let message = "the token manager's runtime is gone, or the store panicked";
            Err(Error::with_source(ErrorKind::ShutDown, message, error))
        })
    }

    /// What `work` comes to, or nothing if that takes too long. The caller may be on
    /// another runtime than ours.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let ended = {
            let _runtime = self.runtime.enter();
            timeout(limit, work)
        };
        ended.await.ok()
    }

    fn is_shut_down(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= SHUT_DOWN
    }

    fn is_closed(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= CLOSED
    }
}

fn unknown_provider(name: &str) -> Error {
    Error::new(
        ErrorKind::UnknownProvider,
        format!("no provider is named {name:?}: add it to the manager's builder"),
    )
}

/// A random byte, to keep what happens together from happening together again. Without
/// random numbers all of it still works, only in step.
fn jitter() -> u8 {
    let mut byte = [0];
    let _ = crate::store::fill(&mut byte);
    byte[0]
}

/// Something that a shutdown waits for.
struct Underway(Arc<Shared>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.underway.send_modify(|underway| *underway -= 1);
    }
}

/// A record that can be used, and the version to save over.
#[derive(Debug)]
struct Opened {
    version: Version,
    record: Record,
}

fn opened(found: Option<Found>) -> Result<Option<Opened>, Error> {
    let Some(Found {
        version, record, ..
    }) = found
    else {
        return Ok(None);
    };
    let record = record?;
    Ok(Some(Opened { version, record }))
}

impl fmt::Debug for TokenManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenManager")
            .field("providers", &self.0.providers.keys())
            .field("cached", &self.0.cache.len())
            .finish_non_exhaustive()
    }
}
