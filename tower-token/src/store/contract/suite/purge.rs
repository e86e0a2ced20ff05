//! Removal.

use super::bench::{Bench, Checked, added, bytes, clear, ensure, key, saved};
use crate::store::contract::byte_store::{ByteStore, Expected};

pub(super) async fn a_purge_removes_one_version_alone<S: ByteStore>(
    bench: &Bench<'_, S>,
) -> Checked {
    let (store, key, other) = (bench.store().await?, key(10, 1), key(10, 2));
    let long = bytes(9_000);
    let first = added(&store, key, &long).await?;
    let beside = added(&store, other, &long).await?;
    let second = saved(&store, key, &long, None, Expected::Version(first)).await?;
    ensure(
        !store.purge(&key, first).await?,
        "a purge of a version that was replaced says that it removed it",
    )?;
    ensure(
        store.load(&key).await?.is_some(),
        "a row was removed though it had changed",
    )?;
    ensure(
        store.purge(&key, second).await?,
        "a purge says that the row was not there, which it was",
    )?;
    ensure(
        store.load(&key).await?.is_none(),
        "a row is there after its purge",
    )?;
    ensure(
        !store.purge(&key, second).await?,
        "a row that was gone was removed once more",
    )?;
    let found = store.load(&other).await?;
    ensure(
        found.is_some_and(|row| row.version == beside && row.bytes == long),
        "a purge touched another row",
    )?;
    clear(&store, [other]).await
}
