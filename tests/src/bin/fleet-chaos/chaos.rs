//! The whole run, and what is looked at in the end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tests::BoxError;
use tests::fleet::{Process, Random, Service, Setting, Store, Through, account};
use tests::oidc::Oidc;
use tokio::time::{Instant, sleep};
use tower_token::Serial;

use super::books::Books;
use super::faults::fail;
use super::fleet::Fleet;

/// Short enough that what may be spent is tried again before the end.
const ACCESS_TTL: u32 = 24;
const STORAGE_MS: u32 = 5;
/// A process that stands still for longer has an exchange of which nobody knows.
const EXCHANGE: Duration = Duration::from_secs(5);
/// For every grant to be refreshed once more, or to come to its end.
const SETTLED: Duration = Duration::from_secs(5 * ACCESS_TTL as u64);

pub(super) struct Options {
    pub(super) store: Store,
    pub(super) processes: usize,
    pub(super) grants: usize,
    pub(super) faults: u64,
    pub(super) seed: u64,
}

#[tokio::main]
pub(super) async fn chaos(options: &Options) -> Result<bool, BoxError> {
    let oidc = Oidc::start_slow(ACCESS_TTL, STORAGE_MS).await?;
    let mut setting = Setting::start(options.store, Through::Proxy).await?;
    let service = Service {
        exchange_timeout: EXCHANGE,
        // Nothing is refreshed behind: whoever refreshes a grant has said so.
        margin: Duration::ZERO,
        ..Service::of(&oidc)
    };
    setting.connect_at(&oidc, &service, options.grants).await?;
    let task = |index| setting.task(index, options.grants, &service);
    let tasks = (0..options.processes).map(task).collect();
    let auditor = task(options.processes);
    let books = Arc::new(Mutex::new(Books::new(options.processes, options.grants)));
    let fleet = Fleet::start(tasks, &setting.ring, options.seed, &books);
    let begin = Instant::now();
    let mut random = Random::new(&[options.seed]);
    let faults = fail(
        options.faults,
        &mut random,
        &mut setting,
        &oidc,
        &fleet,
        &books,
    )
    .await?;
    let stuck = settle(&books, options.grants).await;
    let took = begin.elapsed();

    let mut fleet = fleet.rest().await?;
    // The first waits for what has come to its end, the second makes all tokens new.
    all(&mut fleet, "round 0").await?;
    all(&mut fleet, "round 1").await?;
    let mut auditor = Process::start(&auditor, &setting.ring).await?;
    let stored = auditor.ask("stored").await?;
    let held = all(&mut fleet, &format!("catch-up {stored}")).await?;
    let mut audit = Audit::default();
    for n in 0..options.grants {
        let stored = Stored::read(&stored[n])?;
        audit.look(
            n,
            &stored,
            &mut books.lock(),
            held.iter().map(|held| &held[n]),
        );
    }
    let tokens = auditor.ask("tokens").await?;
    for n in 0..options.grants {
        if !audit.ended.contains(&n) {
            let token = tokens[n].as_str().unwrap_or_default();
            audit.wrong_users += u64::from(oidc.subject(token).await? != Some(account(n)));
        }
    }

    let server = oidc.refreshes().await?;
    let books = books.lock();
    println!(
        "processes {} grants {} seed {} seconds {:.0} {faults:?}",
        options.processes,
        options.grants,
        options.seed,
        took.as_secs_f64()
    );
    println!(
        "heard: exchanges {} adopted {} lost_races {} served {} unsaved {} failed {:?}",
        books.exchanges, books.adopted, books.lost_races, books.served, books.unsaved, books.failed
    );
    println!(
        "under_way_at_a_fault {} unexplained {} stuck {stuck} not_agreed {} wrong_users {}",
        books.under_way, audit.unexplained, audit.not_agreed, audit.wrong_users
    );
    println!(
        "faults {} exchanges {} reuse {} revoked {} needs_reconnect {} crossed {} lost_saves {} \
         older {}",
        faults.all(),
        server.ok,
        server.reuse_detected,
        server.grants_revoked,
        audit.ended.len(),
        books.crossed,
        audit.lost_saves,
        books.older
    );
    Ok(audit.is_fine()
        && (stuck, books.crossed, books.older) == (0, 0, 0)
        && server.grants_revoked <= books.under_way
        && server.grants_revoked <= audit.ended.len() as u64)
}

/// Waits until every grant was refreshed once more, or has ended; how many were not.
async fn settle(books: &Mutex<Books>, grants: usize) -> usize {
    let newest = |books: &Books| (0..grants).map(|n| books.newest(n)).collect::<Vec<_>>();
    let before = newest(&books.lock());
    let deadline = Instant::now() + SETTLED;
    loop {
        let left = {
            let books = books.lock();
            let waits = |n: &usize| books.newest(*n) <= before[*n] && !books.ended.contains(n);
            (0..grants).filter(waits).count()
        };
        if left == 0 || Instant::now() > deadline {
            return left;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Gives all one command at once, and returns what they answer.
async fn all(fleet: &mut [Process], command: &str) -> Result<Vec<Value>, BoxError> {
    for process in &mut *fleet {
        process.tell(command).await?;
    }
    let mut answers = Vec::new();
    for process in fleet {
        let line = process.line().await?.ok_or("a process has ended")?;
        answers.push(serde_json::from_str(&line).map_err(|_| line)?);
    }
    Ok(answers)
}

/// What the store has of a grant.
struct Stored {
    serial: Serial,
    mark: Option<u64>,
    has_ended: bool,
}

impl Stored {
    fn read(value: &Value) -> Result<Self, BoxError> {
        let number = |at: usize| value[at].as_u64();
        Ok(Self {
            serial: Serial {
                epoch: number(0).unwrap_or(0),
                issue: number(1).unwrap_or(0),
            },
            mark: number(2),
            has_ended: value[3].as_bool().ok_or("the store has no such grant")?,
        })
    }
}

#[derive(Debug, Default)]
struct Audit {
    ended: Vec<usize>,
    unexplained: u64,
    lost_saves: u64,
    /// Tokens in hand that are not the store's.
    not_agreed: u64,
    wrong_users: u64,
}

impl Audit {
    fn look<'a>(
        &mut self,
        n: usize,
        stored: &Stored,
        books: &mut Books,
        held: impl Iterator<Item = &'a Value>,
    ) {
        if let Some(mark) = stored.mark {
            books.seen(n, mark);
        }
        if stored.has_ended {
            self.ended.push(n);
            self.unexplained += u64::from(!books.at_risk.contains(&n));
            return;
        }
        self.lost_saves += u64::from(stored.serial < books.newest(n));
        let differs = |held: &&Value| held[2].as_u64() != stored.mark;
        self.not_agreed += held.filter(differs).count() as u64;
    }

    fn is_fine(&self) -> bool {
        (self.unexplained, self.lost_saves) == (0, 0)
            && (self.not_agreed, self.wrong_users) == (0, 0)
    }
}
