//! What the benchmarks share: cases that take turns, medians, and tables for people and scripts.

#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

use std::time::{Duration, Instant};

/// Whatever goes wrong.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is run, and how often each case is.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Of one table alone.
    only: Option<String>,
    /// Every case is run once in each.
    pub rounds: usize,
    /// What a round takes, as a part of what it takes in full.
    pub share: f64,
}

impl Effort {
    /// As the arguments say: `[--quick] [TABLE]`. Quick is only so much that everything has run.
    pub fn from_args() -> Self {
        let (options, tables): (Vec<String>, Vec<String>) =
            std::env::args().skip(1).partition(|arg| arg == "--quick");
        let (rounds, share) = match options.is_empty() {
            true => (31, 1.0),
            false => (3, 0.05),
        };
        Self {
            only: tables.into_iter().next(),
            rounds,
            share,
        }
    }

    /// Whether a table is asked for.
    pub fn wants(&self, table: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == table)
    }

    /// How many repetitions a round takes that are `n` in full.
    pub fn of(&self, n: usize) -> usize {
        ((n as f64 * self.share) as usize).max(1)
    }
}

/// Something to be measured: what it is called, and what runs once in each round.
pub struct Case<'a> {
    name: String,
    run: Box<dyn FnMut() -> Result<(), BoxError> + 'a>,
}

impl<'a> Case<'a> {
    /// A case.
    pub fn new(name: impl Into<String>, run: impl FnMut() -> Result<(), BoxError> + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a case came to: its name, and the median of its rounds.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Of the case.
    pub name: String,
    /// Of a round.
    pub median: Duration,
}

/// Runs all `cases` in each round, forwards in one and backwards in the next: whatever
/// disturbs the machine disturbs all of them. A round before the first is not counted.
pub fn measure(effort: &Effort, mut cases: Vec<Case<'_>>) -> Result<Vec<Measured>, BoxError> {
    let mut times = vec![Vec::with_capacity(effort.rounds); cases.len()];
    for round in 0..=effort.rounds {
        let mut order: Vec<usize> = (0..cases.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let begin = Instant::now();
            (cases[at].run)()?;
            let took = begin.elapsed();
            if round > 0 {
                times[at].push(took);
            }
        }
    }
    let measured = cases.into_iter().zip(times).map(|(case, mut times)| {
        times.sort_unstable();
        Measured {
            name: case.name,
            median: times[times.len() / 2],
        }
    });
    Ok(measured.collect())
}

/// A table in plain text: the first column to the left, the others to the right.
pub fn print_table(head: &[&str], rows: &[Vec<String>]) {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = std::iter::once(&head).chain(rows);
            cells.map(|row| row[column].len()).max().unwrap_or(0)
        })
        .collect();
    println!();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line.push_str(&format!("  {cell:>width$}"));
        }
        println!("{line}");
    }
}

/// The lines that scripts read, which come last.
pub fn print_ratios(ratios: &[(String, f64)]) {
    println!();
    for (name, value) in ratios {
        println!("ratio {name} {value:.3}");
    }
}
