//! 256 tasks save at once, on a runtime of two threads; nothing may hang, and nobody else may be
//! kept from running.
//!
//! ```text
//! cargo run --release -p tests --bin concurrent-saves -- --store sled --seconds 60
//! ```
//!
//! Four other tasks ask to run every 5 ms. A worker that waits for the disk, or for a lock that is
//! held while somebody does, would keep them waiting for longer than the second that is allowed.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use tests::BoxError;
use tests::concurrent::{TASKS, saves};
use tower_token::{RedbStore, SledStore};

const USAGE: &str = "usage: concurrent-saves [--store sled|redb] [--seconds S]";

const MOST: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match options(&arguments).and_then(|(store, seconds)| run(store, seconds)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn options<'a>(arguments: &[&'a str]) -> Result<(&'a str, u64), BoxError> {
    let (mut store, mut seconds) = ("sled", 60);
    for option in arguments.chunks(2) {
        match option {
            ["--store", name] => store = name,
            ["--seconds", number] => seconds = number.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok((store, seconds))
}

#[tokio::main(worker_threads = 2)]
async fn run(store: &str, seconds: u64) -> Result<bool, BoxError> {
    let folder = tempfile::tempdir()?;
    let length = Duration::from_secs(seconds);
    let report = match store {
        "sled" => saves(SledStore::open(folder.path()).await?, length).await?,
        "redb" => saves(RedbStore::open(folder.path()).await?, length).await?,
        _ => return Err(USAGE.into()),
    };
    println!(
        "tasks {TASKS} seconds {seconds} saves {} per_second {} longest_wait_ms {}",
        report.saves,
        report.saves / seconds.max(1),
        report.longest_wait.as_millis()
    );
    Ok(report.saves > 0 && report.longest_wait <= MOST)
}
