//! The refresh engine in every order of things: shuttle runs the code of this folder, and
//! chooses at each lock, swap, message and wait who goes on. `scripts/shuttle` runs these,
//! and plants bugs to see them found.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use shuttle::future::{JoinHandle, spawn, yield_now};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

use super::{TokenManager, Which};
use crate::error::ErrorKind;
use crate::grant::{AccessToken, Record, Serial, TokenResponse};
use crate::key::GrantKey;
use crate::provider::{Provider, RefreshError, RefreshRequest, Refresher};
use crate::testkit::ManualClock;
use crate::{
    ByteStore, DataKeyState, Durability, Expected, Group, KeyRing, Lease, LeaseOwner, MemoryStore,
    Row, RowKey, SaveOutcome, SealedRow, SealedStore, StoreError, Version,
};

const HOUR: Duration = Duration::from_secs(3_600);
const SEED: u64 = 20_250_101;
const ITERATIONS: usize = 2_000;
/// How many times PCT takes the turn from whom it prefers.
const PREEMPTIONS: usize = 3;
/// More than any scenario takes: who waits for ever is found as well.
const STEPS: usize = 20_000;

/// Runs `scenario` over and over, each time in another order: at random, and with few
/// preemptions, which finds what takes a long stretch of one task within another.
fn explore<F>(scenario: impl Fn() -> F + Copy + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    run(RandomScheduler::new_from_seed(SEED, ITERATIONS), scenario);
    run(
        PctScheduler::new_from_seed(SEED, PREEMPTIONS, ITERATIONS),
        scenario,
    );
}

fn run<F>(scheduler: impl Scheduler + 'static, scenario: impl Fn() -> F + Send + Sync + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(move || shuttle::future::block_on(scenario()));
}

/// A token service that rotates, and ends the test when a refresh token comes twice.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Vec<String>>>);

impl Service {
    fn exchanges(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn tokens(name: &str) -> TokenResponse {
    TokenResponse::new(format!("access-{name}"))
        .refresh_token(format!("refresh-{name}"))
        .expires_in(HOUR)
}

impl Refresher for Service {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let token = request.refresh_token().expose().to_owned();
        yield_now().await;
        {
            let mut spent = self.0.lock().unwrap();
            assert!(!spent.contains(&token), "{token} was spent twice");
            spent.push(token.clone());
        }
        yield_now().await;
        Ok(tokens(&token))
    }
}

/// A store whose leases are worth nothing: everyone has them.
struct Unleased(MemoryStore, ManualClock);

impl ByteStore for Unleased {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.0.load(key).await
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.0.save(key, row, expected).await
    }

    async fn lease(&self, _: &RowKey, _: LeaseOwner, _: Duration) -> Result<Lease, StoreError> {
        use crate::clock::Clock;
        Ok(Lease::Granted { now: self.1.now() })
    }

    async fn release(&self, _: &RowKey, _: LeaseOwner) -> Result<(), StoreError> {
        Ok(())
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.0.list(group).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.0.scan(after, limit).await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.0.claim_due(limit, ttl).await
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.0.purge(key, version).await
    }

