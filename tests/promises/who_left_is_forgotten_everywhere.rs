//! Invariant 25: a user who leaves at one instance is forgotten by all others that reach the
//! store; one that does not reach it serves, or fails closed, as it was told.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tests::fake::Fake;
use tests::shared::Connection;
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, EventKind, Events, GrantKey, KeyRing, MemoryStore, OnStale, Provider, Recovery,
    SealedStore, TokenLayer, TokenManager, TokenRequest, TokenResponse, TokenServiceError,
};

use crate::support::{API, Api, HOUR};

const STEP: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MAX_STALE: Duration = Duration::from_secs(5);

/// Instances over one store, and a user at all of them.
struct Fleet {
    rows: MemoryStore,
    ring: KeyRing,
    clock: ManualClock,
    fake: Fake,
    key: GrantKey,
}

struct Instance {
    manager: TokenManager,
    connection: Connection,
    events: Events,
}

impl Fleet {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self {
            rows: MemoryStore::with_clock(clock.clone()),
            ring: KeyRing::generate().unwrap(),
            fake: Fake::new(HOUR),
            key: GrantKey::new("fake", "ada"),
            clock,
        }
    }

    async fn instance(&self, on_stale: OnStale) -> Instance {
        let connection = Connection::to(&self.rows);
        let store = SealedStore::open_shared(connection.clone(), self.ring.clone());
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(Provider::new("fake", self.fake.clone()).allow_origin(API))
            .max_stale(MAX_STALE, on_stale)
            .clock(self.clock.clone())
            .build()
            .await
            .unwrap();
        Instance {
            events: manager.events(4_096),
            manager,
            connection,
        }
    }

    /// Two instances, both with the token of one user in memory.
    async fn two(&self, on_stale: OnStale) -> (Instance, Instance) {
        let (here, there) = (self.instance(on_stale).await, self.instance(on_stale).await);
        let consent = self.fake.consent();
        here.manager.connect(&self.key, consent).await.unwrap();
        self.pass(SECOND).await;
        there.token(&self.key).await.unwrap();
        self.pass(2 * SECOND).await;
        // In memory by now, and nothing to look up any more.
        there.token(&self.key).await.unwrap();
        (here, there)
    }

    /// Lets time pass for everybody, by both clocks.
    async fn pass(&self, span: Duration) {
        for _ in 0..span.as_millis() / STEP.as_millis() {
            self.clock.advance(STEP);
            tokio::time::sleep(STEP).await;
        }
    }
}

impl Instance {
    async fn token(&self, key: &GrantKey) -> Result<String, ErrorKind> {
        let token = self.manager.token(key).await;
        token
            .map(|token| token.expose().to_owned())
            .map_err(|error| error.kind())
    }

    /// What a request of the user's comes to.
    async fn request(&self, api: &Api, key: &GrantKey) -> Result<(), ErrorKind> {
        let client = TokenLayer::new(&self.manager).layer(api.service());
        let request = Request::get(format!("{API}/me"))
            .extension(TokenRequest::new(key.clone()))
            .body(Full::<Bytes>::default())
            .unwrap();
        match client.oneshot(request).await {
            Ok(_) => Ok(()),
            Err(TokenServiceError::Token(error)) => Err(error.kind()),
            Err(TokenServiceError::Inner(never)) => match never {},
        }
    }

