//! Refreshes and reads, and what is known of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tower_token::{
    AccessToken, Error, GrantKey, RefreshError, RefreshRequest, Refresher, TokenManager,
    TokenResponse, Verdict,
};

const LIFE: Duration = Duration::from_secs(3_600);
/// A token that is older than this is refreshed by who asks for a new one.
const NEW: Duration = Duration::from_millis(20);

/// A token service that is strict: each refresh token is good for one refresh.
#[derive(Debug, Clone)]
pub(crate) struct Service(Arc<Books>);

#[derive(Debug)]
struct Books {
    /// How often each grant was refreshed.
    issued: Vec<AtomicU64>,
    reused: AtomicU64,
}

impl Service {
    pub(crate) fn new(grants: usize) -> Self {
        Self(Arc::new(Books {
            issued: counters(grants),
            reused: AtomicU64::new(0),
        }))
    }

    pub(crate) fn grants(&self) -> usize {
        self.0.issued.len()
    }

    pub(crate) fn issued(&self, at: usize) -> u64 {
        self.0.issued[at].load(Ordering::Relaxed)
    }

    pub(crate) fn reused(&self) -> u64 {
        self.0.reused.load(Ordering::Relaxed)
    }

    /// The tokens of grant `at` after `n` refreshes.
    pub(crate) fn tokens(at: usize, n: u64) -> TokenResponse {
        TokenResponse::new(format!("a-{at}-{n}"))
            .refresh_token(format!("r-{at}-{n}"))
            .expires_in(LIFE)
    }
}

impl Refresher for Service {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let text = request.refresh_token().expose();
        let Some((at, n)) = parts(text, "r") else {
            return Err(RefreshError::new(Verdict::Dead, "no token of ours"));
        };
        let (now, next) = (Ordering::AcqRel, n + 1);
        let spent = self.0.issued[at].compare_exchange(n, next, now, Ordering::Relaxed);
        if spent.is_err() {
            self.0.reused.fetch_add(1, Ordering::Relaxed);
            return Err(RefreshError::new(Verdict::Dead, "spent before"));
        }
        Ok(Self::tokens(at, next))
    }
}

fn parts(text: &str, kind: &str) -> Option<(usize, u64)> {
    let mut words = text.split('-');
    let is_kind = words.next() == Some(kind);
    let (at, n) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    is_kind.then_some((at, n))
}

/// Which access token of grant `at` this is, if it is one.
pub(crate) fn number(at: usize, token: &str) -> Option<u64> {
    let (of, n) = parts(token, "a")?;
    (of == at).then_some(n)
}

pub(crate) fn key(at: usize) -> GrantKey {
    GrantKey::new("p", at.to_string())
}

fn counters(n: usize) -> Vec<AtomicU64> {
    (0..n).map(|_| AtomicU64::new(0)).collect()
}

/// What the traffic has done so far.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// The newest token of each grant that somebody was given.
    newest: Vec<AtomicU64>,
    turn: AtomicU64,
    refreshes: AtomicU64,
    reads: AtomicU64,
    failed_reads: AtomicU64,
    stop: AtomicBool,
}

impl Meter {
    pub(crate) fn new(grants: usize) -> Self {
        Self(Arc::new(Counts {
            newest: counters(grants),
            turn: AtomicU64::new(0),
            refreshes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            failed_reads: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }))
    }

    pub(crate) fn newest(&self, at: usize) -> u64 {
        self.0.newest[at].load(Ordering::Relaxed)
    }

    pub(crate) fn failed_reads(&self) -> u64 {
        self.0.failed_reads.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// The next grant, one after the other, until it is enough.
    fn next(&self) -> Option<usize> {
        if self.0.stop.load(Ordering::Relaxed) {
            return None;
        }
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        // Coprime to any round number of grants: neighbours in time are no neighbours here.
        usize::try_from(turn * 7_919 % self.0.newest.len() as u64).ok()
    }

    /// Which token of grant `at` was read; one that was not is counted.
    fn read(&self, at: usize, token: Result<AccessToken, Error>) -> Option<u64> {
        let read = token.map(|token| number(at, token.expose()));
        if let Ok(Some(n)) = read {
            return Some(n);
        }
        if self.0.failed_reads.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("grant {at}: {read:?}");
        }
        None
    }

    /// Rates from now on.
    pub(crate) fn window(&self) -> Window {
        Window {
            meter: self.clone(),
            began: Instant::now(),
            before: self.totals(),
        }
    }

    fn totals(&self) -> [u64; 2] {
        [&self.0.refreshes, &self.0.reads].map(|count| count.load(Ordering::Relaxed))
    }
}

pub(crate) struct Window {
    meter: Meter,
    began: Instant,
    before: [u64; 2],
}

impl Window {
    pub(crate) fn print(&self, when: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        let [refreshes, reads] = self.meter.totals();
        let rate = |now, before| (now - before) as f64 / seconds;
        println!(
            "{when}: {:.0} refreshes/s and {:.0} reads/s for {seconds:.1} s",
            rate(refreshes, self.before[0]),
            rate(reads, self.before[1])
        );
    }
}

/// Refreshes one grant after the other.
pub(crate) async fn refresh(manager: TokenManager, meter: Meter) {
    while let Some(at) = meter.next() {
        let token = manager.token_valid_for(&key(at), LIFE - NEW).await;
        if let Some(n) = meter.read(at, token) {
            let before = meter.0.newest[at].fetch_max(n, Ordering::Relaxed);
            let refreshed = u64::from(before < n);
            meter.0.refreshes.fetch_add(refreshed, Ordering::Relaxed);
        }
        // Others have their turn, also where nothing had to be waited for.
        tokio::task::yield_now().await;
    }
}

/// Reads one grant after the other.
pub(crate) async fn read(manager: TokenManager, meter: Meter) {
    while let Some(at) = meter.next() {
        meter.read(at, manager.token(&key(at)).await);
        meter.0.reads.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}
