//! Invariant 19: a refresh token that nobody uses is renewed before it dies; what can never
//! be used again is marked, and removed a month later.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tower_token::testkit::ManualClock;
use tower_token::{
    Clock as _, ErrorKind, Event, EventKind, Events, GrantKey, GrantState, KeyRing, MemoryStore,
    Provider, ReauthReason, RefreshError, RefreshRequest, Refresher, SealedStore, SweepAction,
    Timestamp, TokenManager, TokenResponse, Verdict,
};

use crate::support::{HOUR, manager_of};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// What is kept of a grant that needs its user.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How long the refresh tokens of a service last.
#[derive(Debug, Clone, Copy)]
enum Ends {
    /// A week after each refresh.
    Sliding,
    /// The same, and its answers do not say so.
    SlidingUnsaid,
    /// A week after the connect.
    Absolute,
}

/// A token service whose refresh tokens end.
#[derive(Debug, Clone)]
struct Idle {
    clock: ManualClock,
    ends: Ends,
    books: Arc<Mutex<Books>>,
}

#[derive(Debug)]
struct Books {
    /// The one refresh token that is good, and until when.
    good: (String, Timestamp),
    exchanges: u32,
    asked_to_renew: u32,
}

impl Idle {
    fn new(clock: &ManualClock, ends: Ends) -> Self {
        Self {
            clock: clock.clone(),
            ends,
            books: Arc::new(Mutex::new(Books {
                good: (String::from("r0"), clock.now() + WEEK),
                exchanges: 0,
                asked_to_renew: 0,
            })),
        }
    }

    fn answer(&self, books: &Books) -> TokenResponse {
        let response = TokenResponse::new(format!("a{}", books.exchanges))
            .refresh_token(books.good.0.as_str())
            .expires_in(HOUR);
        match self.ends {
            Ends::SlidingUnsaid => response,
            Ends::Sliding | Ends::Absolute => {
                response.refresh_token_expires_in(books.good.1.since(self.clock.now()))
            }
        }
    }

    fn consent(&self) -> TokenResponse {
        self.answer(&self.books.lock())
    }

    fn exchanges(&self) -> u32 {
        self.books.lock().exchanges
    }
}

impl Refresher for Idle {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let now = self.clock.now();
        let mut books = self.books.lock();
        books.exchanges += 1;
        books.asked_to_renew += u32::from(request.renew_refresh_token());
        let (token, until) = books.good.clone();
        if request.refresh_token().expose() != token || now >= until {
            return Err(RefreshError::new(Verdict::Dead, "ended"));
        }
        let until = match self.ends {
            Ends::Absolute => until,
            Ends::Sliding | Ends::SlidingUnsaid => now + WEEK,
        };
        books.good = (format!("r{}", books.exchanges), until);
        Ok(self.answer(&books))
    }
}

struct Rig {
    manager: TokenManager,
    service: Idle,
    clock: ManualClock,
    store: MemoryStore,
    ring: KeyRing,
    key: GrantKey,
    events: Events,
}

async fn rig(ends: Ends) -> Rig {
    let clock = ManualClock::new();
    let service = Idle::new(&clock, ends);
    let store = MemoryStore::with_clock(clock.clone());
    let ring = KeyRing::generate().unwrap();
    let mut provider = Provider::new("idle", service.clone());
    if let Ends::SlidingUnsaid = ends {
        provider = provider.refresh_token_idle_lifetime(WEEK);
    }
    let manager = manager_of(store.clone(), &ring, provider, &clock).await;
    let key = GrantKey::new("idle", "ada");
    manager.connect(&key, service.consent()).await.unwrap();
    Rig {
        events: manager.events(1_024),
        manager,
        service,
        clock,
        store,
        ring,
        key,
    }
}

impl Rig {
    /// Lets time pass without a request; the sweeper comes by every hour of it.
    async fn idle(&self, days: u32) {
        for _ in 0..24 * days {
            self.clock.advance(HOUR);
            // Tokio's time, which is paused: the sweeper's minute is over at once.
            tokio::time::sleep(Duration::from_secs(61)).await;
        }
    }

