//! Instances over one store whose keys change.

use std::time::Duration;

use tests::fake::Fake;
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, Error, GrantKey, KeyRing, KeyRotation, MemoryStore, Provider, SealedStore,
    TokenManager,
};

use crate::support::{API, HOUR};

pub const POLL: Duration = Duration::from_secs(60);
pub const SECOND: Duration = Duration::from_secs(1);

/// One store and one token service, for any number of instances.
pub struct Rig {
    pub rows: MemoryStore,
    pub clock: ManualClock,
    pub ring: KeyRing,
    pub fake: Fake,
}

/// A process: its store, and a manager over it.
pub struct Instance {
    pub store: SealedStore,
    pub manager: TokenManager,
}

impl Rig {
    pub fn new() -> Self {
        let clock = ManualClock::new();
        Self {
            rows: MemoryStore::with_clock(clock.clone()),
            clock,
            ring: KeyRing::generate().unwrap(),
            fake: Fake::new(HOUR),
        }
    }

    pub async fn instance(&self) -> Instance {
        self.instance_over(self.rows.clone()).await
    }

    pub async fn instance_over(&self, rows: impl ByteStore) -> Instance {
        let builder = SealedStore::builder()
            .key_poll(POLL)
            .clock(self.clock.clone());
        let store = builder.open(rows, self.ring.clone()).await.unwrap();
        let manager = TokenManager::builder()
            .store(store.clone())
            .provider(Provider::new("fake", self.fake.clone()).allow_origin(API))
            .clock(self.clock.clone())
            .without_sweeper()
            .build()
            .await
            .unwrap();
        Instance { store, manager }
    }

    /// Adds a key, and makes it active as soon as that may be.
    pub async fn rotate(&self, rotation: &KeyRotation) -> u32 {
        let id = rotation.add_key().await.unwrap().id;
        self.clock.advance(POLL + SECOND);
        rotation.activate(id).await.unwrap();
        id
    }

    /// What a process that starts now is given for a user.
    pub async fn stored(&self, user: &str) -> Result<String, Error> {
        let token = self.instance().await.manager.token(&key(user)).await?;
        Ok(token.expose().to_owned())
    }
}

impl Instance {
    pub async fn connect(&self, rig: &Rig, user: &str) -> Result<(), Error> {
        self.manager.connect(&key(user), rig.fake.consent()).await
    }

    pub async fn rows_by_key(&self) -> Vec<(u32, u64)> {
        let rows = self.store.key_rotation().rows_by_key().await.unwrap();
        rows.into_iter().collect()
    }
}

pub fn key(user: &str) -> GrantKey {
    GrantKey::new("fake", user)
}
