//! A start with many grants in the store: until a manager is there, until a user has a token, and
//! until everybody has.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::ours::{key, over};
use benches::{BoxError, Effort, Report, folder};
use tokio::runtime::Runtime;
use tower_token::{ByteStore as _, GrantKey, KeyRing, SealedStore, SledStore};

use crate::reload::{all, connect};

const GRANTS: usize = 100_000;
/// Each takes about as long as all rounds of another table.
const STARTS: usize = 7;
const STEPS: [&str; 4] = ["store-open", "manager-built", "first-token", "all-loaded"];

pub fn measured(runtime: &Runtime, effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    let grants = effort.grants(GRANTS);
    let folder = folder()?;
    let ring = KeyRing::generate()?;
    runtime.block_on(async {
        let sled = Arc::new(SledStore::open(folder.path()).await?);
        let store = SealedStore::open(Arc::clone(&sled), ring.clone()).await?;
        connect(&store, grants).await?;
        sled.close().await;
        Ok::<_, BoxError>(())
    })?;
    let keys: Vec<_> = (0..grants).map(key).collect();
    let mut starts = Vec::new();
    for _ in 0..STARTS.min(effort.rounds) {
        starts.push(runtime.block_on(start(folder.path(), ring.clone(), &keys))?);
    }
    let mut rows = Vec::new();
    for (at, step) in STEPS.into_iter().enumerate() {
        let mut times: Vec<Duration> = starts.iter().map(|start| start[at]).collect();
        times.sort_unstable();
        let ms = times[times.len() / 2].as_secs_f64() * 1e3;
        rows.push(vec![step.replace('-', " "), format!("{ms:.1}")]);
        report.ratio(format!("start-{grants}/{step}-ms"), ms);
    }
    let head = format!("start with {grants} grants, until");
    report.table(&[&head, "ms"], rows);
    Ok(())
}

/// How long after its begin each step was done; all grants are asked for one by one.
async fn start(
    folder: &Path,
    ring: KeyRing,
    keys: &[GrantKey],
) -> Result<[Duration; STEPS.len()], BoxError> {
    let begin = Instant::now();
    let sled = Arc::new(SledStore::open(folder).await?);
    let store = SealedStore::open(Arc::clone(&sled), ring).await?;
    let opened = begin.elapsed();
    let manager = over(store).cache_capacity(keys.len()).build().await?;
    let built = begin.elapsed();
    manager.token(&keys[keys.len() / 2]).await?;
    let first = begin.elapsed();
    all(&manager, keys).await?;
    let last = begin.elapsed();
    sled.close().await;
    Ok([opened, built, first, last])
}
