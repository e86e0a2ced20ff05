//! `storm [--callers N]`: how a token service fares when all callers want a token of one
//! user at once, while it is well, while it fails, and while it hangs. Prints a line for
//! each, and fails if one is not as promised.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use tests::BoxError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower_token::testkit::{AuthServer, AuthServerBuilder, Fault, ManualClock};
use tower_token::{
    AccessToken, Error, ErrorKind, EventKind, GrantKey, KeyRing, MemoryStore, Recovery,
    SealedStore, TokenManager,
};

/// How long access tokens live.
const LIFE: Duration = Duration::from_secs(3_600);
/// How long the service fails, in simulated seconds.
const OUTAGE: u64 = 600;
/// How long a caller waits, and how late the machine may wake it.
const DEADLINE: Duration = Duration::from_secs(5);
const TOLERANCE: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let callers = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => 10_000,
        (Some("--callers"), Some(callers)) => callers.parse()?,
        _ => return Err("usage: storm [--callers N]".into()),
    };
    at_expiry(callers).await?;
    failing(callers).await?;
    hanging(callers).await
}

/// One exchange, however many want its token.
async fn at_expiry(callers: usize) -> Result<(), BoxError> {
    let latency = Duration::from_millis(50);
    let storm = Storm::new(AuthServer::builder().latency(latency)).await?;
    let mut events = storm.manager.events(2 * callers);
    storm.clock.advance(LIFE);
    let calls = storm.call(callers).await?;
    let served = calls.iter().filter(|call| call.token.is_ok()).count();
    let waited = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event.kind, EventKind::Waited { .. }))
        .count();
    let counts = storm.server.counts();
    let slowest = slowest(&calls).as_millis();
    println!(
        "at expiry: {served} of {callers} callers served, {waited} of them waited, the slowest \
         {slowest} ms; {} exchange",
        counts.token_requests
    );
    claim(served == callers, "every caller is served")?;
    claim(waited > 0, "callers wait")?;
    claim(counts.token_requests == 1, "one exchange")?;
    claim(counts.refreshes_ok == 1, "which succeeds")
}

/// As many exchanges as the backoff allows, however many want one each second.
async fn failing(callers: usize) -> Result<(), BoxError> {
    let storm = Storm::new(AuthServer::builder()).await?;
    storm.clock.advance(LIFE);
    storm.server.set_fault(Fault::status(503));
    let mut exchanges = Vec::new();
    for second in 0..=OUTAGE {
        let before = storm.server.counts().token_requests;
        let calls = storm.call(callers).await?;
        let told = |call: &Call| match &call.token {
            Ok(_) => false,
            Err(error) => {
                error.kind() == ErrorKind::TokenService
                    && matches!(error.recovery(), Recovery::Retry { after: Some(_) })
            }
        };
        claim(
            calls.iter().all(told),
            "every caller is told when to come again",
        )?;
        let made = storm.server.counts().token_requests - before;
        claim(made <= 1, "one exchange at a time")?;
        exchanges.extend((made == 1).then_some(second));
        storm.clock.advance(Duration::from_secs(1));
    }
    let count = exchanges.len();
    let least = fit(OUTAGE, |delay| delay + 1_000);
    let most = fit(OUTAGE, |delay| delay - delay / 4);
    println!(
        "failing: {callers} callers a second for {OUTAGE} s; {count} exchanges, where the backoff \
         allows {least} to {most}, at {exchanges:?} s"
    );
    for (failures, pair) in exchanges.windows(2).enumerate() {
        let delay = delay(failures);
        let gap = (pair[1] - pair[0]) * 1_000;
        claim(gap >= delay - delay / 4, "no exchange comes early")?;
        // Up to a second, until somebody calls.
        claim(gap <= delay + 1_000, "and none comes late")?;
    }
    claim(
        (least..=most).contains(&count),
        "as many as the backoff allows",
    )?;

    storm.server.clear_fault();
    storm.clock.advance(Duration::from_secs(60));
    let calls = storm.call(callers).await?;
    claim(
        calls.iter().all(|call| call.token.is_ok()),
        "all is well again",
    )
}

