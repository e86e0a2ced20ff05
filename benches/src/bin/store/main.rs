//! What sealing and the store's contract cost over sled itself, used with the same care, and over
//! the bare cipher; and what they are of a refresh.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin store [-- [--quick] [saves|loads|seals|refresh]]`

mod loads;
mod raw;
mod refresh;
mod saves;
mod seals;

use benches::{BoxError, Effort, Report};
use tower_token::testkit::probe::Sample;

/// The length of the access tokens: with it a sealed grant takes about a kibibyte.
const TOKEN: usize = 860;

fn sample(user: usize) -> Result<Sample, BoxError> {
    Ok(Sample::new(&format!("user-{user:06}"), TOKEN)?)
}

/// On the disk that the sources are on: what is in memory need not be synced.
fn folder() -> Result<tempfile::TempDir, BoxError> {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    std::fs::create_dir_all(target)?;
    Ok(tempfile::tempdir_in(target)?)
}

fn main() -> Result<(), BoxError> {
    let effort = &Effort::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut report = Report::new("store");
    if effort.wants("saves") {
        saves::measured(&runtime, effort, &mut report)?;
    }
    if effort.wants("loads") {
        loads::measured(&runtime, effort, &mut report)?;
    }
    if effort.wants("seals") {
        seals::measured(effort, &mut report)?;
    }
    if effort.wants("refresh") {
        refresh::measured(&runtime, effort, &mut report)?;
    }
    report.finish(effort)
}
