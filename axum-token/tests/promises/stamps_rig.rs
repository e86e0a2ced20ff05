//! Users who have nothing but a stamp, and a store that does as it is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum_token::{SessionTokenLayer, Visitor};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, Durability, Expected, Group, KeyRing, Lease, LeaseOwner, MemoryStore, Row, RowKey,
    SaveOutcome, SealedRow, SealedStore, StoreError, StoreErrorKind, TokenManager, Version,
};

/// Always the same sign-in.
#[derive(Debug, Clone)]
pub struct Fixed(pub axum_token::SignIn);

impl axum_token::SubjectSource for Fixed {
    async fn subject(
        &self,
        _: &http::request::Parts,
    ) -> Result<Option<axum_token::SignIn>, axum_token::SourceError> {
        Ok(Some(self.0.clone()))
    }
}

pub async fn visitor(layer: &SessionTokenLayer<Fixed>) -> String {
    let shown = format!("{:?}", found(layer).await.unwrap());
    shown.split('(').next().unwrap().to_owned()
}

pub async fn found(layer: &SessionTokenLayer<Fixed>) -> Option<Visitor> {
    use tower::{Layer as _, ServiceExt as _};
    let inner = tower::service_fn(|request: http::Request<()>| async move {
        let visitor = request.extensions().get::<Visitor>().cloned();
        Ok::<_, std::convert::Infallible>(http::Response::new(visitor))
    });
    let response = layer.layer(inner).oneshot(http::Request::new(())).await;
    response.unwrap().into_body()
}

pub async fn stamps(
    store: Loads,
    ring: &KeyRing,
    clock: &ManualClock,
    provider: tower_token::Provider,
) -> TokenManager {
    TokenManager::builder()
        .store(SealedStore::open(store, ring.clone()).await.unwrap())
        .provider(provider)
        .clock(clock.clone())
        .build()
        .await
        .unwrap()
}

/// Counts what is read, and fails, forges or waits when told to.
#[derive(Clone, Default)]
pub struct Loads {
    rows: MemoryStore,
    loads: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
    /// What is found in place of what was written, until it is written anew.
    forged: Arc<Mutex<HashMap<RowKey, Bytes>>>,
    paused: Arc<Mutex<Option<Pause>>>,
}

/// Of the next write: the first is told when it begins, the second lets it go on.
type Pause = (oneshot::Sender<()>, oneshot::Receiver<()>);

impl Loads {
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// Every row, by its key.
    pub async fn rows(&self) -> HashMap<RowKey, Bytes> {
        let rows = self.rows.scan(None, 10_000).await.unwrap();
        rows.into_iter()
            .map(|(key, row)| (key, row.bytes))
            .collect()
    }

    /// Puts something else in place of a row.
    pub fn forge(&self, key: RowKey, bytes: Bytes) {
        self.forged.lock().insert(key, bytes);
    }

    /// Makes that every row that `before` does not have no longer opens.
    pub async fn damage_new(&self, before: &HashMap<RowKey, Bytes>) {
        for (key, bytes) in self.rows().await {
            if !before.contains_key(&key) {
                let mut damaged = bytes.to_vec();
                *damaged.last_mut().unwrap() ^= 1;
                self.forge(key, damaged.into());
            }
        }
    }

    /// The next write says so, and waits.
    pub fn pause(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (begun, begins) = oneshot::channel();
        let (go, goes) = oneshot::channel();
        *self.paused.lock() = Some((begun, goes));
        (begins, go)
    }

    fn found(&self, key: &RowKey, row: Row) -> Row {
        let forged = self.forged.lock().get(key).cloned();
        Row::new(row.version, row.due, forged.unwrap_or(row.bytes))
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "told to fail"));
        }
        Ok(())
    }
}

impl ByteStore for Loads {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let nth = self.loads.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        // As a store that is asked over a network: others go on meanwhile, further or less far.
        for _ in 0..nth * 7 % 40 {
            tokio::task::yield_now().await;
        }
        let row = self.rows.load(key).await?;
        Ok(row.map(|row| self.found(key, row)))
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let paused = self.paused.lock().take();
        if let Some((begun, goes)) = paused {
            begun.send(()).unwrap();
            goes.await.unwrap();
        }
        let outcome = self.rows.save(key, row, expected).await?;
        if matches!(outcome, SaveOutcome::Saved(_)) {
            self.forged.lock().remove(key);
        }
        Ok(outcome)
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.rows.lease(key, owner, ttl).await
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.rows.release(key, owner).await
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.check()?;
        let rows = self.rows.list(group).await?;
        let found = |(key, row)| {
            let row = self.found(&key, row);
            (key, row)
        };
        Ok(rows.into_iter().map(found).collect())
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows.scan(after, limit).await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows.claim_due(limit, ttl).await
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.rows.purge(key, version).await
    }

    fn durability(&self) -> Durability {
        self.rows.durability()
    }

    async fn close(&self) {
        self.rows.close().await;
    }
}
