//! What the parent knows: which saves were begun, which were acknowledged, and what every row
//! may therefore be.

use std::collections::BTreeMap;
use std::fmt;

use tower_token::Version;

use super::digest;

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Acknowledged saves.
    pub acked: u64,
    /// Of these, what was not there afterwards: a row that is gone, or an older one.
    pub lost: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
    /// Opens that failed or did not end.
    pub failed_opens: u64,
    /// Broken promises of compare-and-set: two winners, a version used twice, or a row that
    /// nobody saved.
    pub violations: u64,
}

impl Totals {
    /// Whether nothing went wrong.
    pub fn are_good(&self) -> bool {
        let Self {
            acked,
            lost,
            unreadable,
            failed_opens,
            violations,
        } = *self;
        acked > 0 && lost + unreadable + failed_opens + violations == 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acked,
            lost,
            unreadable,
            failed_opens,
            violations: _,
        } = self;
        write!(
            f,
            "acked {acked} lost {lost} unreadable {unreadable} failed_opens {failed_opens}"
        )
    }
}

/// The books of one store.
#[derive(Debug, Clone, Default)]
pub struct Books {
    keys: BTreeMap<usize, Page>,
    /// What was counted so far.
    pub totals: Totals,
}

/// What is known of one row.
#[derive(Debug, Clone, Default)]
struct Page {
    /// The last version that is known to be on the disk, and what is in it. A version of 0
    /// is no row.
    last: (u64, u64),
    /// Begun since the last look, by what they expected: what may be there, too.
    begun: Vec<(u64, u64)>,
    /// What acknowledged saves since the last look expected.
    replaced: Vec<u64>,
}

impl Books {
    /// Enters one line of a child that saves. `false` if it is not one that it should say.
    pub fn enter(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let Some(key) = number(1) else { return false };
        let page = self.keys.entry(key as usize).or_default();
        match (words[0], number(2), number(3), number(4)) {
            ("begun", Some(expected), Some(digest), None) => page.begun.push((expected, digest)),
            ("saved", Some(expected), Some(digest), Some(version)) => {
                self.totals.acked += 1;
                // Nobody may replace what has been replaced, nor get an older number for it.
                if page.replaced.contains(&expected) || version <= expected {
                    self.totals.violations += 1;
                }
                page.replaced.push(expected);
                if version == page.last.0 {
                    self.totals.violations += 1;
                }
                // Acknowledgements of one row may be told out of order.
                if version > page.last.0 {
                    page.last = (version, digest);
                }
            }
            _ => return false,
        }
        true
    }

    /// Enters a save that was made and acknowledged in this process.
    pub fn saved(&mut self, key: usize, bytes: &[u8], version: Version) {
        self.totals.acked += 1;
        self.keys.entry(key).or_default().last = (version.0, digest(bytes));
    }

    /// How many saves were acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.totals.acked
    }

    /// Enters one line of a child that looks. `false` if it is not one that it should say.
    pub fn compare(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        let Some(key) = number(1) else { return false };
        let page = self.keys.entry(key as usize).or_default();
        let found = match (words[0], number(2), number(3)) {
            ("found", Some(version), Some(digest)) => (version, digest),
            ("absent", None, None) => (0, 0),
            ("unreadable", None, None) => {
                self.totals.unreadable += 1;
                return true;
            }
            _ => return false,
        };
        let begun = |digest| {
            let mut begun = page.begun.iter();
            begun.any(|&(expected, begun)| begun == digest && expected >= page.last.0)
        };
        if found.0 < page.last.0 {
            self.totals.lost += 1;
        } else if found != page.last && (found.0 == page.last.0 || !begun(found.1)) {
            // Newer than what was acknowledged, so it has to be a save that was cut off.
            self.totals.violations += 1;
        }
        *page = Page {
            last: found,
            ..Page::default()
        };
        true
    }

    /// Forgets every row, as the store did: what is counted stays.
    pub fn forget(&mut self) {
        self.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the books make of a child that said this, and then of one that found this.
    fn books(said: &[&str], found: &str) -> Totals {
        let mut books = Books::default();
        for line in said {
            assert!(books.enter(line), "{line}");
        }
        assert!(books.compare(found), "{found}");
        books.totals
    }

    const SAID: [&str; 4] = [
        "begun 1 0 70",
        "saved 1 0 70 5",
        "begun 1 5 71",
        "begun 1 5 72",
    ];

    #[test]
    fn what_was_acknowledged_is_there_or_what_came_after() {
        for found in ["found 1 5 70", "found 1 6 71", "found 1 9 72"] {
            assert!(books(&SAID, found).are_good(), "{found}");
        }
    }

    #[test]
    fn what_is_gone_or_older_is_lost() {
        for found in ["absent 1", "found 1 4 70"] {
            let totals = books(&SAID, found);
            assert_eq!((totals.lost, totals.violations), (1, 0), "{found}");
        }
        assert_eq!(books(&SAID, "unreadable 1").unreadable, 1);
    }

    #[test]
    fn a_row_that_nobody_saved_is_a_violation() {
        for found in ["found 1 6 99", "found 1 5 71"] {
            let totals = books(&SAID, found);
            assert_eq!((totals.lost, totals.violations), (0, 1), "{found}");
        }
        assert_eq!(books(&[], "found 1 6 99").violations, 1);
        // Begun on what had been replaced by then: it cannot have won.
        let said = ["begun 1 0 70", "begun 1 0 71", "saved 1 0 70 5"];
        assert_eq!(books(&said, "found 1 6 71").violations, 1);
    }

    #[test]
    fn two_winners_are_a_violation() {
        let said = ["saved 1 0 70 5", "saved 1 5 71 6", "saved 1 5 72 7"];
        assert_eq!(books(&said, "found 1 7 72").violations, 1);
        let said = ["saved 1 0 70 5", "saved 1 5 71 5"];
        assert!(books(&said, "found 1 5 70").violations > 0);
    }

    #[test]
    fn a_line_that_is_cut_or_strange_is_not_entered() {
        let mut books = Books::default();
        for line in [
            "",
            "saved",
            "saved 1 0 70",
            "failed 1",
            "begun 1 0 70 5",
            "saved x 0 70 5",
        ] {
            assert!(!books.enter(line), "{line}");
        }
        assert_eq!(books.totals, Totals::default());
    }
}
