//! The page around the charts.

use std::collections::BTreeMap;

use benches::{Report, Table};

use crate::bars::BARS;
use crate::chart::CHARTS;
use crate::number::grouped;
use crate::{COMMANDS, machine, svg};

/// In Markdown.
pub fn written(reports: &BTreeMap<&str, Report>) -> String {
    let mut page = String::from(
        "# Benchmarks\n\n\
         Written by `cargo run --release --manifest-path benches/Cargo.toml --bin charts` from the last full\n\
         runs of the other commands in `benches`, whose README says what each one measures. Trust the ratios.\n\n\
         | | |\n|---|---|\n",
    );
    for (what, is) in machine::described() {
        page.push_str(&line(&[what, &is]));
    }
    page.push_str("\n## What was aimed at\n\n");
    page.push_str(&bars(reports));
    for (name, title) in COMMANDS {
        if let Some(report) = reports.get(name) {
            page.push_str(&format!("\n## {title}\n\n`--bin {name}`\n"));
            page.push_str(&section(report));
        }
    }
    page
}

fn bars(reports: &BTreeMap<&str, Report>) -> String {
    let mut text = line(&["what", "aim", "measured", ""]) + "|---|---|---:|---|\n";
    for bar in BARS {
        let report = reports.get(bar.report);
        let ratios = report.into_iter().flat_map(|report| &report.ratios);
        let mut figures = ratios.filter(|(name, _)| name == bar.ratio);
        let (figure, met) = match figures.next() {
            Some((_, value)) => (
                grouped(&format!("{value:.3}")),
                if bar.limit.is_met(*value) {
                    "met"
                } else {
                    "**not met**"
                },
            ),
            None => ("-".to_owned(), "not measured"),
        };
        text.push_str(&line(&[bar.what, &bar.limit.to_string(), &figure, met]));
    }
    text
}

/// What has a chart stands below it, the rest at the end.
fn section(report: &Report) -> String {
    let mut text = String::new();
    let mut others = String::new();
    for table in &report.tables {
        let mut charts = CHARTS
            .iter()
            .filter(|chart| chart.is_of(&report.name, table))
            .filter_map(|chart| Some((chart, chart.figures(report)?)))
            .peekable();
        let place = if charts.peek().is_some() {
            &mut text
        } else {
            &mut others
        };
        for (chart, figures) in charts {
            let alt = escaped(&svg::said(chart, &figures));
            place.push_str(&format!("\n![{}. {alt}]({})\n", chart.title, chart.file()));
        }
        place.push('\n');
        place.push_str(&markdown(table));
    }
    if !others.is_empty() {
        text.push_str(&format!(
            "\n<details>\n<summary>More of {}</summary>\n{others}\n</details>\n",
            report.name
        ));
    }
    text
}

fn markdown(table: &Table) -> String {
    let cells: Vec<&str> = table.head.iter().map(String::as_str).collect();
    let mut text = line(&cells);
    text.push_str("|---|");
    text.push_str(&"---:|".repeat(table.head.len() - 1));
    text.push('\n');
    for row in &table.rows {
        let cells = row.iter().enumerate();
        let cells: Vec<String> = cells
            .map(|(at, cell)| if at == 0 { cell.clone() } else { grouped(cell) })
            .collect();
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        text.push_str(&line(&cells));
    }
    text
}

fn line(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// Names of types are no HTML, and nothing in a cell ends it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' => safe.push_str("&lt;"),
            '|' | '[' | ']' => safe.extend(['\\', char]),
            char => safe.push(char),
        }
    }
    safe
}
