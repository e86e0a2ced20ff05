//! What the processes tell, and what must not be in it.

use std::collections::{BTreeSet, HashMap};

use ::tests::BoxError;
use tower_token::Serial;

/// Nothing is older.
pub(super) const NONE: Serial = Serial { epoch: 0, issue: 0 };

/// Kept by who leads the fleet.
#[derive(Debug)]
pub(super) struct Books {
    /// Whose each token ever seen is.
    whose: HashMap<u64, usize>,
    /// The newest of each grant that somebody said is stored.
    stored: Vec<Serial>,
    processes: Vec<Process>,
    /// Grants that a process was refreshing when it was killed or stood still: their refresh
    /// tokens may be spent, and what they brought lost.
    pub(super) at_risk: BTreeSet<usize>,
    /// How often one was.
    pub(super) under_way: u64,
    /// Grants said to need their users.
    pub(super) ended: BTreeSet<usize>,
    /// Tokens seen as two grants', or two tokens as one.
    pub(super) crossed: u64,
    /// Tokens that were older than the one before.
    pub(super) older: u64,
    pub(super) exchanges: u64,
    pub(super) adopted: u64,
    pub(super) lost_races: u64,
    pub(super) unsaved: u64,
    pub(super) served: u64,
    pub(super) failed: HashMap<String, u64>,
}

/// What is known of one process since it was started.
#[derive(Debug, Clone)]
struct Process {
    /// The newest of each grant that it was given.
    given: Vec<Serial>,
    asks: BTreeSet<usize>,
    /// What it holds in memory only.
    unsaved: BTreeSet<usize>,
}

impl Process {
    fn new(grants: usize) -> Self {
        Self {
            given: vec![NONE; grants],
            asks: BTreeSet::new(),
            unsaved: BTreeSet::new(),
        }
    }
}

impl Books {
    pub(super) fn new(processes: usize, grants: usize) -> Self {
        Self {
            whose: HashMap::new(),
            stored: vec![NONE; grants],
            processes: vec![Process::new(grants); processes],
            at_risk: BTreeSet::new(),
            under_way: 0,
            ended: BTreeSet::new(),
            crossed: 0,
            older: 0,
            exchanges: 0,
            adopted: 0,
            lost_races: 0,
            unsaved: 0,
            served: 0,
            failed: HashMap::new(),
        }
    }

    /// One line of process `p`.
    pub(super) fn heard(&mut self, p: usize, line: &str) -> Result<(), BoxError> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let n = number(1).ok_or_else(|| format!("a process said {line:?}"))? as usize;
        let serial = number(2).zip(number(3));
        let serial = serial.map(|(epoch, issue)| Serial { epoch, issue });
        match (words[0], serial, number(4)) {
            ("b", ..) => {
                self.processes[p].asks.insert(n);
            }
            ("t", Some(serial), Some(mark)) => self.given(p, n, serial, mark),
            ("e", ..) => {
                let kind = words.get(2).copied().unwrap_or_default();
                *self.failed.entry(kind.to_owned()).or_default() += 1;
            }
            ("r", Some(serial), _) => {
                self.exchanges += 1;
                self.processes[p].unsaved.remove(&n);
                self.stored(n, serial);
            }
            ("a", Some(serial), _) => {
                self.adopted += 1;
                self.stored(n, serial);
            }
            ("u", ..) => {
                self.unsaved += 1;
                self.processes[p].unsaved.insert(n);
            }
            ("n", ..) => {
                self.ended.insert(n);
            }
            ("x", ..) => self.lost_races += 1,
            _ => return Err(format!("a process said {line:?}").into()),
        }
        Ok(())
    }

    fn stored(&mut self, n: usize, serial: Serial) {
        self.stored[n] = self.stored[n].max(serial);
    }

    fn given(&mut self, p: usize, n: usize, serial: Serial, mark: u64) {
        self.served += 1;
        self.seen(n, mark);
        let process = &mut self.processes[p];
        process.asks.remove(&n);
        self.older += u64::from(serial < process.given[n]);
        process.given[n] = serial;
    }

    /// That this is a token of grant `n`.
    pub(super) fn seen(&mut self, n: usize, mark: u64) {
        let whose = *self.whose.entry(mark).or_insert(n);
        self.crossed += u64::from(whose != n);
    }

    /// Process `p` stands still, or is no more, and all that it said was heard.
    pub(super) fn stopped(&mut self, p: usize) {
        let process = &self.processes[p];
        let under_way: BTreeSet<_> = process.asks.union(&process.unsaved).copied().collect();
        self.under_way += under_way.len() as u64;
        self.at_risk.extend(under_way);
    }

    /// Another one takes its place.
    pub(super) fn replaced(&mut self, p: usize) {
        self.processes[p] = Process::new(self.stored.len());
    }

    /// The newest of grant `n` that somebody said is stored.
    pub(super) fn newest(&self, n: usize) -> Serial {
        self.stored[n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(lines: &[(usize, &str)]) -> Books {
        let mut books = Books::new(2, 3);
        for (p, line) in lines {
            books.heard(*p, line).unwrap();
        }
        books
    }

    #[test]
    fn what_goes_wrong_is_seen() {
        let fine = books(&[(0, "t 1 7 2 99"), (1, "t 1 7 1 98"), (0, "t 1 7 3 97")]);
        assert_eq!((fine.crossed, fine.older), (0, 0));
        let crossed = books(&[(0, "t 1 7 2 99"), (1, "t 2 7 2 99")]);
        assert_eq!(crossed.crossed, 1);
        let older = books(&[(0, "t 1 7 2 99"), (0, "t 1 7 1 98")]);
        assert_eq!(older.older, 1);
        let stored = books(&[(0, "r 1 7 2"), (1, "a 1 7 1")]);
        assert_eq!(stored.newest(1), Serial { epoch: 7, issue: 2 });
        assert!(Books::new(1, 1).heard(0, "nonsense").is_err());
    }

    #[test]
    fn at_risk_is_what_was_asked_for_or_not_stored() {
        let lines = ["b 0", "t 0 7 2 9", "b 1", "b 2", "u 2", "t 2 7 2 8"];
        let mut books = books(&lines.map(|line| (0, line)));
        books.stopped(1);
        assert!(books.at_risk.is_empty());
        books.stopped(0);
        assert_eq!(books.at_risk, [1, 2].into());
        books.replaced(0);
        books.at_risk.clear();
        books.stopped(0);
        assert!(books.at_risk.is_empty());
    }
}
