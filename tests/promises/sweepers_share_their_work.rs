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

/// Instances of one service, with grants that are all due.
struct Fleet {
    instances: usize,
    grants: usize,
    /// How long an exchange takes.
    takes: Duration,
    rate: Option<u32>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            instances: 4,
            grants: GRANTS,
            takes: STEP,
            rate: None,
        }
    }
}

impl Fleet {
    /// When each grant was renewed within so much time, and by whom.
    async fn renewed_within(self, span: Duration) -> Vec<(Timestamp, String, usize)> {
        let clock = ManualClock::new();
        let rows = MemoryStore::with_clock(clock.clone());
        let (ring, books) = (KeyRing::generate().unwrap(), Arc::default());
        let mut managers: Vec<TokenManager> = Vec::new();
        for instance in 0..self.instances {
            let service = Service {
                clock: clock.clone(),
                renewed: Arc::clone(&books),
                instance,
                takes: self.takes,
            };
            let mut provider = Provider::new("idle", service).allow_origin(API);
            if let Some(rate) = self.rate {
                provider = provider.max_renewals_per_second(rate);
            }
            let store = SealedStore::open_shared(Connection::to(&rows), ring.clone());
            let manager = TokenManager::builder()
                .store(store.await.unwrap())
                .provider(provider)
                .clock(clock.clone());
            managers.push(manager.build().await.unwrap());
        }
        for user in 0..self.grants {
            let key = GrantKey::new("idle", user.to_string());
            managers[0].connect(&key, tokens(&clock)).await.unwrap();
        }
        clock.advance(7 * DAY / 2);
        for _ in 0..span.as_millis() / STEP.as_millis() {
            clock.advance(STEP);
            tokio::time::sleep(STEP).await;
        }
        let mut renewed = books.lock().clone();
        renewed.sort();
        renewed
    }
}

#[tokio::test(start_paused = true)]
async fn no_grant_is_renewed_twice() {
    let renewed = Fleet::default()
        .renewed_within(Duration::from_secs(130))
        .await;
    let mut by_user = BTreeMap::new();
    for (_, user, _) in &renewed {
        *by_user.entry(user.clone()).or_insert(0) += 1;
    }
    assert_eq!(by_user.len(), GRANTS);
    assert!(by_user.values().all(|times| *times == 1));
}

/// More than one of them claims at its start, so that they wait for the same turns.
#[tokio::test(start_paused = true)]
async fn all_instances_together_keep_to_the_rate_and_take_turns() {
    let fleet = Fleet {
        grants: 3 * GRANTS,
        rate: Some(RATE),
        ..Fleet::default()
    };
    let renewed = fleet.renewed_within(Duration::from_secs(240)).await;
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

/// What had no turn is gone on with when its claims end, and not a whole round after that.
#[tokio::test(start_paused = true)]
async fn one_instance_uses_three_quarters_of_the_rate() {
    let fleet = Fleet {
        instances: 1,
        rate: Some(RATE),
        ..Fleet::default()
    };
    let (starts_within, round) = (60, 61);
    let rounds = GRANTS as u64 / (45 * u64::from(RATE)) + 1;
    let span = Duration::from_secs(starts_within + rounds * round);
    assert_eq!(fleet.renewed_within(span).await.len(), GRANTS);
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
        let fleet = Fleet {
            instances,
            takes: Duration::from_secs(3),
            ..Fleet::default()
        };
        let renewed = fleet.renewed_within(Duration::from_secs(300)).await;
        assert_eq!(renewed.len(), GRANTS);
        renewed[GRANTS - 1].0.since(renewed[0].0)
    };
    let (one, four) = (took(1).await, took(4).await);
    assert!(four < one * 3 / 4, "{four:?} {one:?}");
}
