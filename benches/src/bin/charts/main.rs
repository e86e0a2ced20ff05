//! What the last full runs of the other commands said, as charts and one page for the docs.
//!
//! `cargo run --release --manifest-path benches/Cargo.toml --bin charts`

mod bars;
mod chart;
mod machine;
mod number;
mod page;
mod svg;

use std::collections::BTreeMap;
use std::path::Path;

use benches::{BoxError, Report};

use self::chart::CHARTS;

/// In the order of the page: the command, and what it is about.
const COMMANDS: [(&str, &str); 5] = [
    ("hot-path", "Attaching a token that is there"),
    ("expiry", "When a token expires"),
    ("scale", "With many users"),
    ("requests", "Real requests"),
    ("store", "The store"),
];

fn main() -> Result<(), BoxError> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks"));
    std::fs::create_dir_all(folder)?;
    let mut reports = BTreeMap::new();
    for (name, _) in COMMANDS {
        match Report::last(name) {
            Ok(report) => drop(reports.insert(name, report)),
            Err(error) => eprintln!(
                "{error}\n  cargo run --release --manifest-path benches/Cargo.toml --bin {name}"
            ),
        }
    }
    for chart in CHARTS {
        let Some(report) = reports.get(chart.report) else {
            continue;
        };
        match chart.figures(report) {
            Some(figures) => {
                std::fs::write(folder.join(chart.file()), svg::draw(chart, &figures))?;
            }
            None => eprintln!(
                "{}: what {} shows is not in its tables",
                chart.report, chart.id
            ),
        }
    }
    std::fs::write(folder.join("README.md"), page::written(&reports))?;
    println!("{}", folder.display());
    Ok(())
}
