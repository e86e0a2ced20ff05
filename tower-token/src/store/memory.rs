//! A store in memory, for tests and for tokens that may be lost with the process.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::contract::{
    Announce, ByteStore, Changes, Cursor, Durability, Expected, Group, Lease, LeaseOwner, Row,
    RowKey, SaveOutcome, SealedRow, StoreError, StoreErrorKind, Version,
};
use super::leases::{Claims, Leases};
use crate::clock::{Clock, SystemClock};
use crate::rt::{AtomicBool, Mutex};

/// Keeps rows in memory. Clones share them, so several managers can stand on one, and
/// each is closed on its own.
///
/// ```
/// use tower_token::{ByteStore, Durability, MemoryStore};
///
/// assert_eq!(MemoryStore::new().durability(), Durability::Memory);
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    rows: Mutex<Rows>,
    leases: Leases,
    claims: Claims,
    clock: Box<dyn Clock>,
}

#[derive(Debug, Default)]
struct Rows {
    by_key: BTreeMap<RowKey, Row>,
    last_version: u64,
    /// Which version of a row was last announced, and whose it was.
    announced: BTreeMap<u64, RowKey>,
    announced_as: HashMap<RowKey, u64>,
}

impl Rows {
    fn announce(&mut self, key: &RowKey) {
        let version = self.last_version;
        if let Some(before) = self.announced_as.insert(*key, version) {
            self.announced.remove(&before);
        }
        self.announced.insert(version, *key);
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_clock(SystemClock::new())
    }

    /// An empty store whose leases go by `clock`.
    pub fn with_clock(clock: impl Clock) -> Self {
        Self::over(Arc::new(Shared {
            rows: Mutex::default(),
            leases: Leases::default(),
            claims: Claims::default(),
            clock: Box::new(clock),
        }))
    }

    fn over(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            closed: AtomicBool::new(false),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Rows) -> T) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::new(
                StoreErrorKind::Closed,
                "the store was closed",
            ));
        }
        Ok(f(&mut self.shared.rows.lock()))
    }
}

impl Clone for MemoryStore {
    /// The same rows, not closed.
    fn clone(&self) -> Self {
        Self::over(Arc::clone(&self.shared))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl ByteStore for MemoryStore {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.with(|rows| rows.by_key.get(key).cloned())
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.with(|rows| {
            if !expected.matches(rows.by_key.get(key).map(|row| row.version)) {
                return SaveOutcome::Conflict;
            }
            rows.last_version += 1;
            let version = Version(rows.last_version);
            if row.announce() > Announce::Nobody {
                rows.announce(key);
            }
            let row = Row::new(version, row.due(), row.bytes().clone());
            rows.by_key.insert(*key, row);
            SaveOutcome::Saved(version)
        })
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.with(|_| {
            self.shared
                .leases
                .take(key, owner, ttl, self.shared.clock.now())
        })
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        self.with(|_| self.shared.leases.release(key, owner))
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.with(|rows| {
            rows.by_key
                .iter()
                .filter(|(key, _)| key.group() == group)
                .map(|(key, row)| (*key, row.clone()))
                .collect()
        })
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.with(|rows| {
            rows.by_key
                .range((from, Bound::Unbounded))
                .take(limit)
                .map(|(key, row)| (*key, row.clone()))
                .collect()
        })
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let now = self.shared.clock.now();
        self.with(|rows| {
            let due = rows.by_key.iter().filter(|(_, row)| row.is_due(now));
            let due = due.map(|(key, row)| (*key, row.clone()));
            self.shared.claims.take(due, limit, ttl, now)
        })
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.with(|rows| {
            let found = rows
                .by_key
                .get(key)
                .is_some_and(|row| row.version == version);
            if found {
                rows.by_key.remove(key);
                let announced = rows.announced_as.remove(key);
                announced.and_then(|version| rows.announced.remove(&version));
            }
            found
        })
    }

    async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let since = match cursor.map(|cursor| cursor.as_bytes().try_into()) {
            None => None,
            Some(Ok(since)) => Some(u64::from_be_bytes(since)),
            // Of another store.
            Some(Err(_)) => Some(u64::MAX),
        };
        self.with(|rows| {
            let next = Cursor::new(rows.last_version.to_be_bytes().to_vec());
            let Some(since) = since else {
                return Changes::new(Vec::new(), next);
            };
            if since > rows.last_version {
                return Changes::missed(next);
            }
            let keys = rows
                .announced
                .range((Bound::Excluded(since), Bound::Unbounded));
            let keys: Vec<_> = keys.take(limit.saturating_add(1)).collect();
            if keys.len() > limit {
                return Changes::missed(next);
            }
            let found = |(_, key): (_, &RowKey)| Some((*key, rows.by_key.get(key)?.clone()));
            Changes::new(keys.into_iter().filter_map(found).collect(), next)
        })
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Suite;

    #[tokio::test(flavor = "multi_thread")]
    async fn memory_keeps_the_contract() {
        let suite = Suite::new(|| async { Ok(MemoryStore::new()) });
        suite.with_changes().run().await.assert_kept();
    }
}
