//! What a store that is another one, wrapped, does as that one.

/// Methods of `ByteStore` that are those of `$inner`, by name.
#[macro_export]
macro_rules! delegate {
    ($self:ident => $inner:expr; $($method:ident)*) => {
        $($crate::delegate!(@$method $self $inner);)*
    };
    (@load $self:ident $inner:expr) => {
        async fn load(
            &$self,
            key: &tower_token::RowKey,
        ) -> Result<Option<tower_token::Row>, tower_token::StoreError> {
            $inner.load(key).await
        }
    };
    (@save $self:ident $inner:expr) => {
        async fn save(
            &$self,
            key: &tower_token::RowKey,
            row: tower_token::SealedRow,
            expected: tower_token::Expected,
        ) -> Result<tower_token::SaveOutcome, tower_token::StoreError> {
            $inner.save(key, row, expected).await
        }
    };
    (@lease $self:ident $inner:expr) => {
        async fn lease(
            &$self,
            key: &tower_token::RowKey,
            owner: tower_token::LeaseOwner,
            ttl: std::time::Duration,
        ) -> Result<tower_token::Lease, tower_token::StoreError> {
            $inner.lease(key, owner, ttl).await
        }
    };
    (@release $self:ident $inner:expr) => {
        async fn release(
            &$self,
            key: &tower_token::RowKey,
            owner: tower_token::LeaseOwner,
        ) -> Result<(), tower_token::StoreError> {
            $inner.release(key, owner).await
        }
    };
    (@list $self:ident $inner:expr) => {
        async fn list(
            &$self,
            group: tower_token::Group,
        ) -> Result<Vec<(tower_token::RowKey, tower_token::Row)>, tower_token::StoreError> {
            $inner.list(group).await
        }
    };
    (@scan $self:ident $inner:expr) => {
        async fn scan(
            &$self,
            after: Option<&tower_token::RowKey>,
            limit: usize,
        ) -> Result<Vec<(tower_token::RowKey, tower_token::Row)>, tower_token::StoreError> {
            $inner.scan(after, limit).await
        }
    };
    (@claim_due $self:ident $inner:expr) => {
        async fn claim_due(
            &$self,
            limit: usize,
            ttl: std::time::Duration,
        ) -> Result<Vec<(tower_token::RowKey, tower_token::Row)>, tower_token::StoreError> {
            $inner.claim_due(limit, ttl).await
        }
    };
    (@purge $self:ident $inner:expr) => {
        async fn purge(
            &$self,
            key: &tower_token::RowKey,
            version: tower_token::Version,
        ) -> Result<bool, tower_token::StoreError> {
            $inner.purge(key, version).await
        }
    };
    (@durability $self:ident $inner:expr) => {
        fn durability(&$self) -> tower_token::Durability {
            $inner.durability()
        }
    };
    (@close $self:ident $inner:expr) => {
        async fn close(&$self) {
            $inner.close().await;
        }
    };
}
