//! Processes refresh the same grants while everything around them fails.
//!
//! ```text
//! cargo run --release -p tests --bin fleet-chaos -- --processes 6 --grants 100 --faults 60 --seed 1
//! ```
//!
//! Processes are killed and replaced, or stand still for longer than a lease, or than an intent,
//! also with an exchange under way whose answer is held; PostgreSQL is killed and started again,
//! and all connections to it are cut. The token service is oidc-provider without any grace: what
//! is spent and not stored is lost, and its grant ends. That cannot be helped; what is checked is
//! that it only ever happens to a grant that a process was refreshing when it was killed or stood
//! still.
//!
//! Every process tells what it does as it does it. In the end nobody may hold a token of
//! somebody else, no token may be missing that was said to be stored, no process may have been
//! given an older token than before, all have to agree with the store, and every grant that is
//! not said to need its user is refreshed once more.

#![allow(clippy::print_stdout)]

mod books;
mod chaos;
mod faults;
mod fleet;

use std::process::ExitCode;

use tests::BoxError;
use tests::fleet::{Store, start};

use self::chaos::{Options, chaos};

const USAGE: &str = "usage: fleet-chaos [--store postgres] [--processes P] [--grants G] [--faults F] \
     [--seed S]";

fn main() -> ExitCode {
    start(|arguments| chaos(&options(arguments)?))
}

fn options(arguments: &[&str]) -> Result<Options, BoxError> {
    let mut options = Options {
        store: Store::Postgres,
        processes: 6,
        grants: 100,
        faults: 60,
        seed: 1,
    };
    for option in arguments.chunks(2) {
        match option {
            ["--store", name] => options.store = Store::named(name)?,
            ["--processes", number] => options.processes = number.parse()?,
            ["--grants", number] => options.grants = number.parse()?,
            ["--faults", number] => options.faults = number.parse()?,
            ["--seed", number] => options.seed = number.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
