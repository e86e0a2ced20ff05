//! A token service that wants a second factor gets it, and what it wants back with it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tests::fake::Fake;
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, GrantKey, GrantState, KeyRing, MemoryStore, Provider, RefreshError, RefreshRequest,
    Refresher, TokenResponse, Verdict,
};

use crate::support::{HOUR, manager_of};

/// Wants the code 1234 and the continuation `half` with every refresh.
#[derive(Clone, Default)]
struct Asks(Arc<Mutex<Vec<Option<String>>>>);

impl Refresher for Asks {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let code = request.user_code().map(|code| code.expose().to_owned());
        self.0.lock().push(code.clone());
        let continued = request.continuation().map(|half| half.expose().to_owned());
        match (code.as_deref(), continued.as_deref()) {
            (Some("1234"), Some("half")) => Fake::new(HOUR).refresh(request).await,
            _ => {
                Err(RefreshError::new(Verdict::UserAction, "a code was sent").continuation("half"))
            }
        }
    }
}

#[tokio::test]
async fn a_code_goes_with_one_refresh_and_is_not_kept() {
    let (asks, clock, ring) = (
        Asks::default(),
        ManualClock::new(),
        KeyRing::generate().unwrap(),
    );
    let store = MemoryStore::with_clock(clock.clone());
    let manager = async || {
        let provider = Provider::new("asks", asks.clone());
        manager_of(store.clone(), &ring, provider, &clock).await
    };
    let (first, key) = (manager().await, GrantKey::new("asks", "ada"));
    let consent = TokenResponse::new("a").refresh_token("r").expires_in(HOUR);
    first.connect(&key, consent).await.unwrap();
    clock.advance(HOUR);

    let error = first.token(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserAction);
    let state = first.grants("ada").await.unwrap()[0].state();
    assert_eq!(state, GrantState::Active);

    // The user answers to another instance, which has to know how far it went.
    let second = manager().await;
    let error = second.refresh_with_code(&key, "9999").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserAction);
    second.refresh_with_code(&key, "1234").await.unwrap();
    assert!(second.token(&key).await.is_ok());
    let sent = |code: &str| Some(code.to_owned());
    assert_eq!(*asks.0.lock(), [None, sent("9999"), sent("1234")]);

    // What was good once is not sent again.
    clock.advance(HOUR + Duration::from_secs(1));
    let error = second.token(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserAction);
    assert_eq!(asks.0.lock().last(), Some(&None));
}

#[tokio::test]
async fn a_code_that_was_not_needed_is_not_kept_for_later() {
    let (asks, clock, ring) = (
        Asks::default(),
        ManualClock::new(),
        KeyRing::generate().unwrap(),
    );
    let store = MemoryStore::with_clock(clock.clone());
    let manager = async || {
        let provider = Provider::new("asks", asks.clone());
        manager_of(store.clone(), &ring, provider, &clock).await
    };
    let (first, second, key) = (
        manager().await,
        manager().await,
        GrantKey::new("asks", "ada"),
    );
    let consent = TokenResponse::new("a").refresh_token("r").expires_in(HOUR);
    first.connect(&key, consent).await.unwrap();
    second.token(&key).await.unwrap();
    clock.advance(HOUR);
    first.token(&key).await.unwrap_err();
    first.refresh_with_code(&key, "1234").await.unwrap();
    let exchanges = asks.0.lock().len();
    // What the other instance got is found in the store.
    second.refresh_with_code(&key, "5678").await.unwrap();
    assert_eq!(asks.0.lock().len(), exchanges);
    clock.advance(HOUR);
    second.token(&key).await.unwrap_err();
    assert_eq!(asks.0.lock().last(), Some(&None));
}

#[tokio::test]
async fn a_code_for_nobody_is_refused() {
    let (clock, ring) = (ManualClock::new(), KeyRing::generate().unwrap());
    let store = MemoryStore::with_clock(clock.clone());
    let provider = Provider::new("asks", Asks::default());
    let manager = manager_of(store, &ring, provider, &clock).await;
    let nobody = GrantKey::new("asks", "nobody");
    let error = manager.refresh_with_code(&nobody, "1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}
