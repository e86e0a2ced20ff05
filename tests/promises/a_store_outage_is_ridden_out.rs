//! Invariants 12 and 13, for a fleet: while the store is away tokens that are good are served,
//! what could not be stored is not begun, and what was begun is kept and stored; afterwards not
//! everybody comes at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tests::shared::Connection;
use tokio::sync::Semaphore;
use tower_token::testkit::ManualClock;
use tower_token::{
    Clock as _, ErrorKind, EventKind, Events, GrantKey, KeyRing, MemoryStore, Provider,
    RefreshError, RefreshRequest, Refresher, SealedStore, Timestamp, TokenManager, TokenResponse,
    Verdict,
};

use crate::support::{API, HOUR};

const STEP: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// Of the hour; the margin is five minutes.
const UNTIL_DUE: Duration = Duration::from_secs(56 * 60);
const USERS: usize = 60;

/// Rotates the refresh token of each user, and ends a grant whose token comes twice.
#[derive(Clone)]
struct Service {
    clock: ManualClock,
    books: Arc<Mutex<Books>>,
    gate: Arc<Semaphore>,
}

#[derive(Default)]
struct Books {
    good: HashMap<String, String>,
    exchanges: Vec<(Timestamp, String)>,
    reused: usize,
}

impl Service {
    fn new(clock: &ManualClock) -> Self {
        Self {
            clock: clock.clone(),
            books: Arc::default(),
            gate: Arc::new(Semaphore::new(1_000)),
        }
    }

    fn issue(&self, user: &str) -> TokenResponse {
        let mut books = self.books.lock();
        let number = books.exchanges.len();
        let refresh = format!("r-{user}-{number}");
        books.good.insert(user.to_owned(), refresh.clone());
        TokenResponse::new(format!("a-{user}-{number}"))
            .refresh_token(refresh)
            .expires_in(HOUR)
    }

    fn exchanges(&self) -> usize {
        self.books.lock().exchanges.len()
    }
}

impl Refresher for Service {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let user = request.grant().key().subject().to_owned();
        {
            let mut books = self.books.lock();
            let now = self.clock.now();
            books.exchanges.push((now, user.clone()));
            if books.good.get(&user).map(String::as_str) != Some(request.refresh_token().expose()) {
                books.reused += 1;
                return Err(RefreshError::new(Verdict::Dead, "it came twice"));
            }
        }
        let response = self.issue(&user);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        Ok(response)
    }
}

struct Fleet {
    clock: ManualClock,
    service: Service,
    instances: Vec<Instance>,
}

struct Instance {
    manager: TokenManager,
    connection: Connection,
    events: Events,
}

fn key(user: usize) -> GrantKey {
    GrantKey::new("service", user.to_string())
}

impl Fleet {
    /// Three instances, with the tokens of all users in memory.
    async fn new(users: usize) -> Self {
        Self::with(users, |provider| provider).await
    }

    /// The same with another provider.
    async fn with(users: usize, as_told: fn(Provider) -> Provider) -> Self {
        let clock = ManualClock::new();
        let (rows, ring) = (
            MemoryStore::with_clock(clock.clone()),
            KeyRing::generate().unwrap(),
        );
        let mut fleet = Self {
            service: Service::new(&clock),
            instances: Vec::new(),
            clock,
        };
        for _ in 0..3 {
            let connection = Connection::to(&rows);
            let store = SealedStore::open_shared(connection.clone(), ring.clone());
            let provider = Provider::new("service", fleet.service.clone()).allow_origin(API);
            let manager = TokenManager::builder()
                .store(store.await.unwrap())
                .provider(as_told(provider))
                .clock(fleet.clock.clone())
                .build()
                .await
                .unwrap();
            fleet.instances.push(Instance {
                events: manager.events(65_536),
                manager,
                connection,
            });
        }
        for user in 0..users {
            let consent = fleet.service.issue(&user.to_string());
            let first = &fleet.instances[0].manager;
            first.connect(&key(user), consent).await.unwrap();
        }
        fleet.pass(2 * SECOND).await;
        fleet.ask(users).await;
        fleet
    }

    async fn pass(&self, span: Duration) {
        for _ in 0..span.as_millis() / STEP.as_millis() {
            self.clock.advance(STEP);
            tokio::time::sleep(STEP).await;
        }
    }

    /// Every instance asks for the token of every user, and has it.
    async fn ask(&self, users: usize) {
        for instance in &self.instances {
            for user in 0..users {
                instance.manager.token(&key(user)).await.unwrap();
            }
        }
    }

