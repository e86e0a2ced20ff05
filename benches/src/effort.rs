//! What is run of a benchmark, and how often.

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
        let full = Self {
            only: tables.into_iter().next(),
            ..Self::in_full()
        };
        match options.is_empty() {
            true => full,
            false => Self {
                rounds: 3,
                share: 0.05,
                ..full
            },
        }
    }

    /// All of it.
    pub fn in_full() -> Self {
        Self {
            only: None,
            rounds: 31,
            share: 1.0,
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

    /// How many grants there are where there are `n` in full.
    pub fn grants(&self, n: usize) -> usize {
        match self.share < 1.0 {
            true => n.min(1_000),
            false => n,
        }
    }

    /// Whether all of it is run, so that its numbers may be believed.
    pub fn is_full(&self) -> bool {
        self.share >= 1.0 && self.only.is_none()
    }
}