    fn durability(&self) -> Durability {
        self.0.durability()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// Two managers over one store, both of which know the one user who is connected.
#[derive(Clone)]
struct World {
    ours: TokenManager,
    siblings: TokenManager,
    service: Service,
    stored: SealedStore,
    clock: ManualClock,
}

fn key() -> GrantKey {
    GrantKey::new("p", "ada")
}

impl World {
    async fn new() -> Self {
        Self::over(|rows, _| rows).await
    }

    async fn without_leases() -> Self {
        Self::over(Unleased).await
    }

    async fn over<S: ByteStore>(store: impl Fn(MemoryStore, ManualClock) -> S) -> Self {
        let (clock, service) = (ManualClock::new(), Service::default());
        let rows = MemoryStore::with_clock(clock.clone());
        let ring = KeyRing::generate().unwrap();
        let open = || SealedStore::open(store(rows.clone(), clock.clone()), ring.clone());
        let manager = async || {
            let builder = TokenManager::builder()
                .store(open().await.unwrap())
                .provider(Provider::new("p", service.clone()))
                .clock(clock.clone())
                // It never ends, and so no run would.
                .without_sweeper();
            builder.build().await.unwrap()
        };
        let (ours, siblings) = (manager().await, manager().await);
        ours.connect(&key(), tokens("consent")).await.unwrap();
        siblings.token(&key()).await.unwrap();
        Self {
            ours,
            siblings,
            stored: open().await.unwrap(),
            service,
            clock,
        }
    }

    async fn expired() -> Self {
        let world = Self::new().await;
        world.clock.advance(HOUR);
        world
    }

    async fn stored(&self) -> Record {
        let found = self.stored.load(&key()).await.unwrap();
        found.unwrap().record.unwrap()
    }

    /// A token of `manager`, which stands in the store.
    async fn token(&self, manager: &TokenManager) -> Result<AccessToken, ErrorKind> {
        let served = manager.token(&key()).await;
        let served = served.map_err(|error| error.kind())?;
        let stored = self.stored().await.grant.serial();
        assert!(
            served.serial() <= stored,
            "{:?} was served, and {stored:?} is stored",
            served.serial()
        );
        Ok(served)
    }

    /// A caller that asks twice, and is never given an older token than before.
    fn caller(&self, manager: &TokenManager) -> JoinHandle<Result<Serial, ErrorKind>> {
        let (world, manager) = (self.clone(), manager.clone());
        spawn(async move {
            some_time().await;
            let first = world.token(&manager).await?.serial();
            let second = world.token(&manager).await?.serial();
            assert!(first <= second, "{first:?} came before {second:?}");
            Ok(second)
        })
    }

    /// Waits for the flights that outlive those who asked for them.
    async fn settled(&self) {
        for manager in [&self.ours, &self.siblings] {
            let mut underway = manager.0.underway.subscribe();
            underway.wait_for(|underway| *underway == 0).await.unwrap();
        }
    }
}

/// Nobody comes at the same time as the others.
async fn some_time() {
    for _ in 0..thread_rng().gen_range(0..50) {
        yield_now().await;
    }
}

async fn each<T: 'static>(callers: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for caller in callers {
        results.push(caller.await.unwrap());
    }
    results
}

const FIRST: u64 = 1;

#[test]
fn callers_of_one_manager_share_one_exchange() {
    explore(|| async {
        let world = World::expired().await;
        let dropped = world.caller(&world.ours);
        let callers = [(); 3].map(|()| world.caller(&world.ours));
        dropped.abort();
        for serial in each(callers).await {
            assert_eq!(serial.unwrap().issue, FIRST + 1);
        }
        world.settled().await;
        assert_eq!(world.service.exchanges(), 1);
    });
}

#[test]
fn a_token_that_is_due_is_served_and_replaced_once() {
    explore(|| async {
        let world = World::new().await;
        world.clock.advance(HOUR - Duration::from_secs(60));
        for serial in each([(); 3].map(|()| world.caller(&world.ours))).await {
            assert!(serial.is_ok());
        }
        world.settled().await;
        assert_eq!(world.service.exchanges(), 1);
        assert_eq!(world.token(&world.ours).await.unwrap().serial().issue, 2);
    });
}

#[test]
fn a_refused_token_is_replaced_once() {
    explore(|| async {
        let world = World::new().await;
        let refused = world.token(&world.ours).await.unwrap().serial();
        let callers = [(); 3].map(|()| {
            let manager = world.ours.clone();
            spawn(async move {
                some_time().await;
                manager
                    .shared()
                    .replace_refused(&key(), Which::Only, refused)
                    .await
            })
        });
        for newer in each(callers).await {
            assert!(newer.unwrap().serial() > refused);
        }
        world.settled().await;
        assert_eq!(world.service.exchanges(), 1);
    });
}

#[test]
fn two_managers_share_one_exchange() {
    explore(|| async { share_one_exchange(World::new().await).await });
}

#[test]
fn two_managers_share_one_exchange_also_without_the_lease() {
    explore(|| async { share_one_exchange(World::without_leases().await).await });
}

async fn share_one_exchange(world: World) {
    world.clock.advance(HOUR);
    let managers = [&world.ours, &world.ours, &world.siblings, &world.siblings];
    for serial in each(managers.map(|manager| world.caller(manager))).await {
        assert_eq!(serial.unwrap().issue, FIRST + 1);
    }
    world.settled().await;
    assert_eq!(world.service.exchanges(), 1);
}

