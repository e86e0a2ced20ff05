//! What a grant takes in memory while it is served: the live bytes of the heap that a manager adds
//! when it has loaded all grants of a store, beyond what it adds when it may keep only one.

use allocation_counter::AllocationInfo;
use benches::ours::{key, over, response};
use benches::{BoxError, Effort, Report};
use tokio::runtime::Runtime;
use tower_token::{KeyRing, MemoryStore, SealedStore};

use crate::TOKEN;

/// How many are loaded.
const GRANTS: usize = 100_000;

pub fn measured(effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    // One thread: only what this one allocates is counted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let grants = effort.grants(GRANTS);
    let store = runtime.block_on(async {
        let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
        let manager = over(store.clone()).cache_capacity(1).build().await?;
        for user in 0..grants {
            manager.connect(&key(user), response(user, TOKEN)).await?;
        }
        Ok::<_, BoxError>(store)
    })?;
    let one = loaded(&runtime, &store, grants, 1)?;
    let all = loaded(&runtime, &store, grants, grants)?;
    let each = |of: fn(&AllocationInfo) -> i64| (of(&all) - of(&one)) as f64 / grants as f64;
    let (bytes, pieces) = (
        each(|info| info.bytes_current),
        each(|info| info.count_current),
    );
    let beyond = bytes - TOKEN as f64;
    report.table(
        &[
            "memory of a cached grant",
            "bytes",
            "beyond the token's",
            "allocations",
        ],
        vec![vec![
            format!("of {grants}, token of {TOKEN} B"),
            format!("{bytes:.0}"),
            format!("{beyond:.0}"),
            format!("{pieces:.1}"),
        ]],
    );
    report.ratio("memory-per-grant-bytes", beyond);
    Ok(())
}

/// What a manager with room for so many takes after each grant was asked for once, by a key that
/// nobody else keeps.
fn loaded(
    runtime: &Runtime,
    store: &SealedStore,
    grants: usize,
    capacity: usize,
) -> Result<AllocationInfo, BoxError> {
    let mut manager = None;
    let mut done = Ok(());
    let info = allocation_counter::measure(|| {
        done = runtime.block_on(async {
            let built = over(store.clone()).cache_capacity(capacity).build().await?;
            for user in 0..grants {
                built.token(&key(user)).await?;
            }
            manager = Some(built);
            Ok(())
        });
    });
    drop(manager);
    done.map(|()| info)
}
