//! All grants go from one store to another while a manager serves them: nobody waits who only
//! reads, nothing is lost, and the store that was left is never taken for the one that is used.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tests::any::Kind;
use tests::fake::Fake;
use tests::flaky::{Flaky, Save};
use tests::postgres::Server;
use tokio::task::JoinSet;
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, Clock as _, Error, ErrorKind, GrantKey, KeyRing, MemoryStore, MovingStore,
    PostgresStore, Provider, SealedStore, SledStore, Timestamp, TokenManager, TokenResponse,
};

use crate::support::{API, HOUR};

const USERS: usize = 40;

fn key(user: usize) -> GrantKey {
    GrantKey::new("fake", format!("user-{user}"))
}

fn is_refreshed(user: usize) -> bool {
    (USERS / 2..USERS).contains(&user) && user % 4 == 2
}

/// One service whose store is moved.
struct Rig {
    ring: KeyRing,
    fake: Fake,
    clock: ManualClock,
    consents: AtomicUsize,
}

impl Rig {
    fn new() -> Self {
        Self {
            ring: KeyRing::generate().unwrap(),
            fake: Fake::new(HOUR),
            clock: ManualClock::new(),
            consents: AtomicUsize::new(0),
        }
    }

    /// Keeps a few grants in memory, and so asks the store all the time.
    async fn manager(&self, store: impl ByteStore) -> Result<TokenManager, Error> {
        TokenManager::builder()
            .store(SealedStore::open(store, self.ring.clone()).await?)
            .provider(Provider::new("fake", self.fake.clone()).allow_origin(API))
            .clock(self.clock.clone())
            .cache_capacity(4)
            .without_sweeper()
            .build()
            .await
    }

    async fn connect(&self, manager: &TokenManager, user: usize) {
        let mut tokens = TokenResponse::new(format!("access-{user}"))
            .refresh_token(format!(
                "refresh-{}",
                self.consents.fetch_add(1, Ordering::Relaxed)
            ))
            .expires_in(HOUR);
        if is_refreshed(user) {
            let now = self.clock.now().as_unix_millis();
            let some_time_ago = now - HOUR.as_millis() as u64 * 3 / 4;
            tokens = tokens.obtained_at(Timestamp::from_unix_millis(some_time_ago));
        }
        manager.connect(&key(user), tokens).await.unwrap();
    }

