//! Processes race for the refreshes of the same grants, and the token service counts.
//!
//! ```text
//! cargo run --release -p tests --bin fleet-race -- --store postgres --processes 8 --grants 200 --rounds 50
//! ```
//!
//! The token service is oidc-provider: it rotates refresh tokens, ends the grant whose spent one
//! comes again, and its storage takes its time, so that two requests with one token do meet. In
//! each round every process asks once for another token of every grant, each in an order of its
//! own. There may be one exchange for each grant and round over all of them, by whoever it is;
//! all the others have to come by the same token. `--through pgbouncer` puts a pooler between
//! them and their store.
//!
//! It fails if the service saw another number of exchanges, or a spent refresh token; if two
//! processes hold different tokens of a grant, or two grants the same; if one process did less
//! than a twentieth of the work, so that it was no race; or if fewer than half of the refreshes
//! were wanted by several processes at a time.

#![allow(clippy::print_stdout)]

mod race;
mod round;

use std::process::ExitCode;

use tests::BoxError;
use tests::fleet::{Store, Through, start};

use self::race::{Options, race};

const USAGE: &str = "usage: fleet-race [--store postgres] [--processes P] [--grants G] [--rounds R] \
     [--storage-ms MS] [--through pgbouncer]";

fn main() -> ExitCode {
    start(|arguments| race(&options(arguments)?))
}

fn options(arguments: &[&str]) -> Result<Options, BoxError> {
    let mut options = Options {
        store: Store::Postgres,
        through: Through::Nothing,
        processes: 8,
        grants: 200,
        rounds: 50,
        storage_ms: 10,
    };
    for option in arguments.chunks(2) {
        match option {
            ["--store", name] => options.store = Store::named(name)?,
            ["--through", "pgbouncer"] => options.through = Through::PgBouncer,
            ["--processes", number] => options.processes = number.parse()?,
            ["--grants", number] => options.grants = number.parse()?,
            ["--rounds", number] => options.rounds = number.parse()?,
            ["--storage-ms", number] => options.storage_ms = number.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    match options.processes {
        0 | 1 => Err("one process is no race".into()),
        _ => Ok(options),
    }
}