    /// Users ask for a while.
    async fn load(&self, users: usize, span: Duration) {
        for _ in 0..span.as_millis() / STEP.as_millis() {
            self.pass(STEP).await;
            self.ask(users).await;
        }
    }

    fn cut(&self, is_down: bool) {
        for instance in &self.instances {
            instance.connection.cut(is_down);
        }
    }

    fn seen(&mut self, of: usize) -> Vec<EventKind> {
        let events = &mut self.instances[of].events;
        std::iter::from_fn(|| events.try_next())
            .map(|event| event.kind)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn good_tokens_are_served_and_nothing_is_begun_that_could_not_be_stored() {
    let mut fleet = Fleet::new(USERS).await;
    fleet.clock.advance(UNTIL_DUE);
    fleet.cut(true);
    fleet.load(USERS, 20 * SECOND).await;
    assert_eq!(fleet.service.exchanges(), 0);
    for instance in 0..3 {
        let seen = fleet.seen(instance);
        let times = |event: &EventKind| seen.iter().filter(|seen| *seen == event).count();
        assert_eq!(times(&EventKind::StoreUnavailable), 1);
        let cause = ErrorKind::Store;
        assert!(seen.iter().any(
            |event| matches!(event, EventKind::RefreshFailed { cause: of, .. } if *of == cause)
        ));
    }
    fleet.cut(false);
    let over = fleet.clock.now();
    // The backoff of a grant that failed for so long is at most a minute.
    fleet.load(USERS, 70 * SECOND).await;
    let books = fleet.service.books.lock();
    let mut by_user = BTreeMap::<_, usize>::new();
    let mut by_second = BTreeMap::<_, usize>::new();
    for (at, user) in &books.exchanges {
        *by_user.entry(user).or_default() += 1;
        *by_second.entry(at.since(over).as_secs()).or_default() += 1;
    }
    assert_eq!((by_user.len(), books.reused), (USERS, 0));
    assert!(by_user.values().all(|times| *times == 1));
    // Each grant waits for a time of its own. Chance brings more than half of them into one second
    // now and then, and never all.
    let most = by_second.values().max().unwrap();
    assert!(*most <= USERS * 3 / 4, "{by_second:?}");
    drop(books);
    assert!(fleet.seen(0).contains(&EventKind::StoreAvailable));
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_is_served_from_memory_and_stored_first() {
    let mut fleet = Fleet::new(1).await;
    fleet.clock.advance(HOUR);
    fleet.service.gate.forget_permits(1_000);
    let waits = tokio::spawn({
        let manager = fleet.instances[0].manager.clone();
        async move { manager.token(&key(0)).await }
    });
    while fleet.service.exchanges() == 0 {
        fleet.pass(STEP).await;
    }
    fleet.cut(true);
    fleet.service.gate.add_permits(1_000);
    let token = waits.await.unwrap().unwrap();
    assert_eq!(token.expose(), "a-0-1");
    // Long enough that its intent is over.
    fleet.pass(40 * SECOND).await;
    let again = fleet.instances[0].manager.token(&key(0)).await.unwrap();
    assert_eq!(again.expose(), "a-0-1");
    assert!(fleet.seen(0).contains(&EventKind::SaveFailed));
    fleet.cut(false);
    // Whoever asks now waits for the holder, and spends nothing.
    let sibling = fleet.instances[1].manager.clone();
    let theirs = tokio::spawn(async move {
        loop {
            if let Ok(token) = sibling.token(&key(0)).await {
                return token.expose().to_owned();
            }
            tokio::time::sleep(STEP).await;
        }
    });
    fleet.pass(15 * SECOND).await;
    assert_eq!(theirs.await.unwrap(), "a-0-1");
    let books = fleet.service.books.lock();
    assert_eq!((books.exchanges.len(), books.reused), (1, 0));
}

/// All tokens are needed at once, and the store has little room: it is asked for no more leases
/// than can be used, so that each is answered in time, and nobody fails.
#[tokio::test(start_paused = true)]
async fn a_herd_waits_for_its_turn_before_it_asks_for_leases() {
    let mut fleet = Fleet::with(USERS, |provider| provider.max_exchanges(4)).await;
    fleet.seen(0);
    fleet.clock.advance(HOUR);
    let first = &fleet.instances[0];
    first.connection.narrow(2, STEP);
    for user in 0..USERS {
        let manager = first.manager.clone();
        tokio::spawn(async move { manager.token(&key(user)).await.map(drop) });
    }
    fleet.pass(40 * SECOND).await;
    assert_eq!(fleet.service.exchanges(), USERS);
    let failed = |event: &EventKind| matches!(event, EventKind::RefreshFailed { .. });
    assert!(!fleet.seen(0).iter().any(failed));
}