    /// Moves `from` to `to` under a manager that everybody uses: the first half reads, some are
    /// refreshed, leave, or come.
    async fn moved<A: ByteStore, B: ByteStore>(&self, from: A, to: B) -> TokenManager {
        let moving = MovingStore::new(from, to).rows_per_step(2);
        let manager = self.manager(moving.clone()).await.unwrap();
        for user in 0..USERS {
            self.connect(&manager, user).await;
        }
        let exchanges = self.fake.exchanges();
        let (done, reads) = (
            Arc::new(AtomicBool::new(false)),
            Arc::<AtomicUsize>::default(),
        );
        let mut readers = JoinSet::new();
        for first in 0..4 {
            let (manager, done) = (manager.clone(), Arc::clone(&done));
            let reads = Arc::clone(&reads);
            readers.spawn(async move {
                // Also once after the move.
                let mut once_more = true;
                while once_more {
                    once_more = !done.load(Ordering::Relaxed);
                    for user in (first..USERS / 2).step_by(4) {
                        let token = manager.token(&key(user)).await.unwrap();
                        assert_eq!(token.expose(), format!("access-{user}"));
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        let users = async {
            for user in USERS / 2..USERS {
                match user % 4 {
                    // Leaves.
                    0 => manager.disconnect(&key(user)).await.unwrap(),
                    // Comes back.
                    1 => self.connect(&manager, user).await,
                    // Is refreshed.
                    2 => {
                        let token = manager.token_valid_for(&key(user), HOUR / 2).await;
                        token.unwrap();
                    }
                    _ => self.connect(&manager, USERS + user).await,
                }
            }
        };
        let (run, ()) = tokio::join!(moving.run(), users);
        assert!(run.unwrap().is_done);
        done.store(true, Ordering::Relaxed);
        while let Some(read) = readers.join_next().await {
            read.unwrap();
        }
        assert!(reads.load(Ordering::Relaxed) >= USERS / 2);
        assert_eq!(self.fake.exchanges() - exchanges, USERS / 8);
        manager
    }

    /// A manager over the new store alone serves everybody who has not left.
    async fn check(&self, manager: &TokenManager) {
        let exchanges = self.fake.exchanges();
        for user in 0..USERS {
            let token = manager.token(&key(user)).await;
            if user >= USERS / 2 && user % 4 == 0 {
                assert_eq!(token.unwrap_err().kind(), ErrorKind::NotConnected);
                continue;
            }
            let token = token.unwrap().expose().to_owned();
            let is_new = token != format!("access-{user}");
            assert_eq!(is_new, is_refreshed(user), "{user}");
        }
        for user in (USERS / 2..USERS).filter(|user| user % 4 == 3) {
            manager.token(&key(USERS + user)).await.unwrap();
        }
        assert_eq!(self.fake.exchanges(), exchanges);
        assert_eq!(self.fake.reused(), 0);
    }
}

fn is_left(result: Result<TokenManager, Error>) {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    let message = "the grants of this store were moved to another: open that one";
    assert_eq!(error.to_string(), message);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_served_from_one_kind_of_store_to_the_other() {
    for (from, to) in Kind::pairs().filter(|(from, to)| from != to) {
        let rig = Rig::new();
        let (from, to) = (from.make().await.unwrap(), to.make().await.unwrap());
        rig.moved(from.clone(), to.clone()).await;
        is_left(rig.manager(from).await);
        rig.check(&rig.manager(to).await.unwrap()).await;
    }
}

async fn folder(path: &Path) -> SledStore {
    SledStore::open(path).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_goes_to_postgres_and_back() {
    let server = Server::start().await.unwrap();
    let url = server.database().await.unwrap();
    let postgres = async || PostgresStore::connect(url.clone()).await.unwrap();
    let folders = tempfile::tempdir().unwrap();
    let (old, new) = (folders.path().join("old"), folders.path().join("new"));

    let rig = Rig::new();
    let moving = rig.moved(folder(&old).await, postgres().await).await;
    // Beside the process that moved it.
    let instance = rig.manager(postgres().await).await.unwrap();
    rig.check(&instance).await;
    rig.connect(&instance, 1_000).await;
    moving.token(&key(1_000)).await.unwrap();
    moving.shutdown(HOUR).await.unwrap();
    is_left(rig.manager(folder(&old).await).await);
    // Started once more with both, before its folder is removed.
    let both = MovingStore::new(folder(&old).await, postgres().await);
    let again = rig.manager(both).await.unwrap();
    again.token(&key(1_000)).await.unwrap();

    // Back to one process.
    again.shutdown(HOUR).await.unwrap();
    instance.shutdown(HOUR).await.unwrap();
    let back = rig.moved(postgres().await, folder(&new).await).await;
    back.shutdown(HOUR).await.unwrap();
    is_left(rig.manager(postgres().await).await);
    let alone = rig.manager(folder(&new).await).await.unwrap();
    rig.check(&alone).await;
    alone.token(&key(1_000)).await.unwrap();
}

/// Its save expects a row of the store that was left.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_is_under_way_is_kept() {
    for (from, to) in Kind::pairs() {
        let rig = Rig::new();
        let (from, to) = (from.make().await.unwrap(), to.make().await.unwrap());
        let moving = MovingStore::new(from.clone(), to.clone());
        let manager = rig.manager(moving.clone()).await.unwrap();
        manager.connect(&key(1), rig.fake.consent()).await.unwrap();
        rig.clock.advance(HOUR);
        rig.fake.hold();
        let token = tokio::spawn({
            let manager = manager.clone();
            async move { manager.token(&key(1)).await }
        });
        rig.fake.begun(1).await;
        assert!(moving.run().await.unwrap().is_done);
        rig.fake.release(1);
        assert_eq!(token.await.unwrap().unwrap().expose(), "a1");
        let alone = rig.manager(to).await.unwrap();
        assert_eq!(alone.token(&key(1)).await.unwrap().expose(), "a1");
        assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnect_that_is_under_way_is_kept() {
    for how in [Save::Hold, Save::HoldLostAck] {
        let rig = Rig::new();
        let (from, to) = (Flaky::new(MemoryStore::new()), MemoryStore::new());
        let moving = MovingStore::new(from.clone(), to.clone());
        let manager = rig.manager(moving.clone()).await.unwrap();
        manager.connect(&key(1), rig.fake.consent()).await.unwrap();
        from.script([how]);
        let left = tokio::spawn({
            let manager = manager.clone();
            async move { manager.disconnect(&key(1)).await }
        });
        from.until_held().await;
        let run = tokio::spawn(async move { moving.run().await });
        from.release();
        left.await.unwrap().unwrap();
        assert!(run.await.unwrap().unwrap().is_done);
        let alone = rig.manager(to).await.unwrap();
        let gone = alone.token(&key(1)).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotConnected, "{how:?}");
    }
}
