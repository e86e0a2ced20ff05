//! What the number of users costs: attaching tokens of up to a million, memory, eviction and
//! reload, and a start with many grants in the store.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin scale [-- [--quick] [hits|memory|reload|start]]`

#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod draws;
mod hits;
mod lanes;
mod maps;
mod memory;
mod reload;
mod start;

use benches::{BoxError, Effort, Report};

/// The length of the access tokens.
const TOKEN: usize = 64;

fn main() -> Result<(), BoxError> {
    let effort = &Effort::from_args();
    let mut report = Report::new("scale");
    if effort.wants("hits") {
        hits::measured(effort, &mut report)?;
    }
    if effort.wants("memory") {
        memory::measured(effort, &mut report)?;
    }
    let runtime = &tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    if effort.wants("reload") {
        reload::measured(runtime, effort, &mut report)?;
    }
    if effort.wants("start") {
        start::measured(runtime, effort, &mut report)?;
    }
    report.finish(effort)
}
