//! What is done about a refresh whose answer was lost, by what its service does with a
//! refresh token that comes twice.

use std::time::Duration;

use tests::fake::{Fake, Next};
use tower_token::testkit::ManualClock;
use tower_token::{
    EventKind, GrantKey, KeyRing, MemoryStore, Provider, Rotation, TokenManager, Verdict,
};

use crate::support::{HOUR, manager_of};

struct Lossy {
    manager: TokenManager,
    fake: Fake,
    clock: ManualClock,
    key: GrantKey,
    store: MemoryStore,
    ring: KeyRing,
    rotation: Rotation,
}

impl Lossy {
    async fn new(rotation: Rotation) -> Self {
        let clock = ManualClock::new();
        let store = MemoryStore::with_clock(clock.clone());
        let ring = KeyRing::generate().unwrap();
        let fake = Fake::new(HOUR);
        let provider = Provider::new("fake", fake.clone()).rotation(rotation);
        let manager = manager_of(store.clone(), &ring, provider, &clock).await;
        let key = GrantKey::new("fake", "ada");
        manager.connect(&key, fake.consent()).await.unwrap();
        clock.advance(Duration::from_secs(3_600 - 240));
        Self {
            manager,
            fake,
            clock,
            key,
            store,
            ring,
            rotation,
        }
    }

    async fn token(&self) -> String {
        self.manager
            .token(&self.key)
            .await
            .unwrap()
            .expose()
            .to_owned()
    }

    async fn restarted(&self) -> TokenManager {
        let provider = Provider::new("fake", self.fake.clone()).rotation(self.rotation);
        manager_of(self.store.clone(), &self.ring, provider, &self.clock).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_reusable_token_is_sent_again_at_once() {
    let lossy = Lossy::new(Rotation::Reusable).await;
    let mut events = lossy.manager.events(64);
    lossy.fake.script([
        Next::Fail(Verdict::Ambiguous),
        Next::Fail(Verdict::Ambiguous),
    ]);
    assert_eq!(lossy.token().await, "a0");
    lossy.fake.begun(3).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lossy.token().await, "a3");
    let failed = |kind: &EventKind| matches!(kind, EventKind::RefreshFailed { .. });
    assert!(!std::iter::from_fn(|| events.try_next()).any(|event| failed(&event.kind)));
}

#[tokio::test(start_paused = true)]
async fn within_a_grace_period_it_is_sent_again_and_after_it_no_more() {
    let lossy = Lossy::new(Rotation::Grace(Duration::from_secs(10))).await;
    lossy.fake.script([Next::Fail(Verdict::Ambiguous)]);
    assert_eq!(lossy.token().await, "a0");
    lossy.fake.begun(2).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lossy.token().await, "a2");

    // The next one is lost, and so is all that is tried for it until the period is over.
    lossy.clock.advance(Duration::from_secs(3_600 - 240));
    lossy.fake.hold();
    lossy.fake.script([Next::Fail(Verdict::Ambiguous)]);
    assert_eq!(lossy.token().await, "a2");
    lossy.fake.begun(3).await;
    lossy.clock.advance(Duration::from_secs(10));
    lossy.fake.release(usize::from(u16::MAX));
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        lossy.clock.advance(Duration::from_secs(1));
        assert_eq!(lossy.token().await, "a2");
    }
    assert_eq!(lossy.fake.exchanges(), 3);
}

/// The recorded start is that of the first try, whoever makes the next.
#[tokio::test(start_paused = true)]
async fn a_process_that_starts_again_goes_on_within_the_grace_period() {
    for (away, exchanges) in [(Duration::from_secs(6), 2), (Duration::from_secs(11), 1)] {
        let lossy = Lossy::new(Rotation::Grace(Duration::from_secs(10))).await;
        lossy.fake.script([Next::Panic]);
        assert_eq!(lossy.token().await, "a0");
        lossy.fake.begun(1).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        // Killed in its exchange; the lease and the intent's deadline have run out since.
        lossy.clock.advance(away);
        let again = lossy.restarted().await;
        assert_eq!(again.token(&lossy.key).await.unwrap().expose(), "a0");
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(lossy.fake.exchanges(), exchanges, "{away:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_to_be_reusable_and_rotates_is_strict() {
    let lossy = Lossy::new(Rotation::Reusable).await;
    assert_eq!(lossy.token().await, "a0");
    lossy.fake.begun(1).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    // `r0` was answered by `r1`: it does rotate.
    assert_eq!(lossy.token().await, "a1");
    lossy.clock.advance(Duration::from_secs(3_600 - 240));
    lossy.fake.script([Next::Fail(Verdict::Ambiguous)]);
    for _ in 0..10 {
        assert_eq!(lossy.token().await, "a1");
        tokio::time::sleep(Duration::from_secs(1)).await;
        lossy.clock.advance(Duration::from_secs(1));
    }
    assert_eq!((lossy.fake.exchanges(), lossy.fake.reused()), (2, 0));
}
