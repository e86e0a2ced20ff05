//! Several instances look after idle grants together: none twice, and no faster than a token
//! service was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tests::shared::Connection;
use tower_token::testkit::ManualClock;
use tower_token::{
    Clock as _, GrantKey, KeyRing, MemoryStore, Provider, RefreshError, RefreshRequest, Refresher,
    SealedStore, Timestamp, TokenManager, TokenResponse,
};

use crate::support::API;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const STEP: Duration = Duration::from_millis(50);
const GRANTS: usize = 200;
const RATE: u32 = 2;

/// Notes when which grant was renewed, by whom.
#[derive(Clone)]
struct Service {
    clock: ManualClock,
    renewed: Arc<Mutex<Vec<(Timestamp, String, usize)>>>,
    instance: usize,
    takes: Duration,
}

impl Refresher for Service {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let subject = request.grant().key().subject().to_owned();
        let (now, instance) = (self.clock.now(), self.instance);
        tokio::time::sleep(self.takes).await;
        self.renewed.lock().push((now, subject, instance));
        Ok(tokens(&self.clock))
    }
}

fn tokens(clock: &ManualClock) -> TokenResponse {
    TokenResponse::new(format!("a{}", clock.now().as_unix_millis()))
        .refresh_token("r")
        .expires_in(DAY)
        .refresh_token_expires_in(4 * DAY)
}

/// Renews what is due with four instances, and tells when each grant was, and by whom.
async fn renewed(rate: Option<u32>, span: Duration) -> Vec<(Timestamp, String, usize)> {
    renewed_by(4, STEP, rate, span).await
}

/// The same with as many instances, where an exchange `takes` so long.
async fn renewed_by(
    instances: usize,
    takes: Duration,
    rate: Option<u32>,
    span: Duration,
) -> Vec<(Timestamp, String, usize)> {
    let clock = ManualClock::new();
    let rows = MemoryStore::with_clock(clock.clone());
    let (ring, books) = (KeyRing::generate().unwrap(), Arc::default());
    let mut fleet: Vec<TokenManager> = Vec::new();
    for instance in 0..instances {
        let service = Service {
            clock: clock.clone(),
            renewed: Arc::clone(&books),
            instance,
            takes,
        };
        let mut provider = Provider::new("idle", service).allow_origin(API);
        if let Some(rate) = rate {
            provider = provider.max_renewals_per_second(rate);
        }
        let store = SealedStore::open_shared(Connection::to(&rows), ring.clone());
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(provider)
            .clock(clock.clone());
        fleet.push(manager.build().await.unwrap());
    }
    for user in 0..GRANTS {
        let key = GrantKey::new("idle", user.to_string());
        fleet[0].connect(&key, tokens(&clock)).await.unwrap();
    }
    clock.advance(7 * DAY / 2);
    for _ in 0..span.as_millis() / STEP.as_millis() {
        clock.advance(STEP);
        tokio::time::sleep(STEP).await;
    }
    books.lock().clone()
}

#[tokio::test(start_paused = true)]
async fn no_grant_is_renewed_twice() {
    let renewed = renewed(None, Duration::from_secs(130)).await;
    let mut by_user = BTreeMap::new();
    for (_, user, _) in &renewed {
        *by_user.entry(user.clone()).or_insert(0) += 1;
    }
    assert_eq!(by_user.len(), GRANTS);
    assert!(by_user.values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn all_instances_together_keep_to_the_rate_and_take_turns() {
    let mut renewed = renewed(Some(RATE), Duration::from_secs(240)).await;
    renewed.sort();
    assert_eq!(renewed.len(), GRANTS);
    let instances: BTreeSet<_> = renewed.iter().map(|of| of.2).collect();
    assert!(instances.len() > 1, "{instances:?}");
    let second = Duration::from_secs(1);
    for (n, (from, ..)) in renewed.iter().enumerate() {
        let within = renewed[n..]
            .iter()
            .filter(|(at, ..)| at.since(*from) < second);
        // What a sweeper takes at once may fall on either side of a second.
        assert!(within.count() <= (RATE + 1) as usize);
    }
}

/// One provider's grants wait for their turn for minutes; another's are renewed at once.
#[tokio::test(start_paused = true)]
async fn who_takes_turns_keeps_nobody_else_waiting() {
    let clock = ManualClock::new();
    let rows = MemoryStore::with_clock(clock.clone());
    let books = Arc::default();
    let service = |instance| Service {
        clock: clock.clone(),
        renewed: Arc::clone(&books),
        instance,
        takes: STEP,
    };
    let slow = Provider::new("slow", service(0)).max_renewals_per_second(1);
    let manager = TokenManager::builder()
        .store(
            SealedStore::open(rows, KeyRing::generate().unwrap())
                .await
                .unwrap(),
        )
        .provider(slow.allow_origin(API))
        .provider(Provider::new("quick", service(1)).allow_origin(API))
        .clock(clock.clone())
        .build()
        .await
        .unwrap();
    for user in 0..GRANTS {
        let key = GrantKey::new("slow", user.to_string());
        manager.connect(&key, tokens(&clock)).await.unwrap();
    }
    // Due after all of those.
    clock.advance(Duration::from_secs(3_600));
    let quick = GrantKey::new("quick", "ada");
    manager.connect(&quick, tokens(&clock)).await.unwrap();
    clock.advance(15 * DAY / 4);
    for _ in 0..1_500 {
        clock.advance(STEP);
        tokio::time::sleep(STEP).await;
    }
    let books = books.lock();
    let waited = books.iter().position(|(_, user, _)| user == "ada").unwrap();
    assert!(waited == 0 && books.len() < GRANTS, "{waited}");
}

/// One works alone until the others begin, within a minute; then all do.
#[tokio::test(start_paused = true)]
async fn several_are_done_sooner_than_one() {
    let took = async |instances| {
        let (takes, span) = (Duration::from_secs(3), Duration::from_secs(300));
        let renewed = renewed_by(instances, takes, None, span).await;
        let at = |pick: fn(Timestamp, Timestamp) -> Timestamp| {
            renewed.iter().map(|(at, ..)| *at).reduce(pick).unwrap()
        };
        assert_eq!(renewed.len(), GRANTS);
        at(Timestamp::max).since(at(Timestamp::min))
    };
    let (one, four) = (took(1).await, took(4).await);
    assert!(four < one * 3 / 4, "{four:?} {one:?}");
}
