//! Loads of grants by their keys, in no order.

use std::sync::Arc;

use benches::{BoxError, Case, Effort, Report, measure};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tower_token::{ByteStore, Expected, KeyRing, SealedStore, SledStore};

use crate::raw::RawSled;
use crate::seals::Bare;
use crate::{folder, sample};

const ROWS: usize = 10_000;
/// In a round.
const LOADS: usize = 5_000;

pub fn measured(runtime: &Runtime, effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    let (ours, theirs) = (folder()?, folder()?);
    let store = Arc::new(runtime.block_on(SledStore::open(ours.path()))?);
    let opening = SealedStore::open(Arc::clone(&store), KeyRing::generate()?);
    let sealed = runtime.block_on(opening)?;
    let rows = effort.of(ROWS);
    let samples: Result<Vec<_>, _> = (0..rows).map(|user| sample(user).map(Arc::new)).collect();
    let samples = samples?;
    runtime.block_on(async {
        let mut saves = JoinSet::new();
        for sample in &samples {
            let (sealed, sample) = (sealed.clone(), Arc::clone(sample));
            saves.spawn(async move { sample.save(&sealed, Expected::Absent).await });
        }
        let saves = saves.join_all().await;
        saves.into_iter().try_for_each(|saved| saved.map(drop))
    })?;

    // The same keys, and values of the same length that a bare cipher opens.
    let raw = RawSled::open(theirs.path())?;
    let bare = Bare::new()?;
    let mut keys = Vec::new();
    for (key, row) in runtime.block_on(store.scan(None, usize::MAX))? {
        let text = vec![b'a'; row.bytes.len() - Bare::BESIDE];
        raw.db.insert(key.as_bytes(), bare.seal(&text)?)?;
        keys.push(*key.as_bytes());
    }
    raw.db.flush()?;

    let loads = effort.of(LOADS);
    // The same for all, and none that a cache could guess.
    let order = |n: usize, of: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % of;
    let cases = vec![
        Case::new("raw get", || {
            for n in 0..loads {
                let found = raw.db.get(keys[order(n, keys.len())])?;
                std::hint::black_box(found.ok_or("it is gone")?);
            }
            Ok(())
        }),
        Case::new("raw get and bare open", || {
            for n in 0..loads {
                let found = raw.db.get(keys[order(n, keys.len())])?;
                let opened = bare.open(&found.ok_or("it is gone")?)?;
                std::hint::black_box(opened);
            }
            Ok(())
        }),
        Case::new("SealedStore<SledStore>", || {
            runtime.block_on(async {
                for n in 0..loads {
                    let len = samples[order(n, samples.len())].load(&sealed).await?;
                    std::hint::black_box(len);
                }
                Ok(())
            })
        }),
    ];
    let measured = measure(effort, cases)?;
    let base = measured[1].median.as_secs_f64();
    let table: Vec<_> = measured
        .iter()
        .map(|case| {
            let took = case.median.as_secs_f64();
            let each = took / loads as f64 * 1e6;
            vec![
                case.name.clone(),
                format!("{each:.2}"),
                format!("{:.2}", took / base),
            ]
        })
        .collect();
    let head = format!("loads, {rows} rows of 1 KiB");
    report.table(&[&head, "us", "of bare"], table);
    runtime.block_on(store.close());
    let ours = measured[2].median.as_secs_f64();
    report.ratio("load", ours / base);
    Ok(())
}
