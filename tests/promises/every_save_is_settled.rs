//! Invariants 11 and 12: a save ends in saved, conflict or unknown, and the tokens of an
//! exchange are never lost over it.

use std::time::Duration;

use tests::fake::{Fake, Next};
use tests::flaky::{Flaky, Save};
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, EventKind, GrantKey, KeyRing, MemoryStore, Provider, Recovery, SealedStore,
    TokenManager, Verdict,
};

use crate::support::{HOUR, manager};

struct Shaky {
    manager: TokenManager,
    fake: Fake,
    store: Flaky,
    rows: MemoryStore,
    ring: KeyRing,
    clock: ManualClock,
    key: GrantKey,
}

async fn shaky() -> Shaky {
    let clock = ManualClock::new();
    let rows = MemoryStore::with_clock(clock.clone());
    let store = Flaky::new(rows.clone());
    let fake = Fake::new(HOUR);
    let ring = KeyRing::generate().unwrap();
    let manager = manager(store.clone(), &ring, &fake, &clock).await;
    let key = GrantKey::new("fake", "ada");
    manager.connect(&key, fake.consent()).await.unwrap();
    clock.advance(HOUR);
    Shaky {
        manager,
        fake,
        store,
        rows,
        ring,
        clock,
        key,
    }
}

impl Shaky {
    /// What a process finds that starts over the same rows.
    async fn after_a_restart(&self) -> String {
        let again = manager(self.rows.clone(), &self.ring, &self.fake, &self.clock).await;
        again.token(&self.key).await.unwrap().expose().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_costs_no_token_and_no_exchange() {
    // The first save of a refresh is the intent, the second the tokens.
    for script in [
        vec![Save::LostAck],
        vec![Save::LostWrite],
        vec![Save::FalseConflict],
        vec![Save::Ok, Save::LostAck],
        vec![Save::Ok, Save::LostWrite],
        vec![Save::Ok, Save::LostWrite, Save::LostWrite, Save::LostAck],
        vec![Save::Ok, Save::FalseConflict],
        vec![Save::LostAck, Save::LostAck],
        vec![Save::Ok, Save::Fail, Save::Fail, Save::LostAck],
    ] {
        let shaky = shaky().await;
        shaky.store.script(script.clone());
        let token = shaky.manager.token(&shaky.key).await.unwrap();
        assert_eq!(token.expose(), "a1", "{script:?}");
        shaky
            .manager
            .shutdown(Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(shaky.after_a_restart().await, "a1", "{script:?}");
        assert_eq!(
            (shaky.fake.exchanges(), shaky.fake.reused()),
            (1, 0),
            "{script:?}"
        );
    }
}

#[tokio::test]
async fn nobody_is_served_from_a_token_before_it_is_stored() {
    let shaky = shaky().await;
    // The intent is written, the tokens are not.
    shaky.store.script([Save::Ok, Save::Hold]);
    let caller = tokio::spawn({
        let (manager, key) = (shaky.manager.clone(), shaky.key.clone());
        async move { manager.token(&key).await.unwrap().expose().to_owned() }
    });
    shaky.store.until_held().await;
    let another = tokio::spawn({
        let (manager, key) = (shaky.manager.clone(), shaky.key.clone());
        async move { manager.token(&key).await.unwrap().expose().to_owned() }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shaky.fake.exchanges(), 1);
    assert!(!caller.is_finished() && !another.is_finished());
    shaky.store.release();
    assert_eq!(caller.await.unwrap(), "a1");
    assert_eq!(another.await.unwrap(), "a1");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_stored_is_served_and_the_save_is_tried_until_it_works() {
    let shaky = shaky().await;
    let mut events = shaky.manager.events(64);
    shaky
        .store
        .script([Save::Ok, Save::Fail, Save::Fail, Save::Fail]);
    assert_eq!(
        shaky.manager.token(&shaky.key).await.unwrap().expose(),
        "a1"
    );
    assert!(std::iter::from_fn(|| events.try_next()).any(|e| e.kind == EventKind::SaveFailed));
    // Shutting down waits for it.
    shaky
        .manager
        .shutdown(Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(shaky.after_a_restart().await, "a1");
    assert_eq!(shaky.fake.exchanges(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_could_not_be_stored_by_the_deadline_is_stated_as_lost() {
    let shaky = shaky().await;
    let mut events = shaky.manager.events(1_024);
    shaky.store.script([Save::Ok]);
    shaky.store.script([Save::Fail; 1_000]);
    assert_eq!(
        shaky.manager.token(&shaky.key).await.unwrap().expose(),
        "a1"
    );
    shaky
        .manager
        .shutdown(Duration::from_secs(60))
        .await
        .unwrap_err();
    assert!(std::iter::from_fn(|| events.try_next()).any(|e| e.kind == EventKind::Lost));
}

#[tokio::test]
async fn a_connect_whose_acknowledgement_was_lost_is_a_connect() {
    let shaky = shaky().await;
    for save in [Save::LostAck, Save::LostWrite, Save::FalseConflict] {
        shaky.store.script([save]);
        shaky
            .manager
            .connect(&shaky.key, shaky.fake.consent())
            .await
            .unwrap();
        assert_eq!(
            shaky.manager.token(&shaky.key).await.unwrap().expose(),
            "a0"
        );
        shaky.store.script([save]);
        shaky.manager.disconnect(&shaky.key).await.unwrap();
        shaky.manager.token(&shaky.key).await.unwrap_err();
    }
}

/// Invariant 22: a process refuses a row below what it has seen.
#[tokio::test]
async fn a_store_that_was_rolled_back_is_noticed() {
    let shaky = shaky().await;
    let old = shaky.store.snapshot().await.unwrap();
    assert_eq!(
        shaky.manager.token(&shaky.key).await.unwrap().expose(),
        "a1"
    );
    shaky.store.roll_back(old);
    shaky.clock.advance(HOUR);
    let error = shaky.manager.token(&shaky.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RolledBack);
    // Spending the old refresh token would have ended the grant.
    assert_eq!((shaky.fake.exchanges(), shaky.fake.reused()), (1, 0));
}

#[tokio::test]
async fn a_verdict_whose_acknowledgement_was_lost_is_a_verdict() {
    let shaky = shaky().await;
    let mut events = shaky.manager.events(64);
    shaky.store.script([Save::Ok, Save::LostAck]);
    shaky.fake.script([Next::Fail(Verdict::Dead)]);
    let error = shaky.manager.token(&shaky.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsReauth);
    let seen: Vec<_> = std::iter::from_fn(|| events.try_next())
        .map(|e| e.kind)
        .collect();
    assert!(
        seen.iter()
            .any(|e| matches!(e, EventKind::NeedsReauth { .. })),
        "{seen:?}"
    );
}

/// Only the tokens that wait are good: whatever a sibling made of the old ones meanwhile.
#[tokio::test(start_paused = true)]
async fn tokens_that_wait_to_be_stored_outlive_a_siblings_try_with_the_old_ones() {
    let shaky = shaky().await;
    let others = Fake::new(HOUR);
    others.script([Next::Fail(Verdict::Dead)]);
    let sibling = manager(shaky.rows.clone(), &shaky.ring, &others, &shaky.clock).await;
    shaky.store.script([Save::Ok, Save::Fail, Save::Fail]);
    assert_eq!(
        shaky.manager.token(&shaky.key).await.unwrap().expose(),
        "a1"
    );
    // Past the intent's deadline the sibling tries the spent token, and is refused.
    shaky.clock.advance(Duration::from_secs(40));
    let error = sibling.token(&shaky.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsReauth);

    shaky
        .manager
        .shutdown(Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(sibling.token(&shaky.key).await.unwrap().expose(), "a1");
    assert!(sibling.grants("ada").await.unwrap()[0].can_refresh());
}

/// Nobody says what happened, again and again: that is no reason to spin.
#[tokio::test(start_paused = true)]
async fn a_save_whose_answers_are_lost_for_long_is_tried_at_a_bounded_rate() {
    let shaky = shaky().await;
    let mut events = shaky.manager.events(64);
    shaky.store.script([Save::Ok]);
    shaky.store.script([Save::LostWrite; 30]);
    assert_eq!(
        shaky.manager.token(&shaky.key).await.unwrap().expose(),
        "a1"
    );
    let failed = std::iter::from_fn(|| events.try_next())
        .filter(|event| event.kind == EventKind::SaveFailed)
        .count();
    assert_eq!(failed, 1);
    shaky
        .manager
        .shutdown(Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(shaky.after_a_restart().await, "a1");
}

#[tokio::test(start_paused = true)]
async fn no_more_tokens_wait_in_memory_than_may_and_then_no_exchange_begins() {
    let clock = ManualClock::new();
    let store = Flaky::new(MemoryStore::with_clock(clock.clone()));
    let fake = Fake::new(HOUR);
    let sealed = SealedStore::open(store.clone(), KeyRing::generate().unwrap());
    let manager = TokenManager::builder()
        .store(sealed.await.unwrap())
        .provider(Provider::new("fake", fake.clone()))
        .clock(clock.clone())
        .max_unsaved(2)
        .build()
        .await
        .unwrap();
    let keys: Vec<_> = (0..4)
        .map(|n| GrantKey::new("fake", format!("user-{n}")))
        .collect();
    for key in &keys {
        manager.connect(key, fake.consent()).await.unwrap();
    }
    clock.advance(HOUR);
    for key in &keys[..2] {
        store.script([Save::Ok]);
        store.script([Save::Fail; 4]);
        manager.token(key).await.unwrap();
        // Its further tries come later.
        store.clear();
    }
    store.script([Save::Fail; 1_000]);
    for key in &keys[2..] {
        let error = manager.token(key).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(matches!(error.recovery(), Recovery::Retry { .. }));
    }
    assert_eq!(fake.exchanges(), 2);
    store.clear();
    tokio::time::sleep(Duration::from_secs(6)).await;
    for key in &keys[2..] {
        manager.token(key).await.unwrap();
    }
    assert_eq!(fake.exchanges(), 4);
}

/// Invariant 12: its save goes first, and siblings do not take its exchange for lost.
#[tokio::test(start_paused = true)]
async fn after_an_outage_whoever_holds_tokens_stores_them_before_anybody_spends_the_old_ones() {
    let shaky = shaky().await;
    let sibling = manager(shaky.store.clone(), &shaky.ring, &shaky.fake, &shaky.clock).await;
    shaky.fake.hold();
    let caller = tokio::spawn({
        let (manager, key) = (shaky.manager.clone(), shaky.key.clone());
        async move { manager.token(&key).await.unwrap().expose().to_owned() }
    });
    shaky.fake.begun(1).await;
    shaky.store.down(true);
    shaky.fake.release(1_000);
    assert_eq!(caller.await.unwrap(), "a1");
    let error = sibling.token(&shaky.key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Store);

    // By the end of the outage the intent has long run out.
    shaky.clock.advance(Duration::from_secs(600));
    tokio::time::sleep(Duration::from_secs(601)).await;
    shaky.store.down(false);
    assert_eq!(sibling.token(&shaky.key).await.unwrap().expose(), "a1");
    assert_eq!((shaky.fake.exchanges(), shaky.fake.reused()), (1, 0));
}

/// The next try is not waited for: it might come too late.
#[tokio::test(start_paused = true)]
async fn a_shutdown_has_what_waits_stored_at_once() {
    let shaky = shaky().await;
    shaky.store.script([Save::Ok]);
    shaky.store.script([Save::Fail; 1_000]);
    shaky.manager.token(&shaky.key).await.unwrap();
    // Long enough for the tries to be five seconds apart.
    tokio::time::sleep(Duration::from_secs(60)).await;
    shaky.store.clear();
    let second = Duration::from_secs(1);
    shaky.manager.shutdown(second).await.unwrap();
    assert_eq!(shaky.after_a_restart().await, "a1");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_no_longer_than_its_deadline() {
    let shaky = shaky().await;
    shaky.store.script([Save::Ok]);
    shaky.store.script([Save::Fail; 1_000]);
    shaky.manager.token(&shaky.key).await.unwrap();
    let begun = tokio::time::Instant::now();
    let minute = Duration::from_secs(60);
    shaky.manager.shutdown(minute).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 60);
}
