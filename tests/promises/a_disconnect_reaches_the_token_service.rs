//! Invariant 25: what a disconnected user's service still honours is revoked (RFC 7009), and
//! stays sealed in the mark of the disconnect until then.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tests::fake::Fake;
use tests::flaky::{Flaky, Save};
use tests::oidc::Oidc;
use tokio::sync::watch;
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, EventKind, Events, Grant, GrantKey, KeyRing, MemoryStore, Provider, RefreshError,
    Revoker, SealedStore, Secret, TokenManager, TokenResponse, Verdict,
};

use crate::support::{HOUR, manager_of};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Remembers what it was asked to revoke, and fails as told.
#[derive(Debug, Clone, Default)]
struct Forget {
    asked: Arc<watch::Sender<Vec<String>>>,
    fail: Arc<Mutex<VecDeque<Verdict>>>,
    /// Tokens that are never taken.
    refuse: Arc<Mutex<Vec<String>>>,
    hang: Arc<AtomicBool>,
}

impl Forget {
    fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    async fn until_asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let asked = asked.wait_for(|asked| asked.len() >= times);
        let asked = tokio::time::timeout(HOUR, asked).await;
        asked.expect("it was never asked").unwrap();
        // Until what follows from it is written.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Revoker for Forget {
    async fn revoke(&self, token: &Secret) -> Result<(), RefreshError> {
        self.asked
            .send_modify(|asked| asked.push(token.expose().to_owned()));
        if self.hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.refuse.lock().iter().any(|t| t == token.expose()) {
            return Err(RefreshError::new(Verdict::Misconfigured, "as told"));
        }
        match self.fail.lock().pop_front() {
            Some(verdict) => Err(RefreshError::new(verdict, "as told")),
            None => Ok(()),
        }
    }
}

struct Rig {
    manager: TokenManager,
    fake: Fake,
    forget: Forget,
    store: Flaky,
    ring: KeyRing,
    clock: ManualClock,
    key: GrantKey,
    events: Events,
}

impl Rig {
    async fn connected() -> Self {
        let clock = ManualClock::new();
        let store = Flaky::new(MemoryStore::with_clock(clock.clone()));
        let (fake, forget) = (Fake::new(HOUR), Forget::default());
        let ring = KeyRing::generate().unwrap();
        let manager = revoking(&store, &ring, &fake, &forget, &clock).await;
        let key = GrantKey::new("fake", "ada");
        manager.connect(&key, fake.consent()).await.unwrap();
        Self {
            events: manager.events(64),
            manager,
            fake,
            forget,
            store,
            ring,
            clock,
            key,
        }
    }

    fn seen(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.events.try_next())
            .map(|event| event.kind)
            .collect()
    }
}

async fn revoking(
    store: &Flaky,
    ring: &KeyRing,
    fake: &Fake,
    forget: &Forget,
    clock: &ManualClock,
) -> TokenManager {
    let provider = Provider::new("fake", fake.clone()).revoker(forget.clone());
    manager_of(store.clone(), ring, provider, clock).await
}

