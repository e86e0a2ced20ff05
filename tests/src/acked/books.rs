//! What the parent knows: which saves were begun, which were acknowledged, and what every row
//! may therefore be.

use std::collections::BTreeMap;
use std::fmt;

use tower_token::Version;

use super::digest;

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Acknowledged saves and removals.
    pub acked: u64,
    /// Of these, what was not there afterwards: a row that is gone, or an older one, or one that
    /// was removed.
    pub lost: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
    /// Opens that failed or did not end.
    pub failed_opens: u64,
    /// Rows that were due and not claimed, or claimed and not due.
    pub misclaimed: u64,
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
            misclaimed,
            violations,
        } = *self;
        acked > 0 && lost + unreadable + failed_opens + misclaimed + violations == 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acked,
            lost,
            unreadable,
            failed_opens,
            misclaimed,
            violations: _,
        } = self;
        write!(
            f,
            "acked {acked} lost {lost} unreadable {unreadable} failed_opens {failed_opens} \
             misclaimed {misclaimed}"
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
    /// What is known to be on the disk.
    last: State,
    /// Begun since the last look: what may be there, too.
    begun: Vec<Begun>,
    /// What acknowledged saves and removals since the last look expected.
    replaced: Vec<u64>,
    /// How often it was made where there was none, counting the one that the last look found.
    made: usize,
    /// The version that was claimed.
    claimed: Option<u64>,
}

/// What a row is: of which version, and what is in it. A removal is of the version it removed;
/// the version of a row that never was is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    version: u64,
    digest: Option<u64>,
}

impl State {
    /// Rises with what happens to a row.
    fn age(self) -> (u64, bool) {
        (self.version, self.digest.is_none())
    }
}

/// A save of this, or a removal.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// A version, or 0 for no row.
    expected: u64,
    digest: Option<u64>,
}

impl Page {
    /// Whether something that expected this may have come after all that was acknowledged.
    fn can_follow(&self, expected: u64) -> bool {
        let is_newer = |expected| expected > 0 && (expected, false) >= self.last.age();
        let may_be_gone = || {
            let mut begun = self.begun.iter();
            self.last.digest.is_none()
                || begun.any(|begun| begun.digest.is_none() && is_newer(begun.expected))
        };
        is_newer(expected) || (expected == 0 && may_be_gone())
    }

    /// Whether what was begun and not acknowledged may have left it like that.
    fn may_be(&self, digest: Option<u64>) -> bool {
        let mut begun = self.begun.iter();
        begun.any(|begun| begun.digest == digest && self.can_follow(begun.expected))
    }

    /// Enters what was acknowledged. Whether that can be.
    fn acked(&mut self, expected: u64, now: State) -> bool {
        // Acknowledgements of one row may be told out of order.
        let is_new = now != self.last;
        if now.age() > self.last.age() {
            self.last = now;
        }
        if expected == 0 {
            // Once, and once more for each removal.
            let removals = self.begun.iter().filter(|begun| begun.digest.is_none());
            self.made += 1;
            return is_new && self.made <= removals.count() + 1;
        }
        // Nobody may replace what has been replaced.
        let is_first = !self.replaced.contains(&expected);
        self.replaced.push(expected);
        is_new && is_first
    }
}

/// The words of a line: the first one, which row, and three numbers at most.
fn words(line: &str) -> Option<(&str, usize, [Option<u64>; 3])> {
    let mut words = line.split(' ');
    let (what, key) = (words.next()?, words.next()?.parse().ok()?);
    let mut numbers = [None; 3];
    for number in &mut numbers {
        *number = words.next().map(str::parse).transpose().ok()?;
    }
    words.next().is_none().then_some((what, key, numbers))
}

impl Books {
    /// Enters one line of a child that saves. `false` if it is not one that it should say.
    pub fn enter(&mut self, line: &str) -> bool {
        let Some((what, key, numbers)) = words(line) else {
            return false;
        };
        let page = self.keys.entry(key).or_default();
        let (expected, now) = match (what, numbers) {
            ("begun", [Some(expected), Some(digest), None]) => {
                let digest = Some(digest);
                page.begun.push(Begun { expected, digest });
                return true;
            }
            ("removing", [Some(expected), None, None]) => {
                let digest = None;
                page.begun.push(Begun { expected, digest });
                return true;
            }
            ("saved", [Some(expected), Some(digest), Some(version)]) => {
                let digest = Some(digest);
                // It will not be saved again.
                let is_it = |begun: &Begun| (begun.expected, begun.digest) == (expected, digest);
                page.begun.retain(|begun| !is_it(begun));
                (expected, State { version, digest })
            }
            ("removed", [Some(version), None, None]) => {
                let digest = None;
                (version, State { version, digest })
            }
            _ => return false,
        };
        self.totals.acked += 1;
        // Nor may it get an older number.
        let is_later = now.age() > (expected, false);
        if !page.acked(expected, now) || !is_later {
            self.totals.violations += 1;
        }
        true
    }

