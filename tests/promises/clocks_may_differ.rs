//! Invariant 17: leases, claims and intents go by the store's clock, and those of instances may
//! differ by five minutes.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tests::fake::Fake;
use tests::shared::Connection;
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::ManualClock;
use tower_token::{
    Clock as _, GrantKey, KeyRing, MemoryStore, Provider, SealedStore, Timestamp, TokenLayer,
    TokenManager, TokenRequest,
};

use crate::support::{API, Api, HOUR};

const SKEW: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);
/// By default.
const EXCHANGE: Duration = Duration::from_secs(30);
/// Longer than a lease lasts.
const LEASE_OVER: Duration = Duration::from_secs(7);

/// Two instances whose clocks differ from the store's, and from each other's.
struct Skewed {
    clocks: [ManualClock; 3],
    fake: Fake,
    key: GrantKey,
    first: TokenManager,
    second: TokenManager,
    to_first: Connection,
}

/// The clock of the first instance is ahead, or behind.
#[derive(Clone, Copy, PartialEq)]
enum First {
    Ahead,
    Behind,
}

impl Skewed {
    async fn new(first: First) -> Self {
        let start = Timestamp::from_unix_millis(1_700_000_000_000);
        let (store, ahead, behind) = (start, start + SKEW, start - SKEW);
        let clocks = match first {
            First::Ahead => [store, ahead, behind],
            First::Behind => [store, behind, ahead],
        };
        let clocks = clocks.map(ManualClock::at);
        let rows = MemoryStore::with_clock(clocks[0].clone());
        let (ring, fake) = (KeyRing::generate().unwrap(), Fake::new(HOUR));
        let to_first = Connection::to(&rows);
        let instance = async |connection, clock: &ManualClock| {
            let store = SealedStore::open_shared(connection, ring.clone());
            TokenManager::builder()
                .store(store.await.unwrap())
                .provider(Provider::new("fake", fake.clone()).allow_origin(API))
                .clock(clock.clone())
                .build()
                .await
                .unwrap()
        };
        let skewed = Self {
            first: instance(to_first.clone(), &clocks[1]).await,
            second: instance(Connection::to(&rows), &clocks[2]).await,
            key: GrantKey::new("fake", "ada"),
            to_first,
            clocks,
            fake,
        };
        let consent = skewed.fake.consent();
        skewed.first.connect(&skewed.key, consent).await.unwrap();
        skewed.pass(SECOND).await;
        skewed
    }

    async fn pass(&self, span: Duration) {
        for _ in 0..span.as_secs() {
            self.advance(SECOND);
            tokio::time::sleep(SECOND).await;
        }
    }

    fn advance(&self, span: Duration) {
        for clock in &self.clocks {
            clock.advance(span);
        }
    }
}

async fn token(manager: &TokenManager, key: &GrantKey) -> String {
    manager.token(key).await.unwrap().expose().to_owned()
}

#[tokio::test(start_paused = true)]
async fn instances_make_one_exchange_for_each_token_whoever_is_ahead() {
    for first in [First::Ahead, First::Behind] {
        let skewed = Skewed::new(first).await;
        for round in 1..=20 {
            // Expired by every clock.
            skewed.advance(HOUR + 2 * SKEW);
            let (one, other) = tokio::join!(
                token(&skewed.first, &skewed.key),
                token(&skewed.second, &skewed.key)
            );
            assert_eq!((one.as_str(), skewed.fake.exchanges()), (&*other, round));
        }
        assert_eq!(skewed.fake.reused(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_intent_is_live_by_the_stores_clock_alone() {
    for first in [First::Ahead, First::Behind] {
        let skewed = Skewed::new(first).await;
        token(&skewed.second, &skewed.key).await;
        skewed.advance(HOUR + 2 * SKEW);
        skewed.fake.hold();
        let started = skewed.clocks[0].now();
        let stalled = tokio::spawn({
            let (manager, key) = (skewed.first.clone(), skewed.key.clone());
            async move { manager.token(&key).await.map(drop) }
        });
        skewed.fake.begun(1).await;
        // Its lease runs out, since it cannot extend it.
        skewed.to_first.cut(true);
        skewed.pass(LEASE_OVER).await;
        let waits = tokio::spawn({
            let (manager, key) = (skewed.second.clone(), skewed.key.clone());
            async move {
                loop {
                    if let Ok(token) = manager.token(&key).await {
                        return token.expose().to_owned();
                    }
                }
            }
        });
        while skewed.clocks[0].now().since(started) < EXCHANGE - 2 * SECOND {
            skewed.pass(SECOND).await;
        }
        assert_eq!(skewed.fake.exchanges(), 1, "before the intent was over");
        skewed.pass(4 * SECOND).await;
        assert_eq!(skewed.fake.exchanges(), 2, "after the intent was over");
        skewed.fake.release(2);
        skewed.pass(SECOND).await;
        assert_eq!(waits.await.unwrap(), "a2");
        stalled.abort();
    }
}

/// As by a correction of the time while somebody waits.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_ends_no_intent() {
    let skewed = Skewed::new(First::Ahead).await;
    token(&skewed.second, &skewed.key).await;
    skewed.advance(HOUR + 2 * SKEW);
    skewed.fake.hold();
    let stalled = tokio::spawn({
        let (manager, key) = (skewed.first.clone(), skewed.key.clone());
        async move { manager.token(&key).await.map(drop) }
    });
    skewed.fake.begun(1).await;
    skewed.to_first.cut(true);
    skewed.pass(LEASE_OVER).await;
    let waits = tokio::spawn({
        let (manager, key) = (skewed.second.clone(), skewed.key.clone());
        async move { manager.token(&key).await.map(drop) }
    });
    skewed.pass(2 * SECOND).await;
    skewed.clocks[2].advance(2 * EXCHANGE);
    skewed.pass(5 * SECOND).await;
    assert_eq!(skewed.fake.exchanges(), 1);
    stalled.abort();
    waits.abort();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_lives_longer_by_one_clock_is_healed() {
    for first in [First::Ahead, First::Behind] {
        let (skewed, api) = (Skewed::new(first).await, Api::default());
        token(&skewed.second, &skewed.key).await;
        // Over by the service's clock, which is the store's here.
        skewed.advance(HOUR);
        api.refuse("a0");
        for manager in [&skewed.first, &skewed.second] {
            let client = TokenLayer::new(manager).layer(api.service());
            let request = Request::get(format!("{API}/me"))
                .extension(TokenRequest::new(skewed.key.clone()))
                .body(Full::<Bytes>::default());
            let response = client.oneshot(request.unwrap()).await.unwrap();
            assert!(response.status().is_success());
        }
        assert_eq!(skewed.fake.exchanges(), 1);
    }
}