#[tokio::test(start_paused = true)]
async fn the_refresh_token_is_revoked_once_the_mark_is_stored() {
    let mut rig = Rig::connected().await;
    rig.store.script([Save::Hold]);
    let leaving = tokio::spawn({
        let (manager, key) = (rig.manager.clone(), rig.key.clone());
        async move { manager.disconnect(&key).await }
    });
    rig.store.until_held().await;
    assert!(rig.forget.asked().is_empty(), "told before it was stored");
    rig.store.release();
    leaving.await.unwrap().unwrap();
    rig.forget.until_asked(1).await;
    assert_eq!(rig.forget.asked(), ["r0"]);
    assert!(rig.seen().contains(&EventKind::Revoked));
    // Nothing is left to do but to remove the mark one day.
    rig.clock.advance(WEEK);
    assert!(rig.manager.sweep().await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_grant_without_a_refresh_token_has_its_access_token_revoked() {
    let rig = Rig::connected().await;
    rig.manager
        .connect(&rig.key, TokenResponse::new("bare"))
        .await
        .unwrap();
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(1).await;
    assert_eq!(rig.forget.asked(), ["bare"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_told_is_told_again_and_after_a_week_no_more() {
    let mut rig = Rig::connected().await;
    rig.forget.fail.lock().extend([Verdict::Ambiguous; 1_000]);
    rig.manager.disconnect(&rig.key).await.unwrap();
    for _ in 0..8 * 24 {
        rig.clock.advance(HOUR);
        tokio::time::sleep(Duration::from_secs(61)).await;
    }
    let tries = rig.forget.asked().len();
    // At once, and then every hour of a week.
    assert!((150..=171).contains(&tries), "{tries}");
    let seen = rig.seen();
    assert!(seen.contains(&EventKind::RevocationFailed), "{seen:?}");
    assert!(!seen.contains(&EventKind::Revoked), "{seen:?}");
}

/// A service that says the token is no good has done what was wanted.
#[tokio::test(start_paused = true)]
async fn a_token_that_is_dead_already_is_revoked() {
    let mut rig = Rig::connected().await;
    rig.forget.fail.lock().push_back(Verdict::Dead);
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(1).await;
    assert!(rig.seen().contains(&EventKind::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_before_it_told_the_service_leaves_that_to_the_next() {
    let rig = Rig::connected().await;
    rig.forget.fail.lock().push_back(Verdict::Ambiguous);
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(1).await;
    drop(rig.manager);
    let _next = revoking(&rig.store, &rig.ring, &rig.fake, &rig.forget, &rig.clock).await;
    rig.clock.advance(HOUR);
    rig.forget.until_asked(2).await;
    assert_eq!(rig.forget.asked(), ["r0", "r0"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_refresh_brings_after_the_disconnect_is_revoked_as_well() {
    for saves in [
        vec![],
        vec![Save::Fail],
        vec![Save::LostAck],
        vec![Save::Ok, Save::Fail, Save::Fail],
        vec![Save::Ok, Save::LostAck],
    ] {
        let mut rig = Rig::connected().await;
        rig.clock.advance(HOUR - Duration::from_secs(240));
        rig.fake.hold();
        rig.manager.token(&rig.key).await.unwrap();
        rig.fake.begun(1).await;
        rig.manager.disconnect(&rig.key).await.unwrap();
        rig.forget.until_asked(1).await;
        rig.store.script(saves.clone());
        rig.fake.release(1);
        rig.forget.until_asked(2).await;
        let asked = rig.forget.asked();
        assert_eq!(asked, ["r0", "r1"], "{saves:?}");
        assert!(rig.seen().contains(&EventKind::Discarded), "{saves:?}");
        let error = rig.manager.token(&rig.key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected, "{saves:?}");
        rig.manager.shutdown(HOUR).await.unwrap();
        rig.clock.advance(WEEK);
        let next = revoking(&rig.store, &rig.ring, &rig.fake, &rig.forget, &rig.clock).await;
        assert!(next.sweep().await.unwrap().items.is_empty(), "{saves:?}");
    }
}

/// Revoking at most services ends all of the user's tokens, and the new ones are theirs.
#[tokio::test(start_paused = true)]
async fn what_a_refresh_brings_after_a_new_connect_is_left_alone() {
    let rig = Rig::connected().await;
    rig.clock.advance(HOUR - Duration::from_secs(240));
    rig.fake.hold();
    rig.manager.token(&rig.key).await.unwrap();
    rig.fake.begun(1).await;
    let anew = TokenResponse::new("anew").refresh_token("other");
    rig.manager.connect(&rig.key, anew).await.unwrap();
    rig.fake.release(1);
    rig.manager.shutdown(HOUR).await.unwrap();
    assert!(rig.forget.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_not_revoked_nor_what_a_refresh_brings_after_it() {
    let rig = Rig::connected().await;
    rig.clock.advance(HOUR - Duration::from_secs(240));
    rig.fake.hold();
    rig.manager.token(&rig.key).await.unwrap();
    rig.fake.begun(1).await;
    rig.manager.forget(&rig.key).await.unwrap();
    rig.fake.release(1);
    let error = rig.manager.token(&rig.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    rig.manager.shutdown(HOUR).await.unwrap();
    let again = revoking(&rig.store, &rig.ring, &rig.fake, &rig.forget, &rig.clock).await;
    rig.clock.advance(WEEK);
    again.sweep().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(rig.forget.asked().is_empty());
    // Whoever connects again is nobody who was forgotten.
    again.connect(&rig.key, rig.fake.consent()).await.unwrap();
    assert!(again.grants("ada").await.unwrap()[0].metadata().is_empty());
    again.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(1).await;
    assert_eq!(rig.forget.asked(), ["r0"]);
}

/// Wants both tokens of a grant, and the second try of one by another name.
#[derive(Clone)]
struct Both(Forget);

impl Revoker for Both {
    async fn revoke(&self, token: &Secret) -> Result<(), RefreshError> {
        let revoked = self.0.revoke(token).await;
        revoked.map_err(|error| match error.verdict() {
            Verdict::Ambiguous => error.continuation("instead"),
            _ => error,
        })
    }

    fn revocable(&self, grant: &Grant) -> Vec<Secret> {
        let access = grant
            .access_token()
            .map(|token| Secret::from(token.expose()));
        grant
            .refresh_token()
            .cloned()
            .into_iter()
            .chain(access)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoker_says_what_there_is_to_revoke_and_what_is_left_of_it() {
    let rig = Rig::connected().await;
    let provider = Provider::new("fake", rig.fake.clone()).revoker(Both(rig.forget.clone()));
    let manager = manager_of(rig.store.clone(), &rig.ring, provider, &rig.clock).await;
    *rig.forget.fail.lock() = VecDeque::from([Verdict::Ambiguous, Verdict::Misconfigured]);
    manager.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(2).await;
    assert_eq!(rig.forget.asked(), ["r0", "a0"]);
    rig.clock.advance(Duration::from_secs(60));
    manager.sweep().await.unwrap();
    rig.forget.until_asked(4).await;
    assert_eq!(rig.forget.asked()[2..], ["instead", "a0"]);
    // Both are done with.
    rig.clock.advance(WEEK);
    manager.sweep().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.forget.asked().len(), 4);
}

/// A service that rotates what it is asked with would end the grant over the second.
#[tokio::test(start_paused = true)]
async fn no_token_is_sent_again_while_the_first_try_is_under_way() {
    let rig = Rig::connected().await;
    rig.forget.hang.store(true, Ordering::Relaxed);
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(1).await;
    rig.clock.advance(Duration::from_secs(120));
    rig.manager.sweep().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.forget.asked(), ["r0"]);
    // It is given up in the end.
    rig.forget.hang.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(20)).await;
    rig.clock.advance(Duration::from_secs(120));
    rig.manager.sweep().await.unwrap();
    rig.forget.until_asked(2).await;
    assert_eq!(rig.forget.asked(), ["r0", "r0"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_token_is_noted_though_its_row_has_changed() {
    let rig = Rig::connected().await;
    let provider = Provider::new("fake", rig.fake.clone()).revoker(Both(rig.forget.clone()));
    let manager = manager_of(rig.store.clone(), &rig.ring, provider, &rig.clock).await;
    rig.clock.advance(HOUR - Duration::from_secs(240));
    rig.fake.hold();
    manager.token(&rig.key).await.unwrap();
    rig.fake.begun(1).await;
    rig.forget.fail.lock().push_back(Verdict::Ambiguous);
    rig.store.script([Save::Ok, Save::Hold]);
    manager.disconnect(&rig.key).await.unwrap();
    rig.store.until_held().await;
    assert_eq!(rig.forget.asked(), ["r0", "a0"]);
    // What a refresh has brought joins the mark before that is noted.
    let mut events = manager.events(16);
    rig.fake.release(1);
    while events.next().await.unwrap().kind != EventKind::Discarded {}
    rig.store.release();
    rig.forget.until_asked(5).await;
    assert_eq!(rig.forget.asked()[2..], ["instead", "r1", "a1"]);
    rig.clock.advance(WEEK);
    manager.sweep().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.forget.asked().len(), 5);
}

/// One that is never taken keeps no other from being revoked.
#[tokio::test(start_paused = true)]
async fn each_token_is_revoked_by_itself() {
    let rig = Rig::connected().await;
    rig.forget.refuse.lock().push(String::from("r0"));
    rig.clock.advance(HOUR - Duration::from_secs(240));
    rig.fake.hold();
    rig.manager.token(&rig.key).await.unwrap();
    rig.fake.begun(1).await;
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(1).await;
    rig.fake.release(1);
    rig.forget.until_asked(3).await;
    rig.clock.advance(HOUR);
    rig.forget.until_asked(4).await;
    assert_eq!(rig.forget.asked(), ["r0", "r0", "r1", "r0"]);
}

/// A revocation endpoint that hangs has no part in whether tokens are refreshed, or a
/// process ends.
#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_over_revocations_keeps_nobody_from_anything() {
    let rig = Rig::connected().await;
    rig.forget.hang.store(true, Ordering::Relaxed);
    for n in 0..128 {
        let key = GrantKey::new("fake", format!("user-{n}"));
        rig.manager.connect(&key, rig.fake.consent()).await.unwrap();
        rig.manager.disconnect(&key).await.unwrap();
    }
    let idle = GrantKey::new("fake", "idle");
    let response = rig.fake.consent().refresh_token_expires_in(HOUR);
    rig.manager.connect(&idle, response).await.unwrap();
    rig.clock.advance(HOUR - Duration::from_secs(600));
    let begun = tokio::time::Instant::now();
    let longer = Duration::from_secs(3_000);
    rig.manager.token_valid_for(&rig.key, longer).await.unwrap();
    assert_eq!(rig.fake.exchanges(), 1);
    assert_eq!(begun.elapsed().as_secs(), 0);
    // The sweeper gets past the marks that are due.
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(rig.fake.exchanges(), 2);
    let grants = rig.manager.grants("idle").await.unwrap();
    assert!(grants[0].refreshed_at() > grants[0].connected_at());
    rig.manager.shutdown(Duration::from_secs(1)).await.unwrap();
}

/// Their old tokens cannot be told from the new ones at most services.
#[tokio::test(start_paused = true)]
async fn whoever_comes_back_before_the_service_was_told_keeps_the_new_tokens() {
    let mut rig = Rig::connected().await;
    rig.forget.fail.lock().push_back(Verdict::Ambiguous);
    rig.manager.disconnect(&rig.key).await.unwrap();
    rig.forget.until_asked(1).await;
    rig.manager
        .connect(&rig.key, rig.fake.consent())
        .await
        .unwrap();
    assert!(rig.seen().contains(&EventKind::RevocationFailed));
    rig.clock.advance(HOUR);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.forget.asked(), ["r0"]);
}

#[tokio::test]
async fn a_real_server_no_longer_takes_the_tokens_of_a_user_who_left() {
    let oidc = Oidc::start(60).await.unwrap();
    let provider = oidc
        .provider()
        .revocation_endpoint(oidc.url("/token/revocation"));
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate().unwrap());
    let manager = TokenManager::builder()
        .store(store.await.unwrap())
        .provider(provider)
        .build()
        .await
        .unwrap();
    let (key, tokens) = oidc.connect(&manager, "ada").await.unwrap();
    let events = manager.events(64);
    manager.disconnect(&key).await.unwrap();
    let mut revoked = events.filter(|event| ready(event.kind == EventKind::Revoked));
    revoked.next().await.unwrap();
    let counts = oidc.counts().await.unwrap();
    assert_eq!(counts["grants_revoked"], 1, "{counts}");
    let access = tokens["access_token"].as_str().unwrap();
    assert!(!oidc.accepts(access).await.unwrap());
}
