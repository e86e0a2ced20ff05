//! What callers feel when a token falls due or is dead, while the token service is well, fails or
//! hangs: ours beside what people would use otherwise.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin expiry [-- [--quick] [SCENE]]`,
//! where a scene is `due-healthy`, `due-failing`, `due-hanging`, `dead-healthy`, `dead-failing`,
//! `dead-hanging`, `give-up`, `backoff` or `users`.
//!
//! Everything is real: clocks, sockets, and a token service that takes 50 ms, on a thread of its
//! own. Each case has its own runtime of two threads. A caller is a task that waits until all
//! others wait too, and then measures its own request from sending it to its answer. Thousands of
//! them on a few cores still hinder each other, so the same crowd comes to the same client with a
//! fresh token as well: what is added is counted from that percentile of theirs. A caller who has
//! no answer after 8 s has timed out. Of the rounds that ours are played in, counts are the worst
//! and times the median.
//!
//! The token that callers find was issued some seconds before, and its life is chosen so that its client
//! takes it for due, or it is dead. From its issue on the service is in the mood that the scene is
//! about: whoever refreshes in the background may have done so before anybody comes.

#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod bare_wait;
mod callers;
mod contenders;
mod ours;
mod plan;
mod scene;
mod stage;
mod table;
mod users;

use benches::{BoxError, Effort, Report};

use self::plan::Extent;
use self::stage::Stage;
use self::table::Results;

fn main() -> Result<(), BoxError> {
    let effort = Effort::from_args();
    let extent = Extent::of(&effort);
    let stage = Stage::new()?;
    let mut report = Report::new("expiry");
    let contenders = contenders::contenders(&effort);
    let played = plan::play(&stage, &effort, &extent, &contenders);
    Results::new(&played, &contenders, &extent)?.report(&mut report);
    if effort.wants("users") {
        users::measured(&stage, &effort, &mut report)?;
    }
    report.finish(&effort)
}
