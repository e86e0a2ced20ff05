//! A store that is another one, wrapped.

/// Implements `ByteStore` by that of what `$inner` is.
macro_rules! byte_store_by {
    ([$($generics:tt)*] $store:ty, $self:ident => $inner:expr) => {
        impl<$($generics)*> $crate::store::contract::ByteStore for $store {
            async fn load(&$self, key: &RowKey) -> Result<Option<Row>, StoreError> {
                $inner.load(key).await
            }

            async fn save(
                &$self,
                key: &RowKey,
                row: SealedRow,
                expected: Expected,
            ) -> Result<SaveOutcome, StoreError> {
                $inner.save(key, row, expected).await
            }

            async fn lease(
                &$self,
                key: &RowKey,
                owner: LeaseOwner,
                ttl: Duration,
            ) -> Result<Lease, StoreError> {
                $inner.lease(key, owner, ttl).await
            }

            async fn release(&$self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
                $inner.release(key, owner).await
            }

            async fn list(&$self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
                $inner.list(group).await
            }

            async fn scan(
                &$self,
                after: Option<&RowKey>,
                limit: usize,
            ) -> Result<Vec<(RowKey, Row)>, StoreError> {
                $inner.scan(after, limit).await
            }

            async fn claim_due(
                &$self,
                limit: usize,
                ttl: Duration,
            ) -> Result<Vec<(RowKey, Row)>, StoreError> {
                $inner.claim_due(limit, ttl).await
            }

            async fn purge(&$self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
                $inner.purge(key, version).await
            }

            fn changes_since(
                &$self,
                cursor: Option<&$crate::store::contract::Cursor>,
                limit: usize,
            ) -> impl Future<Output = Result<$crate::store::contract::Changes, StoreError>> + Send
            {
                $inner.changes_since(cursor, limit)
            }

            fn announced(&$self) -> impl Future<Output = ()> + Send {
                $inner.announced()
            }

            fn released(&$self, key: &RowKey) -> impl Future<Output = ()> + Send {
                $inner.released(key)
            }

            fn durability(&$self) -> Durability {
                $inner.durability()
            }

            async fn close(&$self) {
                $inner.close().await;
            }
        }
    };
}

pub(super) use byte_store_by;
