//! The processes, each started again when it is killed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tests::BoxError;
use tests::fleet::Process;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower_token::KeyRing;

use super::books::Books;

/// Before a process is started that could not be: its store may be down.
const AGAIN: Duration = Duration::from_millis(200);

/// What one process is at.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Of the process that is at work.
    pub(super) id: Mutex<Option<u32>>,
}

/// All of them.
pub(super) struct Fleet {
    pub(super) places: Vec<Arc<Place>>,
    leading: Vec<JoinHandle<Result<Process, BoxError>>>,
    rest: watch::Sender<bool>,
}

impl Fleet {
    /// Starts one for each task, and keeps them at work.
    pub(super) fn start(
        tasks: Vec<Value>,
        ring: &KeyRing,
        seed: u64,
        books: &Arc<Mutex<Books>>,
    ) -> Self {
        let rest = watch::Sender::new(false);
        let places: Vec<Arc<Place>> = tasks.iter().map(|_| Arc::default()).collect();
        let leading = tasks.into_iter().zip(&places).enumerate();
        let leading = leading.map(|(p, (task, place))| {
            let lead = Lead {
                p,
                task,
                place: Arc::clone(place),
                ring: ring.clone(),
                seed,
                books: Arc::clone(books),
                rest: rest.subscribe(),
            };
            tokio::spawn(lead.lead())
        });
        Self {
            leading: leading.collect(),
            places,
            rest,
        }
    }

    /// Lets them finish what they are at, and returns them.
    pub(super) async fn rest(self) -> Result<Vec<Process>, BoxError> {
        self.rest.send_replace(true);
        let mut fleet = Vec::new();
        for leading in self.leading {
            fleet.push(leading.await??);
        }
        Ok(fleet)
    }
}

/// Who leads one process and its successors.
struct Lead {
    p: usize,
    task: Value,
    place: Arc<Place>,
    ring: KeyRing,
    seed: u64,
    books: Arc<Mutex<Books>>,
    rest: watch::Receiver<bool>,
}

impl Lead {
    /// Until they are to rest.
    async fn lead(mut self) -> Result<Process, BoxError> {
        for start in 0.. {
            let Ok(mut process) = Process::start(&self.task, &self.ring).await else {
                sleep(AGAIN).await;
                continue;
            };
            self.books.lock().replaced(self.p);
            // Another order each time.
            process
                .tell(&format!("keep-on {}", self.seed * 1_000 + start))
                .await?;
            *self.place.id.lock() = process.id();
            if self.follow(&mut process).await? {
                return Ok(process);
            }
            *self.place.id.lock() = None;
            process.ended().await?;
            self.books.lock().stopped(self.p);
        }
        Err("nobody starts so often".into())
    }

    /// Whether it rests; else it has ended.
    async fn follow(&mut self, process: &mut Process) -> Result<bool, BoxError> {
        let mut told = false;
        loop {
            tokio::select! {
                line = process.line() => match line?.as_deref() {
                    None => return Ok(false),
                    Some("rest") => return Ok(true),
                    Some(line) => self.books.lock().heard(self.p, line)?,
                },
                () = is_over(&mut self.rest), if !told => {
                    told = true;
                    process.tell("rest").await?;
                }
            }
        }
    }
}

async fn is_over(rest: &mut watch::Receiver<bool>) {
    let _ = rest.wait_for(|rest| *rest).await;
}
