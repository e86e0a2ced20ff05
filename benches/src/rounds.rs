//! Cases that take turns, and the medians of their rounds.

use std::fmt;
use std::time::{Duration, Instant};

use crate::{BoxError, Effort};

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

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