    fn seen(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.events.try_next())
            .map(|event| event.kind)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn who_leaves_at_one_instance_is_forgotten_by_the_others_within_a_second() {
    let (fleet, api) = (Fleet::new(), Api::default());
    let (here, mut there) = fleet.two(OnStale::Serve).await;
    there.request(&api, &fleet.key).await.unwrap();
    here.manager.disconnect(&fleet.key).await.unwrap();
    fleet.pass(SECOND).await;
    let refused = there.request(&api, &fleet.key).await;
    assert_eq!(refused, Err(ErrorKind::NotConnected));
    assert_eq!(api.tokens(), ["a0"]);
    assert!(there.seen().contains(&EventKind::DisconnectedElsewhere));
}

#[tokio::test(start_paused = true)]
async fn who_connects_anew_is_served_by_the_new_grant_everywhere() {
    let fleet = Fleet::new();
    let (here, there) = fleet.two(OnStale::Serve).await;
    let anew = TokenResponse::new("anew")
        .refresh_token("r")
        .expires_in(HOUR);
    here.manager.connect(&fleet.key, anew).await.unwrap();
    fleet.pass(SECOND).await;
    assert_eq!(there.token(&fleet.key).await.as_deref(), Ok("anew"));
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_reach_the_store_serves_and_says_so() {
    let fleet = Fleet::new();
    let (here, mut there) = fleet.two(OnStale::Serve).await;
    there.connection.cut(true);
    here.manager.disconnect(&fleet.key).await.unwrap();
    fleet.pass(MAX_STALE + SECOND).await;
    assert_eq!(there.token(&fleet.key).await.as_deref(), Ok("a0"));
    let seen = there.seen();
    for event in [EventKind::StoreUnavailable, EventKind::Stale] {
        let times = seen.iter().filter(|seen| **seen == event).count();
        assert_eq!(times, 1, "{event:?} in {seen:?}");
    }
    there.connection.cut(false);
    fleet.pass(SECOND).await;
    assert_eq!(there.token(&fleet.key).await, Err(ErrorKind::NotConnected));
    let seen = there.seen();
    for event in [EventKind::StoreAvailable, EventKind::UpToDate] {
        assert!(seen.contains(&event), "{event:?} in {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_closed_sends_nothing_that_nobody_vouches_for() {
    let (fleet, api) = (Fleet::new(), Api::default());
    let (_here, there) = fleet.two(OnStale::FailClosed).await;
    there.connection.cut(true);
    // What was heard a moment ago still holds.
    fleet.pass(MAX_STALE - SECOND).await;
    there.request(&api, &fleet.key).await.unwrap();
    fleet.pass(2 * SECOND).await;
    let refused = there.request(&api, &fleet.key).await;
    assert_eq!(refused, Err(ErrorKind::Store));
    assert_eq!(api.tokens(), ["a0"]);
    let error = there.manager.token(&fleet.key).await.unwrap_err();
    assert!(error.to_string().contains("max_stale"), "{error}");
    assert!(matches!(error.recovery(), Recovery::Retry { .. }));
    // Nobody has left: it goes on as soon as that is known.
    there.connection.cut(false);
    fleet.pass(SECOND).await;
    there.request(&api, &fleet.key).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_was_stopped_sends_nothing_before_it_has_listened() {
    let fleet = Fleet::new();
    let (here, there) = fleet.two(OnStale::FailClosed).await;
    here.manager.disconnect(&fleet.key).await.unwrap();
    // As after a suspend: time has passed, and no task of it has run.
    fleet.clock.advance(MAX_STALE);
    assert_eq!(there.token(&fleet.key).await, Err(ErrorKind::NotConnected));
}

#[tokio::test(start_paused = true)]
async fn one_that_hears_nothing_asks_each_time() {
    let (fleet, api) = (Fleet::new(), Api::default());
    let (here, there) = fleet.two(OnStale::FailClosed).await;
    there.connection.deafen(true);
    fleet.pass(MAX_STALE + SECOND).await;
    there.request(&api, &fleet.key).await.unwrap();
    here.manager.disconnect(&fleet.key).await.unwrap();
    let refused = there.request(&api, &fleet.key).await;
    assert_eq!(refused, Err(ErrorKind::NotConnected));
    // A 401 is not healed by what is in memory either.
    assert_eq!(api.tokens(), ["a0"]);
}

#[tokio::test(start_paused = true)]
async fn where_changes_were_missed_everything_is_looked_up_again() {
    let fleet = Fleet::new();
    let (here, there) = fleet.two(OnStale::Serve).await;
    there.connection.forget_cursors(true);
    here.manager.disconnect(&fleet.key).await.unwrap();
    fleet.pass(SECOND).await;
    assert_eq!(there.token(&fleet.key).await, Err(ErrorKind::NotConnected));
}

/// As a database that crashes, is back for a moment, and is gone again.
#[tokio::test(start_paused = true)]
async fn what_was_missed_is_served_while_the_store_is_away_or_fails_closed() {
    for (on_stale, expected) in [
        (OnStale::Serve, Ok("a0")),
        (OnStale::FailClosed, Err(ErrorKind::Store)),
    ] {
        let (fleet, api) = (Fleet::new(), Api::default());
        let (here, there) = fleet.two(on_stale).await;
        there.connection.forget_cursors(true);
        fleet.pass(SECOND).await;
        there.connection.forget_cursors(false);
        there.connection.cut(true);
        let asked = || there.token(&fleet.key);
        assert_eq!(asked().await.as_deref(), expected.as_ref().copied());
        assert_eq!(there.request(&api, &fleet.key).await, expected.map(|_| ()));
        // It is still in doubt.
        here.manager.disconnect(&fleet.key).await.unwrap();
        fleet.pass(SECOND).await;
        assert_eq!(asked().await.as_deref(), expected.as_ref().copied());
        there.connection.cut(false);
        fleet.pass(SECOND).await;
        assert_eq!(asked().await, Err(ErrorKind::NotConnected));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_looked_up_where_only_the_news_do_not_come() {
    let fleet = Fleet::new();
    let (here, there) = fleet.two(OnStale::Serve).await;
    there.connection.forget_cursors(true);
    fleet.pass(SECOND).await;
    there.connection.deafen(true);
    here.manager.disconnect(&fleet.key).await.unwrap();
    fleet.pass(SECOND).await;
    assert_eq!(there.token(&fleet.key).await, Err(ErrorKind::NotConnected));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_in_doubt_is_not_served_again() {
    let (fleet, api) = (Fleet::new(), Api::default());
    let (_here, there) = fleet.two(OnStale::Serve).await;
    there.connection.forget_cursors(true);
    fleet.pass(SECOND).await;
    there.connection.cut(true);
    api.refuse("a0");
    // The 401 goes back, as nothing can be refreshed now.
    there.request(&api, &fleet.key).await.unwrap();
    assert_eq!(there.token(&fleet.key).await, Err(ErrorKind::Store));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_known_to_hang_is_waited_for_by_nobody_with_a_good_token() {
    let fleet = Fleet::new();
    let (_here, there) = fleet.two(OnStale::Serve).await;
    there.connection.forget_cursors(true);
    fleet.pass(SECOND).await;
    there.connection.hang(true);
    // A look is given up after five seconds.
    fleet.pass(6 * SECOND).await;
    let began = tokio::time::Instant::now();
    // So is the first that asks for a row.
    assert_eq!(there.token(&fleet.key).await.as_deref(), Ok("a0"));
    assert_eq!(began.elapsed(), 5 * SECOND);
    assert_eq!(there.token(&fleet.key).await.as_deref(), Ok("a0"));
    assert_eq!(began.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_was_missed_is_looked_up_once_for_all_who_ask() {
    let fleet = Fleet::new();
    let (_here, there) = fleet.two(OnStale::Serve).await;
    there.connection.forget_cursors(true);
    fleet.pass(SECOND).await;
    there.connection.forget_cursors(false);
    fleet.pass(2 * SECOND).await;
    let before = there.connection.loads();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (manager, key) = (there.manager.clone(), fleet.key.clone());
        all.spawn(async move { manager.token(&key).await });
    }
    while let Some(token) = all.join_next().await {
        assert_eq!(token.unwrap().unwrap().expose(), "a0");
    }
    assert_eq!(there.connection.loads() - before, 1);
}

/// What nobody vouches for does not come back where a refresh has failed.
#[tokio::test(start_paused = true)]
async fn a_wait_that_comes_to_nothing_gives_nothing_that_nobody_vouches_for() {
    let fleet = Fleet::new();
    let (_here, there) = fleet.two(OnStale::FailClosed).await;
    fleet.clock.advance(HOUR / 2);
    fleet.pass(SECOND).await;
    fleet.fake.hold();
    let waits = tokio::spawn({
        let (manager, key) = (there.manager.clone(), fleet.key.clone());
        async move { manager.token_valid_for(&key, HOUR * 3 / 4).await }
    });
    fleet.fake.begun(1).await;
    there.connection.cut(true);
    fleet.pass(2 * MAX_STALE + SECOND).await;
    assert!(waits.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_under_way_is_left_alone_where_changes_were_missed() {
    let fleet = Fleet::new();
    let (_here, there) = fleet.two(OnStale::Serve).await;
    fleet.fake.hold();
    fleet.clock.advance(HOUR);
    let waits = tokio::spawn({
        let (manager, key) = (there.manager.clone(), fleet.key.clone());
        async move { manager.token(&key).await }
    });
    fleet.fake.begun(1).await;
    there.connection.forget_cursors(true);
    fleet.pass(SECOND).await;
    fleet.fake.release(1);
    assert_eq!(waits.await.unwrap().unwrap().expose(), "a1");
    assert_eq!(fleet.fake.exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_stored_yet_is_served_where_changes_were_missed() {
    let fleet = Fleet::new();
    let (_here, there) = fleet.two(OnStale::Serve).await;
    fleet.fake.hold();
    fleet.clock.advance(HOUR);
    let waits = tokio::spawn({
        let (manager, key) = (there.manager.clone(), fleet.key.clone());
        async move { manager.token(&key).await }
    });
    fleet.fake.begun(1).await;
    there.connection.fill(true);
    fleet.fake.release(1);
    assert_eq!(waits.await.unwrap().unwrap().expose(), "a1");
    there.connection.forget_cursors(true);
    fleet.pass(2 * SECOND).await;
    assert_eq!(there.token(&fleet.key).await.as_deref(), Ok("a1"));
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_is_as_old_as_the_look_that_brought_it() {
    let fleet = Fleet::new();
    let (here, there) = fleet.two(OnStale::FailClosed).await;
    there.connection.slow_down(3);
    fleet.pass(SECOND).await;
    // After the look has seen what there is, and before it is back.
    here.manager.disconnect(&fleet.key).await.unwrap();
    fleet.pass(2 * SECOND + 5 * STEP).await;
    there.connection.cut(true);
    fleet.pass(2 * SECOND).await;
    assert_eq!(there.token(&fleet.key).await, Err(ErrorKind::Store));
}

#[tokio::test(start_paused = true)]
async fn a_store_of_one_process_is_not_listened_to() {
    let fleet = Fleet::new();
    let connection = Connection::to(&fleet.rows);
    let store = SealedStore::open(connection.clone(), fleet.ring.clone());
    let _manager = TokenManager::builder()
        .store(store.await.unwrap())
        .provider(Provider::new("fake", fleet.fake.clone()).allow_origin(API))
        .build()
        .await
        .unwrap();
    fleet.pass(2 * SECOND).await;
    assert_eq!(connection.looks(), 0);
}

/// What others do is then not listened to.
#[tokio::test]
async fn to_fail_closed_takes_a_store_that_was_opened_for_several() {
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate().unwrap());
    let built = TokenManager::builder()
        .store(store.await.unwrap())
        .provider(Provider::new("fake", Fake::new(HOUR)).allow_origin(API))
        .max_stale(MAX_STALE, OnStale::FailClosed)
        .build()
        .await;
    let error = built.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("open_shared"), "{error}");
}

#[tokio::test]
async fn to_fail_closed_takes_a_store_that_tells() {
    let table = tests::tables::Table::new(true);
    let store = tower_token::store::custom::MultiProcess::new(table);
    let store = SealedStore::open_shared(store, KeyRing::generate().unwrap());
    let built = TokenManager::builder()
        .store(store.await.unwrap())
        .provider(Provider::new("fake", Fake::new(HOUR)).allow_origin(API))
        .max_stale(MAX_STALE, OnStale::FailClosed)
        .build()
        .await;
    assert_eq!(built.unwrap_err().kind(), ErrorKind::Config);
}
