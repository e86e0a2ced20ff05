//! A process that moves its store, writes meanwhile, and dies at any step, again and again: no
//! row is lost, none comes back, and never do both stores open.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::bad_store::{BadStore, Fate};
use crate::rt::Mutex;
use crate::store::contract::{ByteStore, Expected, Group, Row, RowKey, SaveOutcome, SealedRow};
use crate::store::keyset::Keyset;
use crate::store::moving::mark::{Mark, Stage};
use crate::store::moving::{MoveProgress, MovingStore};

const KEYS: u64 = 12;
/// What the model knows the keyset as: not opened by anybody here.
const KEYSET: &[u8] = b"the wrapped keyset";

type Value = Option<Bytes>;

/// What a row is, as far as anybody was told, and what it may become.
#[derive(Debug, Default, Clone)]
struct Known {
    is: Value,
    maybe: Vec<Value>,
}

impl Known {
    fn told(&mut self, value: &Value) {
        if *value != self.is {
            assert!(
                self.maybe.contains(value),
                "{value:?} was found, and {self:?} is known"
            );
            // Whatever else was sent was to replace what was there before.
            *self = Self {
                is: value.clone(),
                maybe: Vec::new(),
            };
        }
    }
}

type Model = Mutex<BTreeMap<RowKey, Known>>;

fn key(n: u64) -> RowKey {
    RowKey::new(Group([n as u8 + 1; 16]), [7; 32])
}

fn value(row: Option<&Row>) -> Value {
    row.map(|row| row.bytes.clone())
}

/// One who loads, saves and purges as a manager does: what it does not know it looks up.
async fn one_write(store: &impl ByteStore, model: &Model, fate: &Fate, n: u64) {
    let key = key(fate.below(KEYS));
    let Ok(row) = store.load(&key).await else {
        return;
    };
    let known = |f: &mut dyn FnMut(&mut Known)| f(model.lock().entry(key).or_default());
    known(&mut |known| known.told(&value(row.as_ref())));
    if let (Some(row), 0) = (&row, fate.below(4)) {
        known(&mut |known| known.maybe.push(None));
        if let Ok(true) = store.purge(&key, row.version).await {
            known(&mut |known| *known = Known::default());
        }
        return;
    }
    let bytes = Bytes::from(format!("value {n}"));
    known(&mut |known| known.maybe.push(Some(bytes.clone())));
    let expected = row.map_or(Expected::Absent, |row| Expected::Version(row.version));
    let saved = store.save(&key, SealedRow::new(bytes.clone(), None), expected);
    if let Ok(SaveOutcome::Saved(_)) = saved.await {
        let is = Some(bytes);
        let maybe = Vec::new();
        known(&mut |known| {
            *known = Known {
                is: is.clone(),
                maybe: maybe.clone(),
            }
        });
    }
}

struct World {
    fate: Arc<Fate>,
    from: BadStore,
    to: BadStore,
    model: Model,
    writes: Mutex<u64>,
}

impl World {
    fn moving(&self) -> MovingStore<BadStore, BadStore> {
        MovingStore::new(self.from.clone(), self.to.clone()).rows_per_step(3)
    }

    /// One life of the process: it moves its store, and writes, until it dies.
    async fn life(&self) -> Option<MoveProgress> {
        let (moving, died) = (self.moving(), self.fate.died());
        let writer = async {
            loop {
                let n = {
                    let mut writes = self.writes.lock();
                    *writes += 1;
                    *writes
                };
                one_write(&moving, &self.model, &self.fate, n).await;
                tokio::task::yield_now().await;
            }
        };
        let run = async {
            loop {
                if let Ok(moved) = moving.run().await {
                    // The writer has some time left, in the other store.
                    for _ in 0..self.fate.below(60) {
                        tokio::task::yield_now().await;
                    }
                    return moved;
                }
            }
        };
        tokio::select! {
            biased;
            () = died.notified() => None,
            moved = run => Some(moved),
            () = writer => None,
        }
    }

    async fn check_one_opens(&self) {
        let read = async |store: &BadStore| {
            let row = store.rows.load(&Keyset::row_key()).await.unwrap();
            row.map(|row| Mark::read(&row.bytes).map(|mark| mark.stage))
        };
        let (from, to) = (read(&self.from).await, read(&self.to).await);
        match (from, to) {
            (Some(None), None | Some(Some(Stage::Arriving))) => {}
            (Some(Some(Stage::Left)), Some(None | Some(Stage::Arriving))) => {}
            both => panic!("the stores are {both:?}"),
        }
    }

    /// Whatever the moving store shows is known, and so is what lies in the store it is by then.
    async fn check_rows(&self) {
        let moving = self.moving();
        for n in 0..KEYS {
            let row = moving.load(&key(n)).await.unwrap();
            self.model
                .lock()
                .entry(key(n))
                .or_default()
                .told(&value(row.as_ref()));
        }
    }
}

/// One runtime a life: what it did not finish is gone.
fn in_a_process<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(work)
}

fn run(seed: u64, lives: &[usize], bad: u64) {
    let fate = Arc::new(Fate::new(seed));
    let world = World {
        from: BadStore::new(&fate),
        to: BadStore::new(&fate),
        fate: Arc::clone(&fate),
        model: Model::default(),
        writes: Mutex::new(0),
    };
    in_a_process(async {
        let keyset = SealedRow::new(KEYSET, None);
        let rows = &world.from.rows;
        rows.save(&Keyset::row_key(), keyset, Expected::Absent)
            .await
            .unwrap();
        for n in 0..KEYS {
            one_write(&world.from, &world.model, &fate, n).await;
        }
    });
    for calls in lives {
        fate.live(*calls, bad);
        let _ = in_a_process(world.life());
        fate.live(usize::MAX, 0);
        in_a_process(async {
            world.check_one_opens().await;
            if fate.below(2) == 0 {
                world.from.arrive().await;
                world.to.arrive().await;
                world.check_one_opens().await;
            }
            world.check_rows().await;
        });
    }
    let moved = in_a_process(world.life());
    assert!(moved.unwrap().is_done);
    in_a_process(async {
        world.from.arrive().await;
        world.to.arrive().await;
        world.check_one_opens().await;
        world.check_rows().await;
        let keyset = world.to.rows.load(&Keyset::row_key()).await.unwrap();
        assert_eq!(keyset.unwrap().bytes, KEYSET);
        // All of it is there, and nothing else.
        let there = world.to.rows.scan(None, 100).await.unwrap();
        let model = world.model.lock();
        let known = model
            .iter()
            .filter_map(|(key, known)| Some((*key, known.is.clone()?)));
        let there = there.into_iter().skip(1).map(|(key, row)| (key, row.bytes));
        assert!(known.eq(there));
    });
}

proptest! {
    #[test]
    fn no_row_is_lost_and_none_comes_back(
        seed: u64,
        lives in prop::collection::vec(1..400_usize, 0..5),
        bad in 0..40_u64,
    ) {
        run(seed, &lives, bad);
    }
}
