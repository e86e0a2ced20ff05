//! Rows to save. Nobody but the library can make one, and only by sealing a grant: so these
//! are caught on their way into a store.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tower_token::testkit::ManualClock;
use tower_token::{
    ByteStore, Clock as _, Expected, GrantKey, KeyRing, MemoryStore, Provider, RowKey, SaveOutcome,
    SealedRow, SealedStore, StoreError, SystemClock, Timestamp, TokenManager, TokenResponse,
};

use super::random;
use crate::fake::Fake;
use crate::{BoxError, delegate};

/// What a grant takes besides its tokens, about.
const BESIDE: usize = 300;

/// How long ago they are made. What expires before now is due, as nothing can refresh it.
const AGO: Duration = Duration::from_secs(36_000);

/// Makes sealed grants of any length, half of them due, each since another hour.
#[derive(Debug)]
pub struct Grants {
    /// One at a time: what is caught has to be one's own.
    manager: tokio::sync::Mutex<TokenManager>,
    caught: Caught,
}

impl Grants {
    /// With a vault of its own.
    pub async fn new() -> Result<Self, BoxError> {
        let caught = Caught::default();
        let now = SystemClock::new().now().as_unix_millis();
        let made = Timestamp::from_unix_millis(now - AGO.as_millis() as u64);
        let store = SealedStore::open(caught.clone(), KeyRing::generate()?).await?;
        let manager = TokenManager::builder()
            .store(store)
            .provider(Provider::new("demo", Fake::new(Duration::from_secs(3_600))))
            .clock(ManualClock::at(made))
            .build()
            .await?;
        Ok(Self {
            manager: manager.into(),
            caught,
        })
    }

    /// A sealed grant of about `len` bytes, unlike any other.
    pub async fn grant(&self, len: usize) -> Result<SealedRow, BoxError> {
        let key = GrantKey::new("demo", "user");
        // Never one that is about to be.
        let hour = random(24) as f64 + 0.5;
        let tokens = TokenResponse::new("access")
            .id_token("i".repeat(len.saturating_sub(BESIDE)))
            .expires_in(AGO.mul_f64(2.0 * hour / 24.0));
        let manager = self.manager.lock().await;
        manager.connect(&key, tokens).await?;
        Ok(self.caught.last.lock().clone().ok_or("nothing was saved")?)
    }
}

/// A store that keeps the last row it was given for whoever asks.
#[derive(Debug, Clone, Default)]
struct Caught {
    rows: MemoryStore,
    last: Arc<Mutex<Option<SealedRow>>>,
}

impl ByteStore for Caught {
    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        *self.last.lock() = Some(row.clone());
        self.rows.save(key, row, expected).await
    }

    delegate!(self => self.rows; load lease release list scan claim_due purge durability close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_grant_has_the_length_that_was_asked_for_and_is_unlike_the_one_before() {
        let grants = Grants::new().await.unwrap();
        for len in [1 << 10, 4 << 10, 64 << 10] {
            let row = grants.grant(len).await.unwrap();
            let (least, most) = (len - len / 4, len + len / 4);
            assert!((least..most).contains(&row.bytes().len()), "{len}");
            assert_ne!(row.bytes(), grants.grant(len).await.unwrap().bytes());
        }
    }
}
