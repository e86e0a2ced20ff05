//! 256 tasks save at once, on a runtime of two threads; nothing may hang, and nobody else may be
//! kept from running.
//!
//! ```text
//! cargo run --release -p tests --bin concurrent-saves -- --seconds 60
//! ```
//!
//! Four other tasks ask to run every 5 ms. A worker that waits for the disk, or for a lock that is
//! held while somebody does, would keep them waiting for longer than the second that is allowed.

#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::Duration;

use tests::BoxError;
use tests::concurrent::{TASKS, saves};
use tower_token::SledStore;

const MOST: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let seconds = match arguments[..] {
        [] => Ok(60),
        ["--seconds", seconds] => seconds.parse().map_err(BoxError::from),
        _ => Err("usage: concurrent-saves [--seconds S]".into()),
    };
    match seconds.and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn run(seconds: u64) -> Result<bool, BoxError> {
    let folder = tempfile::tempdir()?;
    let store = SledStore::open(folder.path()).await?;
    let report = saves(store, Duration::from_secs(seconds)).await?;
    println!(
        "tasks {TASKS} seconds {seconds} saves {} per_second {} longest_wait_ms {}",
        report.saves,
        report.saves / seconds.max(1),
        report.longest_wait.as_millis()
    );
    Ok(report.saves > 0 && report.longest_wait <= MOST)
}
