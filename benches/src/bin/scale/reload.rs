//! A working set that the cache has no room for: what it costs to have a grant back from the
//! store, beside a hit.

use std::sync::Arc;

use benches::ours::{key, over, response};
use benches::{BoxError, Case, Effort, Report, folder, measure};
use tokio::runtime::Runtime;
use tower_token::{
    ByteStore, GrantKey, KeyRing, MemoryStore, SealedStore, SledStore, TokenManager,
};

use crate::TOKEN;

/// Asked for in turn.
const GRANTS: usize = 10_000;
/// For so many of them there is room: whoever comes next was evicted.
const ROOM: usize = 1_000;
/// In a round.
const LOADS: usize = 5_000;

pub fn measured(runtime: &Runtime, effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    let grants = effort.grants(GRANTS);
    let room = ROOM.min(grants / 2);
    let folder = folder()?;
    let sled = Arc::new(runtime.block_on(SledStore::open(folder.path()))?);
    let in_memory = runtime.block_on(sealed(MemoryStore::new(), grants))?;
    let on_disk = runtime.block_on(sealed(Arc::clone(&sled), grants))?;
    let ways = [
        ("hit", &in_memory, grants),
        ("reload from MemoryStore", &in_memory, room),
        ("reload from SledStore", &on_disk, room),
    ];
    let loads = effort.of(LOADS);
    let keys: Vec<_> = (0..grants).map(key).collect();
    let mut cases = Vec::new();
    for (name, store, capacity) in ways {
        let manager = runtime.block_on(over(store.clone()).cache_capacity(capacity).build())?;
        runtime.block_on(all(&manager, &keys))?;
        let mut next = 0;
        let keys = &keys;
        cases.push(Case::new(name, move || {
            runtime.block_on(async {
                for _ in 0..loads {
                    std::hint::black_box(manager.token(&keys[next]).await?);
                    next = (next + 1) % keys.len();
                }
                Ok(())
            })
        }));
    }
    let measured = measure(effort, cases)?;
    let us = |at: usize| measured[at].median.as_secs_f64() / loads as f64 * 1e6;
    let row = |at: usize| {
        vec![
            measured[at].name.clone(),
            format!("{:.2}", us(at)),
            format!("{:.1}", us(at) / us(0)),
        ]
    };
    let head = format!("{grants} grants, room for {room}");
    report.table(
        &[&head, "us", "of a hit"],
        (0..measured.len()).map(row).collect(),
    );
    report.ratio("reload/memory-us", us(1));
    report.ratio("reload/sled-us", us(2));
    runtime.block_on(sled.close());
    Ok(())
}

async fn sealed(store: impl ByteStore, grants: usize) -> Result<SealedStore, BoxError> {
    let store = SealedStore::open(store, KeyRing::generate()?).await?;
    connect(&store, grants).await?;
    Ok(store)
}

/// Every grant once.
pub async fn all(manager: &TokenManager, keys: &[GrantKey]) -> Result<(), BoxError> {
    for key in keys {
        manager.token(key).await?;
    }
    Ok(())
}

/// So many users connect, many at once: what is saved together is synced together.
pub async fn connect(store: &SealedStore, grants: usize) -> Result<(), BoxError> {
    const AT_ONCE: usize = 256;
    let manager = over(store.clone()).cache_capacity(1).build().await?;
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|task| {
            let manager = manager.clone();
            tokio::spawn(async move {
                for user in (task..grants).step_by(AT_ONCE) {
                    manager.connect(&key(user), response(user, TOKEN)).await?;
                }
                Ok::<_, BoxError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}
