//! Durable saves by 1, 32 and 256 tasks at once, each over a row of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use benches::{BoxError, Case, Effort, Measured, Report, measure};
use tokio::runtime::Runtime;
use tower_token::testkit::probe::Sample;
use tower_token::{ByteStore, Expected, KeyRing, SaveOutcome, SealedStore, SledStore};

use crate::raw::RawSled;
use crate::{folder, sample};

/// How many tasks save at once, and how often each of them does in a round.
const AT_ONCE: [(usize, usize); 3] = [(1, 200), (32, 80), (256, 40)];
/// What a row has in our layout before its bytes: the version, when it is due, a count.
const HEAD: usize = 18;

pub fn measured(runtime: &Runtime, effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    let mut rows = Vec::new();
    for (tasks, each) in AT_ONCE {
        let each = effort.of(each);
        let (ours, theirs) = (folder()?, folder()?);
        let store = Arc::new(runtime.block_on(SledStore::open(ours.path()))?);
        let sealed = SealedStore::open(Arc::clone(&store), KeyRing::generate()?);
        let sealed = runtime.block_on(sealed)?;
        let raw = Arc::new(RawSled::open(theirs.path())?);
        let versions = Arc::new(AtomicU64::new(1));
        let savers = runtime.block_on(savers(&sealed, tasks))?;
        // The same keys, and values of the same length.
        let same = runtime.block_on(store.scan(None, usize::MAX))?;
        let same: Vec<_> = same
            .into_iter()
            .filter(|(key, _)| key.group().as_bytes() != &[0; 16])
            .map(|(key, row)| {
                let value = [&[0; HEAD][..], &row.bytes].concat();
                (key.as_bytes().to_vec(), value)
            })
            .collect();
        let len = same.first().map_or(0, |(_, value)| value.len());
        let cases = vec![
            Case::new("raw sled", || {
                let tasks = same.iter().cloned().map(|(key, value)| {
                    let (raw, versions) = (Arc::clone(&raw), Arc::clone(&versions));
                    runtime.spawn(async move {
                        let mut value = value;
                        for _ in 0..each {
                            // sled writes nothing where nothing changes.
                            let version = versions.fetch_add(1, Ordering::Relaxed);
                            value[..8].copy_from_slice(&version.to_be_bytes());
                            raw.put(key.clone(), value.clone()).await?;
                        }
                        Ok(())
                    })
                });
                finish(runtime, tasks.collect())
            }),
            Case::new("SealedStore<SledStore>", || {
                let tasks = savers.iter().cloned().map(|saver| {
                    let sealed = sealed.clone();
                    runtime.spawn(async move { saver.save(&sealed, each).await })
                });
                finish(runtime, tasks.collect())
            }),
        ];
        let [base, ours]: [Measured; 2] = measure(effort, cases)?
            .try_into()
            .map_err(|_| "a case was not measured")?;
        let rate = |took: Duration| (tasks * each) as f64 / took.as_secs_f64();
        let ratio = rate(ours.median) / rate(base.median);
        report.ratio(format!("save-{tasks}"), ratio);
        rows.push(vec![
            format!("{tasks} at once, {len} B"),
            format!("{:.0}", rate(base.median)),
            format!("{:.0}", rate(ours.median)),
            format!("{ratio:.2}"),
        ]);
        runtime.block_on(store.close());
    }
    let head = ["durable saves a second", "raw sled", "sealed", "of raw"];
    report.table(&head, rows);
    Ok(())
}

fn finish(
    runtime: &Runtime,
    tasks: Vec<tokio::task::JoinHandle<Result<(), BoxError>>>,
) -> Result<(), BoxError> {
    runtime.block_on(async {
        for task in tasks {
            task.await??;
        }
        Ok(())
    })
}

/// Saves one grant over and over.
struct Saver {
    sample: Sample,
    /// What is to be replaced.
    version: tokio::sync::Mutex<Expected>,
}

impl Saver {
    async fn save(&self, store: &SealedStore, times: usize) -> Result<(), BoxError> {
        let mut version = self.version.lock().await;
        for _ in 0..times {
            let SaveOutcome::Saved(saved) = self.sample.save(store, *version).await? else {
                return Err("a save failed".into());
            };
            *version = Expected::Version(saved);
        }
        Ok(())
    }
}

async fn savers(store: &SealedStore, n: usize) -> Result<Vec<Arc<Saver>>, BoxError> {
    let mut savers = Vec::new();
    for user in 0..n {
        let saver = Saver {
            sample: sample(user)?,
            version: Expected::Absent.into(),
        };
        saver.save(store, 1).await?;
        savers.push(Arc::new(saver));
    }
    Ok(savers)
}
