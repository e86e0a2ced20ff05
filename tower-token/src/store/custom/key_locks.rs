//! A lock for each row that is being written.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::store::contract::byte_store::RowKey;

/// Holds nothing for rows at rest.
#[derive(Debug, Default)]
pub(super) struct KeyLocks(Mutex<HashMap<RowKey, Arc<AsyncMutex<()>>>>);

/// The lock of one row, until it is dropped.
#[derive(Debug)]
pub(super) struct KeyLock {
    locks: Arc<KeyLocks>,
    key: RowKey,
    held: Option<OwnedMutexGuard<()>>,
}

impl KeyLocks {
    pub(super) async fn lock(self: &Arc<Self>, key: RowKey) -> KeyLock {
        let lock = Arc::clone(self.0.lock().entry(key).or_default());
        let held = Some(lock.lock_owned().await);
        let locks = Arc::clone(self);
        KeyLock { locks, key, held }
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.locks.0.lock();
        // Nobody else waits for it.
        if locks
            .get(&self.key)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let locks = Arc::<KeyLocks>::default();
        let key = RowKey::from_bytes(&[1; RowKey::LEN]).unwrap();
        let first = locks.lock(key).await;
        let second = tokio::spawn({
            let locks = Arc::clone(&locks);
            async move { drop(locks.lock(key).await) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap();
        assert!(locks.0.lock().is_empty());
    }
}
