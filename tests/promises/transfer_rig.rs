//! Stores of every kind, and what is taken from one to another.

use tests::any::{AnyStore, Kind};
use tests::fake::Fake;
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, Error, GrantKey, Import, KeyRing, Provider, RowKey, SealedStore, TokenManager,
    TokenResponse, TransferProgress,
};

use crate::support::{API, HOUR};

/// One token service, and an outer key.
pub struct Rig {
    pub clock: ManualClock,
    pub ring: KeyRing,
    pub fake: Fake,
}

/// A store that is open, what is beneath it, and a manager over it.
pub struct Vault {
    pub rows: AnyStore,
    pub store: SealedStore,
    pub manager: TokenManager,
}

impl Rig {
    pub fn new() -> Self {
        Self {
            clock: ManualClock::new(),
            ring: KeyRing::generate().unwrap(),
            fake: Fake::new(HOUR),
        }
    }

    /// An empty store with keys of its own.
    pub async fn vault(&self, kind: Kind) -> Vault {
        self.open(kind.make().await.unwrap()).await
    }

    pub async fn open(&self, rows: AnyStore) -> Vault {
        let store = SealedStore::open(rows.clone(), self.ring.clone()).await;
        self.over(rows, store.unwrap()).await
    }

    pub async fn over(&self, rows: AnyStore, store: SealedStore) -> Vault {
        let manager = self.manager(&store, Provider::new("fake", self.fake.clone()));
        Vault {
            manager: manager.await,
            rows,
            store,
        }
    }

    pub async fn manager(&self, store: &SealedStore, provider: Provider) -> TokenManager {
        TokenManager::builder()
            .store(store.clone())
            .provider(provider.allow_origin(API))
            .clock(self.clock.clone())
            .without_sweeper()
            .build()
            .await
            .unwrap()
    }

    /// What a process is served that starts over `vault` now.
    pub async fn served(&self, vault: &Vault, user: &str) -> Result<String, Error> {
        let store = SealedStore::open(vault.rows.clone(), self.ring.clone()).await?;
        let manager = self.manager(&store, Provider::new("fake", self.fake.clone()));
        let token = manager.await.token(&key(user)).await?;
        Ok(token.expose().to_owned())
    }

    /// The bytes restored into an empty store.
    pub async fn restored(&self, kind: Kind, bytes: &[u8]) -> Vault {
        let rows = kind.make().await.unwrap();
        let import = SealedStore::builder().restore(rows.clone(), self.ring.clone());
        let (store, _) = taken_in(import.await.unwrap(), bytes).await.unwrap();
        self.over(rows, store).await
    }
}

impl Vault {
    /// A user with a token of their own.
    pub async fn connect(&self, user: &str) {
        let tokens = TokenResponse::new(format!("access-{user}"));
        let tokens = tokens.refresh_token(format!("refresh-{user}"));
        self.manager
            .connect(&key(user), tokens.expires_in(HOUR))
            .await
            .unwrap();
    }

    pub async fn export(&self) -> Vec<u8> {
        exported(&self.store).await.0
    }

    /// Every row, the keyset's first, as a store lies there.
    pub async fn all_rows(&self) -> Vec<(RowKey, bytes::Bytes)> {
        let rows = self.rows.scan(None, usize::MAX).await.unwrap().into_iter();
        rows.map(|(key, row)| (key, row.bytes)).collect()
    }

    pub async fn row_keys(&self) -> Vec<RowKey> {
        let rows = self.all_rows().await.into_iter();
        rows.skip(1).map(|(key, _)| key).collect()
    }
}

pub async fn exported(store: &SealedStore) -> (Vec<u8>, TransferProgress) {
    let (mut export, mut bytes) = (store.export(), Vec::new());
    while let Some(chunk) = export.chunk().await.unwrap() {
        bytes.extend_from_slice(&chunk);
    }
    (bytes, export.progress().clone())
}

pub async fn taken_in(
    mut import: Import,
    bytes: &[u8],
) -> Result<(SealedStore, TransferProgress), Error> {
    import.write(bytes).await?;
    let store = import.finish().await?;
    Ok((store, import.progress().clone()))
}

/// written, unchanged, newer, left, unreadable, blocked
pub fn counts(progress: &TransferProgress) -> [u64; 6] {
    [
        progress.written,
        progress.unchanged,
        progress.newer,
        progress.left,
        progress.unreadable,
        progress.blocked,
    ]
}

pub fn key(user: &str) -> GrantKey {
    GrantKey::new("fake", user)
}