    /// Enters a save that was made and acknowledged in this process.
    pub fn saved(&mut self, key: usize, bytes: &[u8], version: Version) {
        self.totals.acked += 1;
        let page = self.keys.entry(key).or_default();
        page.made = 1;
        page.last = State {
            version: version.0,
            digest: Some(digest(bytes)),
        };
    }

    /// How many saves were acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.totals.acked
    }

    /// Enters one line of a child that looks. `false` if it is not one that it should say.
    pub fn compare(&mut self, line: &str) -> bool {
        let Some((what, key, numbers)) = words(line) else {
            return false;
        };
        let page = self.keys.entry(key).or_default();
        let last = page.last;
        let (found, is_due) = match (what, numbers) {
            ("claimed", [Some(version), None, None]) => {
                // Each is given out once.
                let twice = page.claimed.replace(version).is_some();
                self.totals.misclaimed += u64::from(twice);
                return true;
            }
            ("unreadable", [None, None, None]) => {
                self.totals.unreadable += 1;
                return true;
            }
            ("found" | "due", [Some(version), Some(digest), None]) => {
                let digest = Some(digest);
                (State { version, digest }, what == "due")
            }
            ("absent", [None, None, None]) => {
                let version = last.version;
                let digest = None;
                (State { version, digest }, false)
            }
            _ => return false,
        };
        if page.claimed != Some(found.version).filter(|_| is_due) {
            self.totals.misclaimed += 1;
        }
        if found == last || (found.digest.is_none() && page.may_be(None)) {
            // As it was acknowledged, or removed since.
        } else if found.digest.is_none() || found.age() < last.age() {
            self.totals.lost += 1;
        } else if found.version == last.version || !page.may_be(found.digest) {
            // Newer than what was acknowledged, so it has to be a save that was cut off.
            self.totals.violations += 1;
        }
        *page = Page {
            last: found,
            made: usize::from(found.digest.is_some()),
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
    fn what_was_removed_is_gone_or_made_anew() {
        let removed = [
            "begun 1 0 70",
            "saved 1 0 70 5",
            "removing 1 5",
            "removed 1 5",
            "begun 1 0 71",
        ];
        for found in ["absent 1", "found 1 6 71"] {
            assert!(books(&removed, found).are_good(), "{found}");
        }
        assert_eq!(books(&removed, "found 1 5 70").lost, 1);
        assert_eq!(books(&removed, "found 1 6 70").violations, 1);

        // It may have been removed, and made anew.
        let may = &removed[..3];
        for found in ["absent 1", "found 1 5 70"] {
            assert!(books(may, found).are_good(), "{found}");
        }
        let and_made = [may, &removed[4..]].concat();
        assert!(books(&and_made, "found 1 6 71").are_good());
        // Not where nobody removed it.
        let never = ["begun 1 0 70", "saved 1 0 70 5", "begun 1 0 71"];
        assert_eq!(books(&never, "found 1 6 71").violations, 1);
        assert_eq!(books(&never, "absent 1").lost, 1);
        // Acknowledgements out of order.
        let said = [&removed[..3], &["saved 1 0 71 6", "removed 1 5"]].concat();
        assert!(books(&said, "found 1 6 71").are_good());
        assert_eq!(books(&said, "absent 1").lost, 1);
    }

    #[test]
    fn what_is_due_is_claimed_once_as_it_is() {
        for (claimed, found, misclaimed) in [
            (&["claimed 1 5"][..], "due 1 5 70", 0),
            (&[], "found 1 5 70", 0),
            (&[], "due 1 5 70", 1),
            (&["claimed 1 5"], "found 1 5 70", 1),
            (&["claimed 1 5"], "absent 1", 1),
            (&["claimed 1 4"], "due 1 5 70", 1),
            (&["claimed 1 5", "claimed 1 5"], "due 1 5 70", 1),
        ] {
            let mut books = Books::default();
            assert!(books.enter("saved 1 0 70 5"));
            for line in claimed {
                assert!(books.compare(line), "{line}");
            }
            assert!(books.compare(found), "{found}");
            let totals = books.totals;
            assert_eq!(totals.misclaimed, misclaimed, "{claimed:?} {found}");
        }
    }

    #[test]
    fn two_winners_are_a_violation() {
        let said = ["saved 1 0 70 5", "saved 1 5 71 6", "saved 1 5 72 7"];
        assert_eq!(books(&said, "found 1 7 72").violations, 1);
        let said = ["saved 1 0 70 5", "saved 1 5 71 5"];
        assert!(books(&said, "found 1 5 70").violations > 0);
        let said = ["saved 1 0 70 5", "saved 1 0 71 6"];
        assert_eq!(books(&said, "found 1 6 71").violations, 1);
        let said = [
            "saved 1 0 70 5",
            "removing 1 5",
            "saved 1 5 71 6",
            "removed 1 5",
        ];
        assert_eq!(books(&said, "found 1 6 71").violations, 1);
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