#[test]
fn who_disconnects_during_a_refresh_is_gone() {
    explore(|| async {
        let world = World::expired().await;
        let callers = [&world.ours, &world.siblings].map(|manager| world.caller(manager));
        some_time().await;
        world.ours.disconnect(&key()).await.unwrap();
        let gone = Some(ErrorKind::NotConnected);
        assert_eq!(world.token(&world.ours).await.err(), gone);
        for result in each(callers).await {
            assert!(result.is_ok() || result.err() == gone, "{result:?}");
        }
        world.settled().await;
        assert!(world.stored().await.grant.is_disconnected());
        assert_eq!(world.token(&world.ours).await.err(), gone);
    });
}

#[test]
fn who_connects_anew_during_a_refresh_has_the_new_grant() {
    explore(|| async {
        let world = World::expired().await;
        let callers = [&world.ours, &world.siblings].map(|manager| world.caller(manager));
        some_time().await;
        world.ours.connect(&key(), tokens("return")).await.unwrap();
        let anew = world.token(&world.ours).await.unwrap();
        assert_eq!(anew.expose(), "access-return");
        for serial in each(callers).await {
            serial.unwrap();
        }
        world.settled().await;
        assert_eq!(
            world.token(&world.ours).await.unwrap().serial(),
            anew.serial()
        );
    });
}

#[test]
fn who_leaves_and_returns_during_a_refresh_has_the_new_grant() {
    explore(|| async {
        let world = World::expired().await;
        let callers = [&world.ours, &world.siblings].map(|manager| world.caller(manager));
        some_time().await;
        world.ours.disconnect(&key()).await.unwrap();
        world.ours.connect(&key(), tokens("return")).await.unwrap();
        let anew = world.token(&world.ours).await.unwrap();
        assert_eq!(anew.expose(), "access-return");
        each(callers).await;
        world.settled().await;
        assert_eq!(
            world.token(&world.ours).await.unwrap().serial(),
            anew.serial()
        );
    });
}

#[test]
fn what_was_exchanged_before_a_shutdown_is_stored() {
    explore(|| async {
        let world = World::expired().await;
        let callers = [(); 2].map(|()| world.caller(&world.ours));
        some_time().await;
        world.ours.shutdown(HOUR).await.unwrap();
        let issued = FIRST + world.service.exchanges() as u64;
        assert_eq!(world.stored().await.grant.serial().issue, issued);
        each(callers).await;
        assert_eq!(world.stored().await.grant.serial().issue, issued);
    });
}

#[test]
fn a_rewrap_and_refreshes_overwrite_nothing_of_each_other() {
    explore(|| async {
        let world = World::new().await;
        let rotation = world.stored.key_rotation();
        let new = rotation.add_key().await.unwrap().id;
        world.clock.advance(HOUR);
        rotation.activate(new).await.unwrap();
        // Neither manager has looked since: they seal with the former key.
        let callers = [&world.ours, &world.siblings].map(|manager| world.caller(manager));
        let pass = rotation.rewrap();
        let rewrap = spawn(async move {
            some_time().await;
            pass.finish().await.unwrap()
        });
        for serial in each(callers).await {
            assert_eq!(serial.unwrap().issue, FIRST + 1);
        }
        rewrap.await.unwrap();
        world.settled().await;
        assert_eq!(world.service.exchanges(), 1);
        assert_eq!(world.stored().await.grant.serial().issue, FIRST + 1);
        rotation.rewrap().finish().await.unwrap();
        assert_eq!(world.stored().await.grant.serial().issue, FIRST + 1);
        let rows_by_key = rotation.rows_by_key().await.unwrap();
        assert!(rows_by_key.into_iter().eq([(new, 1)]));
    });
}

#[test]
fn whoever_rotates_at_the_same_time_does_it_once() {
    explore(|| async {
        let world = World::new().await;
        let rotate = [&world.ours, &world.siblings].map(|manager| {
            let rotation = manager.shared().store.key_rotation();
            let clock = world.clock.clone();
            spawn(async move {
                let new = rotation.add_key().await.map(|key| key.id);
                clock.advance(HOUR);
                rotation.activate(2).await.unwrap();
                new.ok()
            })
        });
        for new in each(rotate).await {
            // The slower may come when it is active already.
            assert!(new.is_none_or(|id| id == 2 || id == 3), "{new:?}");
        }
        let keys = world.stored.key_rotation().data_keys().await.unwrap();
        let active: Vec<_> = keys
            .iter()
            .filter(|key| key.state == DataKeyState::Active)
            .collect();
        assert_eq!(active.len(), 1, "{keys:?}");
        assert_eq!(active[0].id, 2);
    });
}
