//! What came of the cases.

use std::fmt;

use super::Case;

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The promise is kept.
    Kept,
    /// It is broken, and how.
    Broken(String),
    /// Nobody said that the store keeps it, and it was not looked at.
    NotClaimed,
}

/// What came of all cases of a [`Suite`](super::Suite). Printed, it has a line for each.
#[derive(Debug, Clone)]
pub struct Report(Vec<(Case, Outcome)>);

impl Report {
    pub(super) fn new(outcomes: Vec<(Case, Outcome)>) -> Self {
        Self(outcomes)
    }

    /// Every case with what came of it, in the order of their numbers.
    pub fn outcomes(&self) -> impl Iterator<Item = (Case, &Outcome)> {
        self.0.iter().map(|(case, outcome)| (*case, outcome))
    }

    /// Whether no promise that was claimed is broken.
    pub fn is_kept(&self) -> bool {
        let broken = |(_, outcome): &(_, _)| matches!(outcome, Outcome::Broken(_));
        !self.0.iter().any(broken)
    }

    /// Panics if a promise that was claimed is broken, and prints the report.
    pub fn assert_kept(&self) {
        assert!(self.is_kept(), "promises of a store are broken:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut kept, mut broken, mut not_claimed) = (0, 0, 0);
        for (case, outcome) in &self.0 {
            match outcome {
                Outcome::Kept => {
                    kept += 1;
                    writeln!(f, "{case}: kept")?;
                }
                Outcome::Broken(how) => {
                    broken += 1;
                    writeln!(f, "{case}: BROKEN: {how}")?;
                }
                Outcome::NotClaimed => {
                    not_claimed += 1;
                    writeln!(f, "{case}: not claimed")?;
                }
            }
        }
        write!(f, "{kept} kept, {broken} broken, {not_claimed} not claimed")
    }
}
