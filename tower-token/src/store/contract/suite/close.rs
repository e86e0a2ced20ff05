//! The end of a store. These come last: what they close may be shared.

use super::bench::{ADA, Bench, Checked, HOUR, ensure, key};
use crate::store::contract::byte_store::{
    ByteStore, Expected, Group, SealedRow, StoreError, StoreErrorKind, Version,
};

pub(super) async fn a_closed_store_does_nothing<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let (store, key) = (bench.store().await?, key(26, 1));
    let row = || SealedRow::new(vec![1], None);
    // One that was never used may be lazy about it.
    store.save(&key, row(), Expected::Absent).await?;
    store.close().await;
    all_closed(&store).await
}

pub(super) async fn closing_twice_is_closing_once<S: ByteStore>(bench: &Bench<'_, S>) -> Checked {
    let store = bench.store().await?;
    for _ in 0..3 {
        store.close().await;
        all_closed(&store).await?;
    }
    Ok(())
}

async fn all_closed(store: &impl ByteStore) -> Checked {
    let (key, row) = (key(26, 1), SealedRow::new(vec![2], None));
    let answers = [
        ("load", store.load(&key).await.err()),
        ("save", store.save(&key, row, Expected::Absent).await.err()),
        ("lease", store.lease(&key, ADA, HOUR).await.err()),
        ("list", store.list(Group([26; 16])).await.err()),
        ("scan", store.scan(None, 1).await.err()),
        ("claim_due", store.claim_due(1, HOUR).await.err()),
        ("purge", store.purge(&key, Version(1)).await.err()),
    ];
    for (what, error) in answers {
        let kind = error.as_ref().map(StoreError::kind);
        ensure(
            kind == Some(StoreErrorKind::Closed),
            format!("{what} of a closed store was answered {kind:?}"),
        )?;
    }
    Ok(())
}