    fn seen(&mut self) -> Vec<EventKind> {
        let events = std::iter::from_fn(|| self.events.try_next());
        events.map(|event: Event| event.kind).collect()
    }

    async fn state(&self) -> Option<GrantState> {
        let grants = self.manager.grants("ada").await.unwrap();
        grants.first().map(tower_token::Grant::state)
    }
}

#[tokio::test(start_paused = true)]
async fn thirty_idle_days_at_a_service_whose_week_slides_are_survived() {
    for ends in [Ends::Sliding, Ends::SlidingUnsaid] {
        let rig = rig(ends).await;
        rig.idle(30).await;
        let exchanges = rig.service.exchanges();
        // Every five days and a bit, and not at every sweep.
        assert!((5..=6).contains(&exchanges), "{ends:?}: {exchanges}");
        assert_eq!(rig.service.books.lock().asked_to_renew, exchanges);
        let token = rig.manager.token(&rig.key).await.unwrap();
        assert_eq!(token.expose(), format!("a{}", exchanges + 1), "{ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_week_that_does_not_slide_is_tried_once_and_said_before_it_ends() {
    let mut rig = rig(Ends::Absolute).await;
    let end = rig.clock.now() + WEEK;
    rig.idle(6).await;
    assert_eq!(rig.service.exchanges(), 1);
    // Whoever uses it meanwhile is not told again and again.
    rig.manager.token(&rig.key).await.unwrap();
    let seen = rig.seen();
    let told = |kind: &&EventKind| matches!(kind, EventKind::ReconnectBy { .. });
    assert_eq!(seen.iter().filter(told).count(), 1);
    let said = seen.into_iter().find_map(|kind| match kind {
        EventKind::ReconnectBy { by, .. } => Some(by),
        _ => None,
    });
    assert_eq!(said, Some(end));
    let grants = rig.manager.grants("ada").await.unwrap();
    assert_eq!(grants[0].reconnect_by(), Some(end));
    assert_eq!(grants[0].state(), GrantState::Active);
    let report = rig.manager.sweep_dry_run().await.unwrap();
    assert_eq!(report.items[0].action, SweepAction::ReconnectBy(end));

    rig.idle(24).await;
    assert_eq!(rig.service.exchanges(), 2, "one for the caller");
    let reason = match rig.state().await {
        Some(GrantState::NeedsReauth { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason, ReauthReason::RefreshTokenExpired);
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsReauth);
}

/// The clock may be wrong, or the service may have left out that it moved the end.
#[tokio::test(start_paused = true)]
async fn an_end_that_has_passed_is_tried_before_it_is_believed() {
    for (good_until, lives) in [(60 * DAY, true), (WEEK, false)] {
        let rig = rig(Ends::Sliding).await;
        rig.service.books.lock().good.1 = rig.clock.now() + good_until;
        rig.clock.advance(31 * DAY);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(rig.service.exchanges(), 1);
        let state = rig.state().await.unwrap();
        assert_eq!(state == GrantState::Active, lives, "{state:?}");
    }
}

/// A token that nobody said ends is not forgotten while it may be in use.
#[tokio::test(start_paused = true)]
async fn a_dead_grant_whose_access_token_has_no_end_is_kept() {
    let rig = rig(Ends::Sliding).await;
    let endless = GrantKey::new("idle", "endless");
    let response = TokenResponse::new("t").refresh_token("gone");
    let response = response.refresh_token_expires_in(WEEK);
    rig.manager.connect(&endless, response).await.unwrap();
    rig.idle(10).await;
    let grants = rig.manager.grants("endless").await.unwrap();
    assert!(matches!(grants[0].state(), GrantState::NeedsReauth { .. }));
    rig.clock.advance(3 * MONTH);
    rig.idle(1).await;
    assert_eq!(rig.manager.token(&endless).await.unwrap().expose(), "t");
}

/// After a long stop much is due at once; it is not done at once.
#[tokio::test(start_paused = true)]
async fn what_is_due_after_a_start_is_spread() {
    let rig = rig(Ends::Sliding).await;
    for n in 0..600 {
        let key = GrantKey::new("idle", format!("user-{n}"));
        let response = TokenResponse::new("t").expires_in(HOUR);
        rig.manager.connect(&key, response).await.unwrap();
    }
    rig.manager.shutdown(HOUR).await.unwrap();
    rig.clock.advance(2 * HOUR);
    let provider = Provider::new("idle", rig.service.clone());
    let manager = manager_of(rig.store.clone(), &rig.ring, provider, &rig.clock).await;
    let mut marked = Vec::new();
    let mut events = manager.events(4_096);
    for _ in 0..10 {
        // Less than there is between two sweeps.
        tokio::time::sleep(Duration::from_secs(44)).await;
        let of_round = std::iter::from_fn(|| events.try_next()).count();
        marked.push(of_round);
    }
    assert!(marked.iter().all(|of_round| *of_round <= 256), "{marked:?}");
    assert_eq!(marked.iter().sum::<usize>(), 600);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_used_again_is_marked_and_a_month_later_removed() {
    let mut rig = rig(Ends::Sliding).await;
    let bare = GrantKey::new("idle", "bare");
    let response = TokenResponse::new("t").expires_in(HOUR);
    rig.manager.connect(&bare, response).await.unwrap();
    let endless = GrantKey::new("idle", "endless");
    rig.manager
        .connect(&endless, TokenResponse::new("t"))
        .await
        .unwrap();
    rig.idle(1).await;
    let grants = rig.manager.grants("bare").await.unwrap();
    assert!(
        matches!(grants[0].state(), GrantState::NeedsReauth { reason, .. }
            if reason == ReauthReason::NoRefreshToken)
    );
    let marked = |kind: &EventKind| matches!(kind, EventKind::NeedsReauth { reason, .. } if *reason == ReauthReason::NoRefreshToken);
    assert_eq!(rig.seen().iter().filter(|kind| marked(kind)).count(), 1);
    let error = rig.manager.token(&bare).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsReauth);

    rig.clock.advance(MONTH - 2 * DAY);
    rig.idle(1).await;
    assert_eq!(rig.manager.grants("bare").await.unwrap().len(), 1);
    rig.idle(1).await;
    assert!(rig.manager.grants("bare").await.unwrap().is_empty());
    // One that may be good for all that is known is never removed.
    rig.idle(60).await;
    assert_eq!(rig.manager.token(&endless).await.unwrap().expose(), "t");
}

#[tokio::test(start_paused = true)]
async fn the_mark_of_a_disconnect_is_removed_after_a_month_and_not_before() {
    let rig = rig(Ends::Sliding).await;
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.clock.advance(MONTH - HOUR);
    assert!(rig.manager.sweep().await.unwrap().items.is_empty());
    rig.clock.advance(HOUR);
    let planned = rig.manager.sweep_dry_run().await.unwrap();
    assert_eq!(planned.items[0].action, SweepAction::Purge);
    assert_eq!(planned.items[0].key, rig.key);
    let done = rig.manager.sweep().await.unwrap();
    assert_eq!((done.examined, done.items.len()), (1, 1));
    assert!(done.items[0].error.is_none());
    assert_eq!(rig.manager.sweep().await.unwrap().examined, 0);
    // Connecting again is possible, and not taken for the past.
    rig.manager
        .connect(&rig.key, rig.service.consent())
        .await
        .unwrap();
    rig.manager.token(&rig.key).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_setting_that_comes_later_counts_from_the_next_sweep_on() {
    let rig = rig(Ends::SlidingUnsaid).await;
    // Another instance, whose provider knows nothing of a week: its rows are never due.
    let unaware = manager_of(
        rig.store.clone(),
        &rig.ring,
        Provider::new("idle", rig.service.clone()),
        &rig.clock,
    )
    .await;
    let bob = GrantKey::new("idle", "bob");
    unaware.connect(&bob, rig.service.consent()).await.unwrap();
    let mut planned = rig.manager.sweep_dry_run().await.unwrap();
    assert!(planned.items.is_empty(), "{planned:?}");
    // The sweep files the row that was not due.
    rig.manager.sweep().await.unwrap();
    rig.clock.advance(6 * DAY);
    planned = rig.manager.sweep_dry_run().await.unwrap();
    let actions: Vec<_> = planned.items.iter().map(|item| item.action).collect();
    assert_eq!(actions, [SweepAction::Renew; 2]);
    assert_eq!(rig.service.exchanges(), 0, "a dry run does nothing");
    // The other instance may be given the rows first, and sees no reason: it leaves them.
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(61)).await;
        rig.clock.advance(Duration::from_secs(61));
    }
    // The service knows one refresh token, so one of the two was refused.
    assert_eq!(rig.service.exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_sweeper_idle_grants_are_left_alone() {
    let rig = rig(Ends::Sliding).await;
    rig.manager.shutdown(HOUR).await.unwrap();
    let store = SealedStore::open(rig.store.clone(), rig.ring.clone());
    let manager = TokenManager::builder()
        .store(store.await.unwrap())
        .provider(Provider::new("idle", rig.service.clone()))
        .clock(rig.clock.clone())
        .without_sweeper()
        .build()
        .await
        .unwrap();
    rig.idle(6).await;
    assert_eq!(rig.service.exchanges(), 0);
    manager.sweep().await.unwrap();
    assert_eq!(rig.service.exchanges(), 1);
}

/// Two instances over one store share the work.
#[tokio::test(start_paused = true)]
async fn a_grant_is_renewed_by_one_of_two_instances() {
    let rig = rig(Ends::Sliding).await;
    let provider = Provider::new("idle", rig.service.clone());
    let sibling = manager_of(rig.store.clone(), &rig.ring, provider, &rig.clock).await;
    rig.idle(6).await;
    assert_eq!(rig.service.exchanges(), 1);
    drop(sibling);
}

/// A service that is away for a while costs nothing but its own time.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again() {
    #[derive(Clone)]
    struct Away(Idle, Arc<Mutex<u32>>);
    impl Refresher for Away {
        async fn refresh(
            &self,
            request: RefreshRequest<'_>,
        ) -> Result<TokenResponse, RefreshError> {
            *self.1.lock() += 1;
            if *self.1.lock() <= 20 {
                let verdict = Verdict::Transient { retry_after: None };
                return Err(RefreshError::new(verdict, "away"));
            }
            self.0.refresh(request).await
        }
    }
    let clock = ManualClock::new();
    let service = Away(Idle::new(&clock, Ends::Sliding), Arc::default());
    let store = MemoryStore::with_clock(clock.clone());
    let ring = KeyRing::generate().unwrap();
    let manager = manager_of(store, &ring, Provider::new("idle", service.clone()), &clock).await;
    let key = GrantKey::new("idle", "ada");
    manager.connect(&key, service.0.consent()).await.unwrap();
    for _ in 0..24 * 8 {
        clock.advance(HOUR);
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    assert_eq!(service.0.exchanges(), 1);
    manager.token(&key).await.unwrap();

    // Nor does it cost the grant if it is away, and left alone, when the clock says that the
    // end has passed: nobody has asked whether it has.
    *service.1.lock() = 0;
    service.0.books.lock().good.1 = clock.now() + 60 * DAY;
    clock.advance(31 * DAY);
    for _ in 0..30 {
        clock.advance(Duration::from_secs(61));
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    assert_eq!(
        manager.grants("ada").await.unwrap()[0].state(),
        GrantState::Active
    );
    manager.token(&key).await.unwrap();
}

#[tokio::test]
async fn a_manager_that_is_dropped_takes_its_sweeper_with_it() {
    let rig = rig(Ends::Sliding).await;
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert!(before > 0);
    drop(rig.manager);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let after = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(after, before - 1);
}
