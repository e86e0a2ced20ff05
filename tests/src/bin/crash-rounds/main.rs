//! Kills a service in the middle of its refreshes, again and again, and counts what is lost.
//!
//! ```text
//! cargo run --release -p tests --bin crash-rounds -- --rounds 200
//! cargo run --release -p tests --bin crash-rounds -- --rounds 200 --strict
//! ```
//!
//! A child process on a sled store refreshes many grants as fast as its token service
//! answers; this process is the token service, kills the child by SIGKILL at random moments,
//! and starts it again. The service's own books say what became of each grant.
//!
//! With a grace period nothing may be lost, and at least a quarter of the kills must have
//! come between an exchange and the write of what it brought: those whose refresh token the
//! service saw a second time. With `--strict` such a grant dies. That cannot be helped; what
//! is checked is that every one of them is reported as needing a reconnect, and none of the
//! others is.

#![allow(clippy::print_stdout, clippy::exit)]

mod child;

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use tests::BoxError;
use tower_token::testkit::AuthServer;
use tower_token::{KeyRing, Rotation};

use self::child::{Child, LIFE, Outcome};

/// Long enough for a grant that is hit by several kills in a row.
const GRACE: Duration = Duration::from_secs(20);
/// Between an exchange and its answer: what makes the window wide enough to be hit.
const ANSWER_LATENCY: Duration = Duration::from_millis(20);

struct Options {
    rounds: u32,
    strict: bool,
    grants: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, rest)) if first == "--child" => child::run(rest).map(|()| true),
        _ => options(&arguments).and_then(|options| crash(&options)),
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

fn options(arguments: &[String]) -> Result<Options, BoxError> {
    let mut options = Options {
        rounds: 200,
        strict: false,
        grants: 64,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let number = |value: Option<&String>| value.and_then(|value| value.parse().ok());
        match argument.as_str() {
            "--strict" => {
                options.strict = true;
                // Each is hit once at most, so there have to be more of them.
                options.grants = 1_000;
            }
            "--rounds" => {
                let rounds = number(arguments.next()).ok_or("--rounds takes a number")?;
                options.rounds = rounds;
            }
            _ => return Err("usage: crash-rounds [--rounds R] [--strict]".into()),
        }
    }
    Ok(options)
}

fn crash(options: &Options) -> Result<bool, BoxError> {
    let rotation = if options.strict {
        Rotation::Strict
    } else {
        Rotation::Grace(GRACE)
    };
    let server = AuthServer::builder()
        .rotation(rotation)
        .access_ttl(LIFE)
        .answer_latency(ANSWER_LATENCY)
        .start()?;
    let folder = tempfile::tempdir()?;
    let keys = KeyRing::generate()?;
    let start = |task: &str| Child::start(task, folder.path(), &keys, &server, options);

    connect(start("connect")?, &server, options.grants)?;
    let mut hits = Hits::new(options.grants);
    for round in 0..options.rounds {
        let child = start("refresh")?;
        sleep(Duration::from_millis(100 + random(600)));
        child.kill()?;
        hits.count(&server, round);
    }
    if options.strict {
        server.advance(2 * LIFE);
        report_strict(options, &server, &start("report")?.outcomes()?)
    } else {
        let refreshes = || (0..options.grants).map(|n| server.counts_of(&user(n)).refreshes_ok);
        let before: Vec<u64> = refreshes().collect();
        start("settle")?.outcomes()?;
        let refreshed: Vec<bool> = refreshes()
            .zip(before)
            .map(|(now, was)| now > was)
            .collect();
        hits.count(&server, options.rounds);
        report(options, hits.rounds.len(), &server, &refreshed)
    }
}

fn user(n: usize) -> String {
    format!("user-{n}")
}

fn connect(mut child: Child, server: &AuthServer, grants: usize) -> Result<(), BoxError> {
    for n in 0..grants {
        let issued = server.connect(&user(n));
        child.connect(&user(n), &issued)?;
    }
    child.outcomes().map(drop)
}

/// Which kills came between an exchange and the write of what it brought.
struct Hits {
    /// Of each grant, how often it was refreshed, its answers repeated, and the last round
    /// in which it was refreshed.
    grants: Vec<(u64, u64, u32)>,
    rounds: BTreeSet<u32>,
}

impl Hits {
    fn new(grants: usize) -> Self {
        Self {
            grants: vec![(0, 0, 0); grants],
            rounds: BTreeSet::new(),
        }
    }

    /// After the kill that ended `round`: an answer that had to be repeated was lost by the
    /// kill of the round that it was first given in.
    fn count(&mut self, server: &AuthServer, round: u32) {
        for (n, (refreshed, repeated, last)) in self.grants.iter_mut().enumerate() {
            let counts = server.counts_of(&user(n));
            if counts.refreshes_repeated > *repeated {
                self.rounds.insert(*last);
            }
            if counts.refreshes_ok > *refreshed {
                *last = round;
            }
            (*refreshed, *repeated) = (counts.refreshes_ok, counts.refreshes_repeated);
        }
    }
}

/// Every grant was refreshed once more, or is lost.
fn report(
    options: &Options,
    hits: usize,
    server: &AuthServer,
    refreshed: &[bool],
) -> Result<bool, BoxError> {
    let kept = |n: usize| refreshed[n] && server.is_connected(&user(n));
    let lost = (0..options.grants).filter(|&n| !kept(n)).count();
    println!(
        "rounds {} kills_mid_exchange {hits} refreshes {} lost {lost}",
        options.rounds,
        server.counts().refreshes_ok
    );
    Ok(lost == 0 && hits * 4 >= options.rounds as usize)
}

/// After the expiry of their tokens the dead are known from the healthy.
fn report_strict(
    options: &Options,
    server: &AuthServer,
    outcomes: &[(String, Outcome)],
) -> Result<bool, BoxError> {
    let reported = |n: usize, outcome| {
        outcomes
            .iter()
            .any(|(user, found)| *user == self::user(n) && *found == outcome)
    };
    let (dead, alive): (Vec<usize>, Vec<usize>) =
        (0..options.grants).partition(|&n| !server.is_connected(&user(n)));
    let told = dead
        .iter()
        .filter(|&&n| reported(n, Outcome::NeedsReauth))
        .count();
    let healthy = alive
        .iter()
        .filter(|&&n| reported(n, Outcome::Healthy))
        .count();
    println!(
        "rounds {} refreshes {} died_in_the_window {} of {} reported_for_reconnect {told} \
         healthy {healthy}",
        options.rounds,
        server.counts().refreshes_ok,
        dead.len(),
        options.grants
    );
    Ok(!dead.is_empty() && told == dead.len() && healthy == alive.len())
}

fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

/// Where the child's files are, for its command line.
fn text(path: &Path) -> Result<&str, BoxError> {
    path.to_str().ok_or_else(|| "an odd folder".into())
}
