//! A token service that wants a second factor gets it, and what it wants back with it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tests::fake::Fake;
use tokio::sync::{Semaphore, watch};
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, GrantKey, GrantState, KeyRing, MemoryStore, Provider, RefreshError, RefreshRequest,
    Refresher, TokenManager, TokenResponse, Verdict,
};

use crate::support::{HOUR, manager_of};

/// Wants the code 1234 and the continuation `half` with every refresh.
#[derive(Clone)]
struct Asks {
    /// The codes that came.
    seen: Arc<watch::Sender<Vec<Option<String>>>>,
    /// How many requests are answered.
    gate: Arc<Semaphore>,
    /// How many are answered by a failure first.
    failures: Arc<Mutex<usize>>,
}

impl Default for Asks {
    fn default() -> Self {
        Self {
            seen: Arc::default(),
            gate: Arc::new(Semaphore::new(1_000)),
            failures: Arc::default(),
        }
    }
}

impl Asks {
    fn seen(&self) -> Vec<Option<String>> {
        self.seen.borrow().clone()
    }

    async fn manager(
        &self,
        store: &MemoryStore,
        ring: &KeyRing,
        clock: &ManualClock,
    ) -> TokenManager {
        let provider = Provider::new("asks", self.clone());
        manager_of(store.clone(), ring, provider, clock).await
    }
}

impl Refresher for Asks {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let code = request.user_code().map(|code| code.expose().to_owned());
        self.seen.send_modify(|seen| seen.push(code.clone()));
        self.gate.acquire().await.unwrap().forget();
        let fails = {
            let mut left = self.failures.lock();
            let fails = *left > 0;
            *left = left.saturating_sub(1);
            fails
        };
        if fails {
            let verdict = Verdict::Transient { retry_after: None };
            return Err(RefreshError::new(verdict, "as told"));
        }
        let continued = request.continuation().map(|half| half.expose().to_owned());
        match (code.as_deref(), continued.as_deref()) {
            (Some("1234"), Some("half")) => Fake::new(HOUR).refresh(request).await,
            _ => {
                Err(RefreshError::new(Verdict::UserAction, "a code was sent").continuation("half"))
            }
        }
    }
}

fn sent(code: &str) -> Option<String> {
    Some(code.to_owned())
}

/// A store with one user's grant, whose token lives for an hour, and the way to managers.
async fn connected() -> (Asks, MemoryStore, KeyRing, ManualClock, GrantKey) {
    let (asks, clock, ring) = (
        Asks::default(),
        ManualClock::new(),
        KeyRing::generate().unwrap(),
    );
    let store = MemoryStore::with_clock(clock.clone());
    let key = GrantKey::new("asks", "ada");
    let consent = TokenResponse::new("a").refresh_token("r").expires_in(HOUR);
    let manager = asks.manager(&store, &ring, &clock).await;
    manager.connect(&key, consent).await.unwrap();
    (asks, store, ring, clock, key)
}

#[tokio::test]
async fn a_code_goes_with_one_refresh_and_is_not_kept() {
    let (asks, store, ring, clock, key) = connected().await;
    let first = asks.manager(&store, &ring, &clock).await;
    // The other one knows the token that the user connected with.
    let second = asks.manager(&store, &ring, &clock).await;
    second.token(&key).await.unwrap();
    clock.advance(HOUR);

    let error = first.token(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserAction);
    let state = first.grants("ada").await.unwrap()[0].state();
    assert_eq!(state, GrantState::Active);
    let error = first.refresh_with_code(&key, "9999").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserAction);
    first.refresh_with_code(&key, "1234").await.unwrap();
    assert!(first.token(&key).await.is_ok());
    assert_eq!(asks.seen(), [None, sent("9999"), sent("1234")]);

    // What was good once is not sent again.
    clock.advance(HOUR);
    first.token(&key).await.unwrap_err();
    assert_eq!(asks.seen().last(), Some(&None));

    // The user answers to the other instance, which has missed all this.
    second.refresh_with_code(&key, "1234").await.unwrap();
    assert_eq!(asks.seen().last(), Some(&sent("1234")));
    assert_eq!(asks.seen().len(), 5);
    assert!(second.token(&key).await.is_ok());
}

#[tokio::test]
async fn a_code_is_not_lost_over_a_refresh_that_began_without_it() {
    let (asks, store, ring, clock, key) = connected().await;
    let manager = asks.manager(&store, &ring, &clock).await;
    manager.token(&key).await.unwrap();
    clock.advance(HOUR - Duration::from_secs(240));
    asks.gate.forget_permits(1_000);
    manager.token(&key).await.unwrap();
    let mut seen = asks.seen.subscribe();
    seen.wait_for(|seen| seen.len() == 1).await.unwrap();
    let with_code = tokio::spawn({
        let (manager, key) = (manager.clone(), key.clone());
        async move { manager.refresh_with_code(&key, "1234").await }
    });
    // It waits for the refresh that nobody needed so far, and which ends badly.
    tokio::task::yield_now().await;
    asks.gate.add_permits(2);
    with_code.await.unwrap().unwrap();
    assert_eq!(asks.seen(), [None, sent("1234")]);
}

#[tokio::test]
async fn a_code_that_could_not_be_sent_is_not_kept_for_later() {
    let (asks, store, ring, clock, key) = connected().await;
    let manager = asks.manager(&store, &ring, &clock).await;
    *asks.failures.lock() = 5;
    for _ in 0..5 {
        // After five failures the service is left alone.
        clock.advance(HOUR);
        manager.token(&key).await.unwrap_err();
    }
    let error = manager.refresh_with_code(&key, "1234").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenService);
    assert_eq!(asks.seen().len(), 5);
    clock.advance(HOUR);
    let error = manager.token(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserAction);
    assert_eq!(asks.seen().last(), Some(&None));
}

#[tokio::test]
async fn a_code_for_nobody_is_refused() {
    let (asks, store, ring, clock, _) = connected().await;
    let manager = asks.manager(&store, &ring, &clock).await;
    let nobody = GrantKey::new("asks", "nobody");
    let error = manager.refresh_with_code(&nobody, "1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}
