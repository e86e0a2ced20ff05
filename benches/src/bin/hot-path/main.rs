//! What it costs to attach a token that is there, beside what people would use otherwise: time,
//! instructions and allocations, each over its own floor, the same requests without a token.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin hot-path [-- --quick]`

mod figures;
mod ratios;
mod times;

use benches::hot_path::{LENGTHS, Maker, half, ours, peers};
use benches::{BoxError, Effort, Report, instructions};

use self::figures::{Figures, figures};

fn main() -> Result<(), BoxError> {
    if let Some((case, times)) = instructions::child() {
        return half(makers(), &case, times);
    }
    let makers: Vec<Maker> = makers().collect();
    if times::is_one() {
        return times::say(&makers);
    }
    let effort = Effort::from_args();
    let mut report = Report::new("hot-path");
    let figures = figures(&effort, &makers)?;
    for len in LENGTHS {
        let rows: Vec<&Figures<'_>> = figures.iter().filter(|row| row.len() == len).collect();
        table(len, &rows, &mut report);
    }
    ratios::noted(&figures, &mut report)?;
    report.finish(&effort)
}

/// All cases, those of one length together.
fn makers() -> impl Iterator<Item = Maker> {
    let of = |len| ours(len).chain(peers(len));
    LENGTHS.into_iter().flat_map(of)
}

/// Of the tokens of one length; the first row is what the others are compared with.
fn table(len: usize, rows: &[&Figures<'_>], report: &mut Report) {
    let cells = rows.iter().map(|row| {
        vec![
            row.name().to_owned(),
            format!("{:.1}", row.ns),
            format!("{:.2}", row.ns / rows[0].ns),
            format!("{:.0}", row.instructions),
            format!("{:.2}", row.instructions / rows[0].instructions),
            format!("{:.2}", row.allocations),
        ]
    });
    let about = format!("token of {len} B");
    let of = "of static";
    let head = [&*about, "ns", of, "instructions", of, "allocations"];
    report.table(&head, cells.collect());
}
