//! How long each case takes over its floor, in several processes: where a program's memory happens
//! to lie moves a case by as much as a header costs, and by the same for as long as it runs.

use std::process::Command;

use benches::hot_path::{HotCase, Maker};
use benches::{BoxError, Case, Effort, Measured, measure};

/// How many there are in full.
const PROCESSES: usize = 5;

/// Requests in a round: many for each of a thousand users, who are out of the caches by then.
const REQUESTS: usize = 20_000;

/// What a process is told that is one of several.
const ONE: &str = "--one-of-several";

/// Whether this one is.
pub fn is_one() -> bool {
    std::env::args().nth(1).as_deref() == Some(ONE)
}

/// Says what it measures of all `makers`, in nanoseconds for a request.
pub fn say(makers: &[Maker]) -> Result<(), BoxError> {
    let effort = Effort::in_full();
    for ns in measured(&effort, makers, REQUESTS)? {
        println!("{ns}");
    }
    Ok(())
}

/// The medians of what several processes say; a quick run is one.
pub fn of_all(effort: &Effort, makers: &[Maker]) -> Result<Vec<f64>, BoxError> {
    if effort.share < 1.0 {
        return measured(effort, makers, effort.of(REQUESTS));
    }
    let mut of_each = vec![Vec::with_capacity(PROCESSES); makers.len()];
    for _ in 0..PROCESSES {
        let output = Command::new(std::env::current_exe()?).arg(ONE).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let said = String::from_utf8(output.stdout)?;
        if said.lines().count() != makers.len() {
            return Err("a process has not measured all".into());
        }
        for (all, ns) in of_each.iter_mut().zip(said.lines()) {
            all.push(ns.parse::<f64>()?);
        }
    }
    let median = |mut all: Vec<f64>| {
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    };
    Ok(of_each.into_iter().map(median).collect())
}

fn measured(effort: &Effort, makers: &[Maker], requests: usize) -> Result<Vec<f64>, BoxError> {
    let mut cases = Vec::new();
    for maker in makers {
        let id = maker.id();
        let made = maker.case().map_err(|error| format!("{id}: {error}"))?;
        let HotCase {
            mut floor,
            mut send,
        } = made;
        cases.push(Case::new(format!("{id}/floor"), move || floor(requests)));
        cases.push(Case::new(format!("{id}/send"), move || send(requests)));
    }
    let measured = measure(effort, cases)?;
    let ns = |pair: &[Measured]| {
        (pair[1].median.as_secs_f64() - pair[0].median.as_secs_f64()) / requests as f64 * 1e9
    };
    Ok(measured.chunks(2).map(ns).collect())
}
