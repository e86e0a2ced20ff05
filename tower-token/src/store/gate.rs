//! Whether a store is open, and what is still going on in it.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::store::contract::byte_store::{StoreError, StoreErrorKind};

/// Everything that goes on holds a pass; closing waits until all are back.
#[derive(Debug, Default)]
pub(in crate::store) struct Gate(Arc<RwLock<bool>>);

/// Something goes on in a store.
#[derive(Debug)]
pub(in crate::store) struct Pass {
    _closed: OwnedRwLockReadGuard<bool>,
}

impl Gate {
    pub(in crate::store) async fn pass(&self) -> Result<Pass, StoreError> {
        let closed = Arc::clone(&self.0).read_owned().await;
        if *closed {
            let message = "the store was closed";
            return Err(StoreError::new(StoreErrorKind::Closed, message));
        }
        Ok(Pass { _closed: closed })
    }

    pub(in crate::store) async fn close(&self) {
        *self.0.write().await = true;
    }
}
