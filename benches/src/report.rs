//! What a benchmark says: tables for people, ratios for scripts, and a file for the charts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{BoxError, Effort};

/// What one command has measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The command.
    pub name: String,
    /// In the order in which they were printed.
    pub tables: Vec<Table>,
    /// Names and values.
    pub ratios: Vec<(String, f64)>,
}

/// A table: its first column names the rows, the others hold numbers or short words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// Of the columns; the first says what the table is about.
    pub head: Vec<String>,
    /// As long as the head, each.
    pub rows: Vec<Vec<String>>,
}

impl Report {
    /// A report of the command of this name, with nothing in it.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Prints a table, and keeps it.
    pub fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
        print(&head, &rows);
        self.tables.push(Table { head, rows });
    }

    /// Notes a ratio, to be printed at the end.
    pub fn ratio(&mut self, name: impl Into<String>, value: f64) {
        self.ratios.push((name.into(), value));
    }

    /// Prints the lines that scripts read. A full run is kept for the charts.
    pub fn finish(self, effort: &Effort) -> Result<(), BoxError> {
        println!();
        for (name, value) in &self.ratios {
            println!("ratio {name} {value:.3}");
        }
        if effort.is_full() && cfg!(not(debug_assertions)) {
            std::fs::create_dir_all(folder())?;
            std::fs::write(file(&self.name), serde_json::to_vec_pretty(&self)?)?;
        }
        Ok(())
    }

    /// What the last full run of a command said.
    pub fn last(name: &str) -> Result<Self, BoxError> {
        let text = std::fs::read(file(name))
            .map_err(|error| format!("{name} was not run in full on this machine: {error}"))?;
        Ok(serde_json::from_slice(&text)?)
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/reports"))
}

fn file(name: &str) -> PathBuf {
    folder().join(name).with_extension("json")
}

/// Plain text: the first column to the left, the others to the right.
fn print(head: &[String], rows: &[Vec<String>]) {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = std::iter::once(head).chain(rows.iter().map(Vec::as_slice));
            cells.map(|row| row[column].len()).max().unwrap_or(0)
        })
        .collect();
    println!();
    for row in std::iter::once(head).chain(rows.iter().map(Vec::as_slice)) {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        println!("{line}");
    }
}
