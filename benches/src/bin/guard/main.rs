//! Fails if the hot path has got worse than it was: instructions, atomic ones among them, and
//! allocations of one request over its floor, beside the figures in `guard/figures.txt`. A lock that
//! nobody holds takes hardly any instructions, but two of them are atomic.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --no-default-features --bin guard [-- --write]`

mod figure;

use std::process::Command;

use benches::hot_path::{HotCase, allocated, half, ours};
use benches::{BoxError, Report, instructions};

use self::figure::{Figure, read, write};

/// Of the tokens, in bytes: what they cost does not depend on it.
const TOKEN: usize = 64;

/// By how much a count of instructions may grow before it is worse: another compiler that is as
/// good, another layout of the same code.
const TOLERANCE: f64 = 0.03;

fn main() -> Result<(), BoxError> {
    if let Some((case, times)) = instructions::child() {
        return half(ours(TOKEN), &case, times);
    }
    let compiler = compiler()?;
    let figures: Vec<Figure> = ours(TOKEN)
        // Where a thousand users are in the map is another thing at each start.
        .filter(|maker| !maker.name.contains("users"))
        .map(|maker| {
            let id = maker.id();
            let HotCase {
                mut floor,
                mut send,
            } = maker.case()?;
            let allocations = allocated(&mut send)? - allocated(&mut floor)?;
            let count = |half| instructions::each(&format!("{id}/{half}"));
            let (send, floor) = (count("send")?, count("floor")?);
            Ok(Figure {
                id,
                instructions: send.instructions - floor.instructions,
                atomics: send.atomics - floor.atomics,
                allocations,
            })
        })
        .collect::<Result<_, BoxError>>()?;
    if std::env::args().any(|arg| arg == "--write") {
        return write(&compiler, &figures);
    }
    let (by, committed) = read()?;
    let mut report = Report::new("guard");
    let rows = figures.iter().map(|now| {
        let then = committed.iter().find(|then| then.id == now.id);
        let was = |of: fn(&Figure) -> f64| then.map_or(f64::NAN, of);
        vec![
            now.id.clone(),
            format!("{:.0}", was(|then| then.instructions)),
            format!("{:.0}", now.instructions),
            format!("{:.2}", was(|then| then.atomics)),
            format!("{:.2}", now.atomics),
            format!("{:.2}", was(|then| then.allocations)),
            format!("{:.2}", now.allocations),
        ]
    });
    let head = [
        "a request",
        "instructions",
        "now",
        "atomic",
        "now",
        "allocations",
        "now",
    ];
    report.table(&head, rows.collect());
    let same = by == compiler;
    if !same {
        println!("\nnot compared but by allocations: the figures are of {by}, this is {compiler}");
    }
    let worse: Vec<_> = figures
        .iter()
        .filter_map(|now| now.worse_than(&committed, same, TOLERANCE))
        .collect();
    match worse.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "the hot path got worse: {}. If that has to be, run this with --write and say why in \
             the commit",
            worse.join("; ")
        )
        .into()),
    }
}

/// Version and target: what a count of instructions is of.
fn compiler() -> Result<String, BoxError> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let said = String::from_utf8(output.stdout)?;
    let line = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
    let (release, host) = (line("release: "), line("host: "));
    Ok(format!(
        "{} {}",
        release.unwrap_or("unknown"),
        host.unwrap_or("unknown")
    ))
}
