//! How much memory a streamed upload takes in the layer, at its peak.
//!
//! ```text
//! cargo run --release -p tests --bin upload-memory
//! cargo run --release -p tests --bin upload-memory -- --mib 64
//! ```
//!
//! Each upload is made by a process of its own, so that what an allocator has kept of one is not
//! there for the next; the server is another. Measured is the peak of the client's resident set
//! over its level before. It has to stay within the replay limit and a constant. The server
//! compares what it is sent with what that should be, to the last byte.
//!
//! It takes a /proc that tells the peak: without one it says so and ends with 2.

#![allow(clippy::print_stdout, clippy::exit)]

mod client;
mod measure;
mod server;

use std::process::{Command, ExitCode};

use tests::{BoxError, resident};

use self::client::CLIENTS;
use self::measure::{CASES, Job};
use self::server::Server;

/// One that hardly shows, and one that does.
const LIMITS: [usize; 2] = [64 << 10, 16 << 20];

/// What there may be beside the replay limit, in KiB. A client that keeps nothing of a body takes
/// 2,100 over HTTP/2 (hyper buffers up to 1 MiB of a stream) and 400 over HTTP/1.1; the rest is
/// for what an allocator wastes.
const CONSTANT: usize = 4 << 10;

/// More than any limit, so that what is refused after so much cannot be sent again.
const LEAST_MIB: usize = 32;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["--server"] => server::run().map(|()| ExitCode::SUCCESS),
        ["--measure", job @ ..] => Job::parse(job)
            .and_then(|job| job.run())
            .map(|()| ExitCode::SUCCESS),
        ["--mib", mib] => mib.parse().map_err(BoxError::from).and_then(compare),
        [] => compare(1_024),
        _ => Err("usage: upload-memory [--mib N]".into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures every case, and ends well if all stayed within what is allowed.
fn compare(mib: usize) -> Result<ExitCode, BoxError> {
    if mib < LEAST_MIB {
        return Err(format!("an upload has to have at least {LEAST_MIB} MiB").into());
    }
    if !resident::is_known() {
        println!("not measured: there is no resident set in /proc here");
        return Ok(ExitCode::from(2));
    }
    let server = Server::start()?;
    println!("uploads of {mib} MiB; sizes in KiB\n");
    println!("client       refused  replay limit  peak over base");
    let mut peaks = Vec::new();
    for limit in LIMITS {
        let mut most = 0;
        for client in CLIENTS {
            for case in CASES {
                let job = Job {
                    server: server.address(),
                    client,
                    case,
                    limit,
                    len: mib << 20,
                };
                let peak = measured(&job)?;
                println!("{client:<11}  {case:<7}  {:>12}  {peak:>14}", limit >> 10);
                most = most.max(peak);
            }
        }
        peaks.push((limit >> 10, most));
    }
    println!();
    let mut within = true;
    for (limit, peak) in peaks {
        let allowed = limit + CONSTANT;
        println!(
            "upload_mib {mib} limit_kib {limit} peak_over_base_kib {peak} allowed_kib {allowed}"
        );
        within &= peak <= allowed;
    }
    Ok(match within {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// By a process of its own.
fn measured(job: &Job<'_>) -> Result<usize, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg("--measure").args(job.arguments()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let peak = said.trim().parse();
    peak.map_err(|_| format!("{job:?}: {said}{}", String::from_utf8_lossy(&output.stderr)).into())
}