/// Nobody waits past the deadline, and what was on its way is not lost for it.
async fn hanging(callers: usize) -> Result<(), BoxError> {
    let storm = Storm::new(AuthServer::builder()).await?;
    storm.clock.advance(LIFE);
    storm.server.set_fault(Fault::hold());
    let calls = storm.call(callers).await?;
    let timed_out = |call: &&Call| {
        let error = call.token.as_ref().err();
        error.is_some_and(|error| error.kind() == ErrorKind::Timeout)
    };
    let told = calls.iter().filter(timed_out).count();
    let slowest = slowest(&calls);
    println!(
        "hanging: {told} of {callers} callers told at their deadline of {} ms, the slowest after \
         {} ms; {} exchange",
        DEADLINE.as_millis(),
        slowest.as_millis(),
        storm.server.counts().token_requests
    );
    claim(told == callers, "every caller is told")?;
    claim(slowest <= DEADLINE + TOLERANCE, "in time")?;
    storm.server.release();
    let calls = storm.call(callers).await?;
    claim(
        calls.iter().all(|call| call.token.is_ok()),
        "all is well again",
    )?;
    claim(
        storm.server.counts().token_requests == 1,
        "by the one exchange",
    )
}

/// How long the backoff lasts after so many failures before, in milliseconds.
fn delay(failures: usize) -> u64 {
    (1_000 << failures.min(6)).min(60_000)
}

/// How many exchanges fit into so many seconds, if each but the first comes `late` after the
/// one before.
fn fit(seconds: u64, late: impl Fn(u64) -> u64) -> usize {
    let mut next = 0;
    let times = (0..).map_while(|failures| {
        let at = next;
        next += late(delay(failures));
        (at <= seconds * 1_000).then_some(at)
    });
    times.count()
}

fn claim(holds: bool, what: &str) -> Result<(), BoxError> {
    if holds {
        return Ok(());
    }
    Err(format!("this did not hold: {what}").into())
}

/// One user, whose tokens last an hour of the clock that the manager and the server share.
struct Storm {
    server: AuthServer,
    manager: TokenManager,
    clock: ManualClock,
    key: GrantKey,
}

/// What one caller got, and how long that took on the machine's clock.
struct Call {
    token: Result<AccessToken, Error>,
    took: Duration,
}

impl Storm {
    async fn new(server: AuthServerBuilder) -> Result<Self, BoxError> {
        let clock = ManualClock::new();
        let server = server.access_ttl(LIFE).clock(clock.clone()).start()?;
        let store = MemoryStore::with_clock(clock.clone());
        let manager = TokenManager::builder()
            .store(SealedStore::open(store, KeyRing::generate()?).await?)
            .provider(server.provider("p"))
            .wait_deadline(DEADLINE)
            .clock(clock.clone())
            .build()
            .await?;
        let key = GrantKey::new("p", "ada");
        manager.connect(&key, server.connect("ada").into()).await?;
        Ok(Self {
            server,
            manager,
            clock,
            key,
        })
    }

    /// All callers at once, each on a task of its own.
    async fn call(&self, callers: usize) -> Result<Vec<Call>, BoxError> {
        let mut tasks = JoinSet::new();
        for _ in 0..callers {
            let (manager, key) = (self.manager.clone(), self.key.clone());
            tasks.spawn(async move {
                let began = Instant::now();
                let token = manager.token(&key).await;
                let took = began.elapsed();
                Call { token, took }
            });
        }
        let mut calls = Vec::with_capacity(callers);
        while let Some(call) = tasks.join_next().await {
            calls.push(call?);
        }
        Ok(calls)
    }
}

fn slowest(calls: &[Call]) -> Duration {
    calls.iter().map(|call| call.took).max().unwrap_or_default()
}
