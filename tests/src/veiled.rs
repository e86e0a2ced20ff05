//! A store whose keyset cannot always be looked at, that is slow, or has damaged rows.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tower_token::{
    ByteStore, Expected, Row, RowKey, SaveOutcome, SealedRow, StoreError, StoreErrorKind,
};

use crate::delegate;

/// A store that works, but for looks at its keyset and rows that were harmed, in its own time.
/// Clones share rows and orders.
#[derive(Debug, Clone)]
pub struct Veiled<S> {
    rows: S,
    orders: Arc<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    failing: AtomicUsize,
    hidden: AtomicBool,
    damaged: AtomicBool,
    hanging: AtomicBool,
    /// In seconds.
    slow: AtomicU64,
    harmed: Mutex<Vec<RowKey>>,
    /// 0 for as many as are asked for.
    at_once: AtomicUsize,
    scans: watch::Sender<Scans>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Scans {
    #[default]
    Work,
    HoldNext,
    Held,
}

impl<S> Veiled<S> {
    /// One that works as `rows` does.
    pub fn new(rows: S) -> Self {
        Self {
            rows,
            orders: Arc::default(),
        }
    }

    /// The next `looks` fail.
    pub fn fail(&self, looks: usize) {
        self.orders.failing.store(looks, SeqCst);
    }

    /// Whether there is no keyset.
    pub fn hide(&self, hidden: bool) {
        self.orders.hidden.store(hidden, SeqCst);
    }

    /// Whether the keyset cannot be read.
    pub fn damage(&self, damaged: bool) {
        self.orders.damaged.store(damaged, SeqCst);
    }

    /// Whether a look that begins now never ends.
    pub fn hang(&self, hanging: bool) {
        self.orders.hanging.store(hanging, SeqCst);
    }

    /// From now on these rows are found damaged, and no others.
    pub fn harm(&self, rows: impl IntoIterator<Item = RowKey>) {
        *self.orders.harmed.lock() = rows.into_iter().collect();
    }

    /// However many are asked for, a scan gives no more `rows` than these.
    pub fn at_once(&self, rows: usize) {
        self.orders.at_once.store(rows, SeqCst);
    }

    /// How many seconds a save takes.
    pub fn slow(&self, seconds: u64) {
        self.orders.slow.store(seconds, SeqCst);
    }
}

impl<S: ByteStore> Veiled<S> {
    /// Waits until a scan has read its rows, and holds it until `meanwhile` is over.
    pub async fn during_a_scan(&self, meanwhile: impl Future<Output = ()>) {
        let scans = &self.orders.scans;
        scans.send_replace(Scans::HoldNext);
        // The sender lives in `self`.
        let _ = scans.subscribe().wait_for(|it| *it == Scans::Held).await;
        meanwhile.await;
        scans.send_replace(Scans::Work);
    }
}

impl Orders {
    fn fails(&self) -> bool {
        let left = |looks: usize| looks.checked_sub(1);
        self.failing.fetch_update(SeqCst, SeqCst, left).is_ok()
    }

    fn as_found(&self, key: &RowKey, row: Row) -> Row {
        match self.harmed.lock().contains(key) {
            true => Row::new(row.version, row.due, row.bytes.slice(1..)),
            false => row,
        }
    }
}

impl<S: ByteStore> ByteStore for Veiled<S> {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        if key.as_bytes() == &[0; RowKey::LEN] {
            if self.orders.hanging.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            if self.orders.hidden.load(SeqCst) {
                return Ok(None);
            }
            if self.orders.damaged.load(SeqCst) {
                let kind = StoreErrorKind::Damaged;
                return Err(StoreError::new(kind, "as told"));
            }
            if self.orders.fails() {
                let kind = StoreErrorKind::Unavailable;
                return Err(StoreError::new(kind, "as told"));
            }
        }
        let found = self.rows.load(key).await?;
        Ok(found.map(|row| self.orders.as_found(key, row)))
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        tokio::time::sleep(Duration::from_secs(self.orders.slow.load(SeqCst))).await;
        self.rows.save(key, row, expected).await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let limit = match self.orders.at_once.load(SeqCst) {
            0 => limit,
            at_once => limit.min(at_once),
        };
        let mut rows = self.rows.scan(after, limit).await?;
        let scans = &self.orders.scans;
        let held = |it: &mut Scans| {
            let hold = *it == Scans::HoldNext;
            if hold {
                *it = Scans::Held;
            }
            hold
        };
        if scans.send_if_modified(held) {
            let _ = scans.subscribe().wait_for(|it| *it == Scans::Work).await;
        }
        for (key, row) in &mut rows {
            *row = self.orders.as_found(key, row.clone());
        }
        Ok(rows)
    }

    delegate!(self => self.rows; lease release list claim_due purge durability close);
}
