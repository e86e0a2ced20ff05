//! Kills a process in the middle of its saves, again and again, and looks for what it was told
//! is kept.
//!
//! ```text
//! cargo run --release -p tests --bin kill-store -- --store sled --rounds 200
//! ```
//!
//! A child saves sealed grants from 1 KiB to 64 KiB, several tasks at a time, always two that
//! expect to replace the same version, and now and then removes one instead. It says of each save
//! when it begins and when it is acknowledged; this process keeps the books. Every round ends by SIGKILL at a random moment, at
//! least 100 acknowledgements in; every other one begins with a child that is killed while
//! it opens the store; of 10 rounds or more, one at least has to hit that. Then a fresh process
//! claims what is due, and looks at every row.
//!
//! What was written outlives a kill whether it was synced or not: that a save is acknowledged
//! before its sync is for `power-cut` to find.

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use tests::BoxError;
use tests::acked::{Books, Process, Task, random, serve};

const USAGE: &str = "usage: kill-store [--store sled|redb] [--rounds R]";

/// How many acknowledgements a round has at least.
const ACKED: u64 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["--child", store, task, folder] => child(store, task, folder).map(|()| true),
        _ => options(&arguments).and_then(|(store, rounds)| run(store, rounds)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options<'a>(arguments: &[&'a str]) -> Result<(&'a str, u32), BoxError> {
    let (mut store, mut rounds) = ("sled", 200);
    for option in arguments.chunks(2) {
        match option {
            ["--store", name] => store = name,
            ["--rounds", number] => rounds = number.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok((store, rounds))
}

#[tokio::main(worker_threads = 2)]
async fn child(store: &str, task: &str, folder: &str) -> Result<(), BoxError> {
    serve(task.parse()?, store, folder).await
}

fn run(store: &str, rounds: u32) -> Result<bool, BoxError> {
    let folder = tempfile::tempdir()?;
    let mut books = Books::default();
    let (mut kills_in_open, mut fewest) = (0, u64::MAX);
    for round in 0..rounds {
        if round % 2 == 1 {
            kills_in_open += u32::from(kill_in_open(store, folder.path(), &mut books)?);
        }
        let acked = kill(store, folder.path(), &mut books)?;
        fewest = fewest.min(acked);
        look(store, folder.path(), &mut books)?;
        if books.totals.failed_opens > 0 {
            // It does not get better, and the folder is evidence.
            println!(
                "round {round}: it does not open: {}",
                folder.keep().display()
            );
            break;
        }
    }
    println!(
        "rounds {rounds} kills_during_open {kills_in_open} fewest_acked_in_a_round {fewest} \
         cas_violations {}",
        books.totals.violations
    );
    println!("{}", books.totals);
    // In a few rounds none may have been hit.
    let opens_hit = kills_in_open > 0 || rounds < 10;
    Ok(books.totals.are_good() && fewest >= ACKED && opens_hit)
}

/// Kills a child soon after it began to open the store. Whether it had not finished.
fn kill_in_open(store: &str, folder: &Path, books: &mut Books) -> Result<bool, BoxError> {
    let mut child = Process::start(store, Task::Write, folder)?;
    if !child.says("opening") {
        return Err("the child did not start".into());
    }
    // Most of an open is over soon, and all of its parts are to be hit.
    let longest = random(30_000) + 1;
    sleep(Duration::from_micros(random(longest)));
    let lines = child.kill()?;
    let opened = lines.first().is_some_and(|line| line == "ready");
    for line in lines.iter().skip(1) {
        books.enter(line);
    }
    Ok(!opened)
}

/// Lets a child save and kills it; how many of its saves were acknowledged.
fn kill(store: &str, folder: &Path, books: &mut Books) -> Result<u64, BoxError> {
    let before = books.acked();
    let mut child = Process::start(store, Task::Write, folder)?;
    if !child.says("opening") || !child.says("ready") {
        books.totals.failed_opens += 1;
        return Ok(0);
    }
    let enough = before + ACKED + random(3 * ACKED);
    while books.acked() < enough {
        let line = child.line().ok_or("the child stopped saving")?;
        if !books.enter(&line) {
            return Err(format!("a save failed: {line}").into());
        }
    }
    sleep(Duration::from_micros(random(3_000)));
    for line in child.kill()? {
        books.enter(&line);
    }
    Ok(books.acked() - before)
}

/// Has a fresh process look at every row.
fn look(store: &str, folder: &Path, books: &mut Books) -> Result<(), BoxError> {
    Process::start(store, Task::Look, folder)?.look(books)
}
