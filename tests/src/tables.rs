//! Tables of an application's own, with and without what makes more of them than three calls.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::task::yield_now;
use tower_token::store::custom::{SealedToken, SharedUserTokenStore, TokenKey, UserTokenStore};
use tower_token::{Clock as _, StoreError, StoreErrorKind, SystemClock, Timestamp};

/// A table that several have in hand.
#[derive(Debug, Clone, Default)]
pub struct Table {
    tokens: Arc<Mutex<BTreeMap<TokenKey, SealedToken>>>,
    has_keys: bool,
    lost_answers: Arc<AtomicBool>,
}

impl Table {
    /// An empty one that can list its keys, or cannot.
    pub fn new(has_keys: bool) -> Self {
        Self {
            has_keys,
            ..Self::default()
        }
    }

    /// Everything in it.
    pub fn tokens(&self) -> BTreeMap<TokenKey, SealedToken> {
        self.tokens.lock().clone()
    }

    /// Whether a write succeeds and says that it failed.
    pub fn lose_answers(&self, lose: bool) {
        self.lost_answers.store(lose, Ordering::SeqCst);
    }

    fn answered<T>(&self, answer: T) -> Result<T, StoreError> {
        match self.lost_answers.load(Ordering::SeqCst) {
            true => Err(StoreError::new(StoreErrorKind::Unavailable, "as told")),
            false => Ok(answer),
        }
    }

    fn page(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> Result<Vec<(TokenKey, Option<Timestamp>)>, StoreError> {
        if !self.has_keys {
            return Err(StoreError::new(StoreErrorKind::Unsupported, "no keys"));
        }
        let tokens = self.tokens.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = tokens
            .range::<TokenKey, _>((from, Bound::Unbounded))
            .take(limit);
        Ok(page.map(|(key, token)| (key.clone(), token.due)).collect())
    }
}

/// Three calls, each of which takes a while: whoever looks meanwhile sees what was before.
impl UserTokenStore for Table {
    async fn store(&self, key: &TokenKey, token: SealedToken) -> Result<(), StoreError> {
        yield_now().await;
        self.tokens.lock().insert(key.clone(), token);
        yield_now().await;
        self.answered(())
    }

    async fn retrieve(&self, key: &TokenKey) -> Result<Option<SealedToken>, StoreError> {
        let found = self.tokens.lock().get(key).cloned();
        yield_now().await;
        Ok(found)
    }

    async fn clear(&self, key: &TokenKey) -> Result<(), StoreError> {
        yield_now().await;
        self.tokens.lock().remove(key);
        self.answered(())
    }

    async fn keys(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> Result<Vec<(TokenKey, Option<Timestamp>)>, StoreError> {
        self.page(after, limit)
    }
}

/// They compare.
impl SharedUserTokenStore for Table {
    async fn store(
        &self,
        key: &TokenKey,
        token: SealedToken,
        replaces: Option<u64>,
    ) -> Result<bool, StoreError> {
        yield_now().await;
        let written = {
            let mut tokens = self.tokens.lock();
            let as_expected = tokens.get(key).map(|token| token.version) == replaces;
            if as_expected {
                tokens.insert(key.clone(), token);
            }
            as_expected
        };
        self.answered(written)
    }

    async fn retrieve(&self, key: &TokenKey) -> Result<Option<SealedToken>, StoreError> {
        UserTokenStore::retrieve(self, key).await
    }

    async fn clear(&self, key: &TokenKey, version: u64) -> Result<bool, StoreError> {
        yield_now().await;
        let mut tokens = self.tokens.lock();
        let found = tokens
            .get(key)
            .is_some_and(|token| token.version == version);
        if found {
            tokens.remove(key);
        }
        Ok(found)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(SystemClock::new().now())
    }

    async fn keys(
        &self,
        after: Option<&TokenKey>,
        limit: usize,
    ) -> Result<Vec<(TokenKey, Option<Timestamp>)>, StoreError> {
        self.page(after, limit)
    }
}
