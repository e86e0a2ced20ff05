//! Many tasks that save at once, and tasks beside them that ask to run every few milliseconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tower_token::{ByteStore, Expected, SaveOutcome, Version};

use crate::BoxError;
use crate::acked::{Grants, row_key};

/// How many tasks save.
pub const TASKS: usize = 256;
/// How often the others ask to run.
const BEAT: Duration = Duration::from_millis(5);
/// A save that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Saves that were acknowledged.
    pub saves: u64,
    /// The longest that a task which asked to run was kept waiting.
    pub longest_wait: Duration,
}

/// Saves for as long as `length`, on the runtime that this is called on.
pub async fn saves(store: impl ByteStore, length: Duration) -> Result<Report, BoxError> {
    let store = Arc::new(store);
    let grants = Grants::new().await?;
    let mut rows = Vec::new();
    for n in 0..7 {
        rows.push(grants.grant((1 << 10) << n).await?);
    }
    let end = Instant::now() + length;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, row) = (Arc::clone(&store), rows[task % rows.len()].clone());
            tokio::spawn(async move {
                let (mut saves, mut expected) = (0, Expected::Absent);
                while Instant::now() < end {
                    let key = row_key(task);
                    let saved = timeout(PATIENCE, store.save(&key, row.clone(), expected));
                    let SaveOutcome::Saved(version) = saved.await?? else {
                        return Err(BoxError::from("a save failed"));
                    };
                    let found = timeout(PATIENCE, store.load(&key)).await??;
                    if found.map(|row| row.version) != Some(version) {
                        return Err("a save was acknowledged and is not there".into());
                    }
                    expected = Expected::Version(Version(version.0));
                    saves += 1;
                }
                Ok(saves)
            })
        })
        .collect();
    // One for each worker, and some.
    let beats: Vec<_> = (0..4).map(|_| tokio::spawn(beat(end))).collect();

    let (mut saves, mut longest_wait) = (0, Duration::ZERO);
    for task in tasks {
        saves += task.await??;
    }
    for beat in beats {
        longest_wait = longest_wait.max(beat.await?);
    }
    store.close().await;
    Ok(Report {
        saves,
        longest_wait,
    })
}

async fn beat(end: Instant) -> Duration {
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        let asked = Instant::now() + BEAT;
        sleep(BEAT).await;
        longest = longest.max(asked.elapsed());
    }
    longest
}
