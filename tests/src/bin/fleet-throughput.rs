//! How many refreshes one PostgreSQL takes, and how many round trips each of them is.
//!
//! ```text
//! cargo run --release -p tests --bin fleet-throughput -- --grants 2000 --rounds 3
//! ```
//!
//! The token service is the testkit's, which answers at once, so that the store is what is
//! waited for. Each process has grants of its own, and refreshes 25 at a time. Then one process
//! alone goes by a proxy that counts how often it spoke to the database.
//!
//! It fails if a refresh failed, or took more round trips than it should.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use tests::BoxError;
use tests::fleet::{Process, Service, Setting, Store, Through, start};
use tokio::time::Instant;
use tower_token::testkit::AuthServer;

const USAGE: &str = "usage: fleet-throughput [--store postgres] [--grants G] [--rounds R]";

/// Nothing is refreshed that nobody asks for.
const LIFE: Duration = Duration::from_secs(86_400);

/// Five of a refresh itself, and what is shared by several.
const MOST_TURNS: f64 = 8.0;

struct Options {
    store: Store,
    grants: usize,
    rounds: usize,
}

fn main() -> ExitCode {
    start(|arguments| measure(&options(arguments)?))
}

fn options(arguments: &[&str]) -> Result<Options, BoxError> {
    let mut options = Options {
        store: Store::Postgres,
        grants: 2_000,
        rounds: 3,
    };
    for option in arguments.chunks(2) {
        match option {
            ["--store", name] => options.store = Store::named(name)?,
            ["--grants", number] => options.grants = number.parse()?,
            ["--rounds", number] => options.rounds = number.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

#[tokio::main]
async fn measure(options: &Options) -> Result<bool, BoxError> {
    let mut fine = true;
    for processes in [1, 2, 4] {
        let run = run(options, processes, Through::Nothing).await?;
        println!(
            "processes {processes} refreshes {} seconds {:.1} refreshes_per_second {:.0}",
            run.refreshes,
            run.took.as_secs_f64(),
            run.refreshes as f64 / run.took.as_secs_f64()
        );
        fine &= run.is_fine;
    }
    let run = run(options, 1, Through::Proxy).await?;
    let turns = run.turns as f64 / run.refreshes.max(1) as f64;
    println!("round_trips_per_refresh {turns:.2}");
    Ok(fine && run.is_fine && turns <= MOST_TURNS)
}

struct Run {
    refreshes: u64,
    took: Duration,
    turns: u64,
    /// Each grant was refreshed once in each round.
    is_fine: bool,
}

async fn run(options: &Options, processes: usize, through: Through) -> Result<Run, BoxError> {
    let server = AuthServer::builder().access_ttl(LIFE).start()?;
    let service = Service::of_testkit(&server);
    let setting = Setting::start(options.store, through).await?;
    setting
        .connect_testkit(&server, &service, options.grants)
        .await?;
    let mut fleet = Vec::new();
    for index in 0..processes {
        let task = setting.task(index, options.grants, &service);
        let mut process = Process::start(&task, &setting.ring).await?;
        process.ask("warm").await?;
        fleet.push(process);
    }
    let turns = || setting.proxy.as_ref().map_or(0, |proxy| proxy.turns());
    let turns_before = turns();
    let begin = Instant::now();
    for _ in 0..options.rounds {
        for process in &mut fleet {
            process.tell(&format!("part {processes}")).await?;
        }
        for process in &mut fleet {
            let answer = process.line().await?.ok_or("a process has ended")?;
            let answer: Value = serde_json::from_str(&answer)?;
            if answer["failures"] != serde_json::json!({}) {
                println!("failures {}", answer["failures"]);
            }
        }
    }
    let took = begin.elapsed();
    let refreshes = server.counts().refreshes_ok;
    Ok(Run {
        refreshes,
        took,
        turns: turns() - turns_before,
        is_fine: refreshes == (options.grants * options.rounds) as u64,
    })
}
