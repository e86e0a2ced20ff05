//! How long after a logout was acknowledged the user's token is still used by other processes.
//!
//! ```text
//! cargo run --release -p tests --bin fleet-logout -- --processes 4 --logouts 1000
//! ```
//!
//! All processes have all grants in memory and serve them. Each logout is done by one of them, in
//! turn; all others ask for that user's token all the time, and say when they are given none any
//! more. What is measured is from the acknowledgement to the last of them. Twice: with
//! notifications of the database, and by looking at it only.
//!
//! It fails if one in a hundred took longer than a second, or any longer than three: a machine that
//! has much else to do may keep a single one. And if half of those that were notified took as long
//! as by looking: then nobody was.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tests::BoxError;
use tests::fleet::{Process, Service, Setting, Store, Through, start};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tower_token::testkit::AuthServer;

const USAGE: &str = "usage: fleet-logout [--store postgres] [--processes P] [--logouts L]";

/// How many users leave at a time.
const AT_ONCE: usize = 16;
/// Nothing is refreshed meanwhile.
const LIFE: Duration = Duration::from_secs(86_400);
/// In milliseconds, of all but one in a hundred, and of all.
const MOST: f64 = 1_000.0;
const MOST_OF_ALL: f64 = 3_000.0;
/// Who looks does that every 500 ms, and who is notified knows within a few.
const NOTIFIED: f64 = 250.0;

struct Options {
    store: Store,
    processes: usize,
    logouts: usize,
}

fn main() -> ExitCode {
    start(|arguments| both(&options(arguments)?))
}

fn options(arguments: &[&str]) -> Result<Options, BoxError> {
    let mut options = Options {
        store: Store::Postgres,
        processes: 4,
        logouts: 1_000,
    };
    for option in arguments.chunks(2) {
        match option {
            ["--store", name] => options.store = Store::named(name)?,
            ["--processes", number] => options.processes = number.parse()?,
            ["--logouts", number] => options.logouts = number.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    match options.processes {
        0 | 1 => Err("it takes another process to hear of a logout".into()),
        _ => Ok(options),
    }
}

#[tokio::main]
async fn both(options: &Options) -> Result<bool, BoxError> {
    let mut fine = true;
    for listening in [true, false] {
        let mut took = logouts(options, listening).await?;
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        let how = match listening {
            true => "notified",
            false => "polled",
        };
        println!(
            "{how}: logouts {} p50_ms {:.1} p99_ms {:.1} max_ms {:.1}",
            took.len(),
            at(50),
            at(99),
            at(100)
        );
        fine &= at(99) <= MOST && at(100) <= MOST_OF_ALL;
        fine &= !listening || at(50) < NOTIFIED;
    }
    Ok(fine)
}

/// Of each logout the milliseconds until the last process had heard of it.
async fn logouts(options: &Options, listening: bool) -> Result<Vec<f64>, BoxError> {
    let server = AuthServer::builder().access_ttl(LIFE).start()?;
    let service = Service::of_testkit(&server);
    let mut setting = Setting::start(options.store, Through::Nothing).await?;
    setting.listening = listening;
    setting
        .connect_testkit(&server, &service, options.logouts)
        .await?;
    let mut fleet = Vec::new();
    for index in 0..options.processes {
        let task = setting.task(index, options.logouts, &service);
        let mut process = Process::start(&task, &setting.ring).await?;
        process.ask("warm").await?;
        fleet.push(Arc::new(Member::lead(process)));
    }
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let (mut leaving, mut took) = (JoinSet::new(), Vec::new());
    for n in 0..options.logouts {
        let place = Arc::clone(&places).acquire_owned().await?;
        let fleet = fleet.clone();
        leaving.spawn(async move {
            let took = leave(n, &fleet).await;
            drop(place);
            took
        });
    }
    while let Some(left) = leaving.join_next().await {
        took.push(left??);
    }
    Ok(took)
}

/// Everybody serves the token, one ends the grant, and all others notice.
async fn leave(n: usize, fleet: &[Arc<Member>]) -> Result<f64, BoxError> {
    let at = n % fleet.len();
    let others = || fleet.iter().enumerate().filter(move |(p, _)| *p != at);
    let (mut serve, mut stopped) = (Vec::new(), Vec::new());
    for (_, other) in others() {
        serve.push(other.said("serves", n));
        stopped.push(other.said("stopped", n));
        other.tell(format!("watch {n}"))?;
    }
    for serves in serve {
        serves.await?;
    }
    let out = fleet[at].said("out", n);
    fleet[at].tell(format!("logout {n}"))?;
    let out = out.await?;
    let mut last = 0;
    for stopped in stopped {
        last = last.max(stopped.await?);
    }
    // Others may hear of it before who asked does.
    Ok(last.saturating_sub(out) as f64 / 1_000.0)
}

/// Who waits for what; nobody any more when the process says nothing further.
type Said = parking_lot::Mutex<Option<HashMap<(&'static str, usize), oneshot::Sender<u64>>>>;

/// A process, and who waits for what it says.
struct Member {
    commands: UnboundedSender<String>,
    awaited: Arc<Said>,
}

impl Member {
    fn lead(process: Process) -> Self {
        let (commands, told) = unbounded_channel();
        let awaited = Arc::new(Said::new(Some(HashMap::new())));
        // It ends when nobody tells it anything any more.
        tokio::spawn({
            let awaited = Arc::clone(&awaited);
            async move {
                if let Err(error) = follow(process, told, &awaited).await {
                    println!("{error}");
                }
                awaited.lock().take();
            }
        });
        Self { commands, awaited }
    }

    fn tell(&self, command: String) -> Result<(), BoxError> {
        Ok(self.commands.send(command)?)
    }

    /// When it says `what` of grant `n`, by the wall clock in microseconds. Asked before it can.
    fn said(&self, what: &'static str, n: usize) -> oneshot::Receiver<u64> {
        let (say, said) = oneshot::channel();
        if let Some(awaited) = &mut *self.awaited.lock() {
            awaited.insert((what, n), say);
        }
        said
    }
}

async fn follow(
    mut process: Process,
    mut told: UnboundedReceiver<String>,
    awaited: &Said,
) -> Result<(), BoxError> {
    loop {
        tokio::select! {
            command = told.recv() => match command {
                Some(command) => process.tell(&command).await?,
                None => return Ok(()),
            },
            line = process.line() => {
                let line = line?.ok_or("a process has ended")?;
                let words: Vec<&str> = line.split(' ').collect();
                let [what, n, at] = words[..] else { return Err(line.into()) };
                let what = ["serves", "stopped", "out"].into_iter().find(|known| *known == what);
                // Whoever waits is told by the end of this task.
                let what = what.ok_or_else(|| format!("a process said {line:?}"))?;
                let waits = (what, n.parse()?);
                let say = awaited.lock().as_mut().and_then(|all| all.remove(&waits));
                if let Some(say) = say {
                    let _ = say.send(at.parse()?);
                }
            }
        }
    }
}
