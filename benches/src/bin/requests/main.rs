//! What the layer makes of real requests: hyper and reqwest on loopback, HTTP/1.1 and kept alive,
//! with and without it. The client has one thread, and so has the server, in a process of its own.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin requests [-- --quick]`

#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod load;
mod over_hyper;
#[cfg(feature = "reqwest")]
mod over_reqwest;
mod server;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use benches::{BoxError, Case, Effort, Report, instructions, measure};
use http::StatusCode;
use tokio::runtime::Runtime;

use self::load::Load;
use self::server::Server;

/// Of every token, in bytes.
const TOKEN: usize = 64;
/// In a round.
const REQUESTS: usize = 2_000;
/// Requests at once.
const AT_ONCE: [usize; 2] = [1, 32];

/// Makes what a row measures.
type Make = fn(&Server) -> Result<Box<dyn Load>, BoxError>;

/// The rows of a client's table.
struct Rows {
    client: &'static str,
    rows: &'static [(&'static str, Make)],
}

/// What the others are compared with.
const BY_HAND: usize = 1;
/// Nothing is there but the request that says whose it is, and the header.
const NAMED: &str = "by hand, named";
/// The rows whose requests say so as well.
const BY_KEY: [&str; 2] = ["no replay", "armed"];

const ALL: &[Rows] = &[
    Rows {
        client: "hyper",
        rows: &[
            ("no token", over_hyper::bare),
            ("by hand", over_hyper::by_hand),
            (NAMED, over_hyper::by_hand_named),
            ("no replay", over_hyper::no_replay),
            ("armed", over_hyper::armed),
            ("bound, no replay", over_hyper::bound_no_replay),
            ("bound, armed", over_hyper::bound_armed),
        ],
    },
    #[cfg(feature = "reqwest")]
    Rows {
        client: "reqwest",
        rows: &[
            ("no token", over_reqwest::bare),
            ("by hand", over_reqwest::by_hand),
            ("no replay", over_reqwest::no_replay),
            ("armed", over_reqwest::armed),
        ],
    },
];

fn main() -> Result<(), BoxError> {
    if server::is_asked_for() {
        return server::serve();
    }
    let server = Server::start()?;
    if let Some((case, times)) = instructions::child() {
        return make(&server, &case)?.run(AT_ONCE[1], times);
    }
    let effort = Effort::from_args();
    let mut report = Report::new("requests");
    let speeds = speeds(&server, &effort)?;
    let mut speeds = speeds.into_iter();
    // To begin below callgrind takes longer than a few requests.
    let (few, many) = match effort.is_full() {
        true => (4_000, 20_000),
        false => (0, 64),
    };
    for Rows { client, rows } in ALL {
        let mut measured = Vec::new();
        for (name, _) in *rows {
            measured.push(Row {
                name,
                speeds: speeds.next().ok_or("each row was measured")?,
                instructions: instructions::between(&id(client, name), few, many)?.instructions,
            });
        }
        table(&mut report, client, &measured);
    }
    report.finish(&effort)
}

fn id(client: &str, row: &str) -> String {
    format!("{client}/{}", dashed(row))
}

fn dashed(name: &str) -> String {
    name.replace(", ", "-").replace(' ', "-")
}

fn make(server: &Server, wanted: &str) -> Result<Box<dyn Load>, BoxError> {
    for Rows { client, rows } in ALL {
        for (name, make) in *rows {
            if id(client, name) == wanted {
                return make(server);
            }
        }
    }
    Err("there is no such case".into())
}

/// Of a row, with so many requests at once.
#[derive(Clone, Copy)]
struct Speed {
    /// In a second.
    requests: f64,
    p50: Duration,
    p99: Duration,
}

/// All rows of all clients, each at both numbers of requests at once.
fn speeds(server: &Server, effort: &Effort) -> Result<Vec<[Speed; 2]>, BoxError> {
    let requests = effort.of(REQUESTS);
    let makes = ALL.iter().flat_map(|client| client.rows.iter());
    let loads = makes.map(|(_, make)| make(server));
    let loads: Vec<Box<dyn Load>> = loads.collect::<Result<_, _>>()?;
    let mut cases = Vec::new();
    let mut latencies = Vec::new();
    for load in &loads {
        for at_once in AT_ONCE {
            let rounds = Rc::new(RefCell::new(Vec::new()));
            latencies.push(Rc::clone(&rounds));
            cases.push(Case::new("", move || {
                let took = load.timed(at_once, requests)?;
                rounds
                    .borrow_mut()
                    .push((took[requests / 2], took[requests * 99 / 100]));
                Ok(())
            }));
        }
    }
    let measured = measure(effort, cases)?;
    let speeds: Vec<Speed> = std::iter::zip(measured, latencies)
        .map(|(measured, rounds)| {
            // The first was not counted.
            let (p50, p99) = rounds.take().into_iter().skip(1).unzip();
            Speed {
                requests: requests as f64 / measured.median.as_secs_f64(),
                p50: median(p50),
                p99: median(p99),
            }
        })
        .collect();
    Ok(speeds.as_chunks::<2>().0.to_vec())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// What came of a row.
struct Row {
    name: &'static str,
    speeds: [Speed; 2],
    instructions: f64,
}

fn table(report: &mut Report, client: &str, rows: &[Row]) {
    let micros = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e6);
    let by_hand = &rows[BY_HAND];
    let mut lines = Vec::new();
    for row in rows {
        let mut cells = vec![row.name.to_owned()];
        for (Speed { requests, p50, p99 }, floor) in row.speeds.iter().zip(&by_hand.speeds) {
            cells.extend([
                format!("{requests:.0}"),
                format!("{:.2}", requests / floor.requests),
                micros(*p50),
                micros(*p99),
            ]);
        }
        cells.push(format!("{:.0}", row.instructions));
        cells.push(format!("{:.3}", row.instructions / by_hand.instructions));
        lines.push(cells);
    }
    report.table(
        &[
            client,
            "1: req/s",
            "of by hand",
            "p50 us",
            "p99 us",
            "32: req/s",
            "of by hand",
            "p50 us",
            "p99 us",
            "instructions",
            "of by hand",
        ],
        lines,
    );
    for row in rows.iter().filter(|row| row.name != by_hand.name) {
        let name = dashed(row.name);
        for (at, at_once) in AT_ONCE.into_iter().enumerate() {
            report.ratio(
                format!("{client}-{at_once}/requests-{name}"),
                row.speeds[at].requests / by_hand.speeds[at].requests,
            );
        }
        report.ratio(
            format!("{client}-32/instructions-{name}"),
            row.instructions / by_hand.instructions,
        );
    }
    if let Some(named) = rows.iter().find(|row| row.name == NAMED) {
        for row in rows.iter().filter(|row| BY_KEY.contains(&row.name)) {
            report.ratio(
                format!("{client}-32/instructions-{}-of-named", dashed(row.name)),
                row.instructions / named.instructions,
            );
        }
    }
}

/// What comes back has to be what was asked for.
fn answered(status: StatusCode, body: &[u8]) -> Result<(), BoxError> {
    match (status, body.len()) {
        (StatusCode::OK, server::BODY) => Ok(()),
        (status, len) => Err(format!("{status} with {len} bytes").into()),
    }
}

fn one_thread() -> Result<Runtime, BoxError> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}
