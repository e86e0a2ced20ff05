//! The promises of a back end, each a case that can be run by itself.

mod bench;
mod changes;
mod claims;
mod close;
mod index;
mod leases;
mod purge;
mod reopen;
mod report;
mod rows;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use self::bench::{Bench, Checked};
pub use self::report::{Outcome, Report};
use super::byte_store::{ByteStore, StoreError};

/// No case takes longer, or its store hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Opens the store of one place.
type Place<S> = Box<dyn Fn() -> Opening<S> + Send + Sync>;
type Opening<S> = Pin<Box<dyn Future<Output = Result<S, StoreError>> + Send>>;

/// Checks a store against the promises of [`ByteStore`], case by case (feature `testkit`).
///
/// Each case is given a store of its own. Run it on a runtime with several threads, or those
/// about many tasks at once show less, and with tokio's time running.
///
/// ```
/// # #[tokio::main] async fn main() {
/// use tower_token::{MemoryStore, store::contract::Suite};
///
/// let report = Suite::new(|| async { Ok(MemoryStore::new()) }).run().await;
/// println!("{report}");
/// report.assert_kept();
/// # }
/// ```
pub struct Suite<S> {
    place: Box<dyn Fn() -> Place<S> + Send + Sync>,
    outlives: bool,
    has_index: bool,
    tells: bool,
}

impl<S: ByteStore> Suite<S> {
    /// A suite over stores that `open` opens, a new and empty one each time.
    pub fn new<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<S, StoreError>> + Send + 'static,
    {
        let open = Arc::new(open);
        let place = move || {
            let open = Arc::clone(&open);
            Box::new(move || Box::pin(open()) as Opening<S>) as Place<S>
        };
        Self {
            place: Box::new(place),
            outlives: false,
            has_index: true,
            tells: false,
        }
    }

    /// The same where rows outlive the store, so that the promises about that are claimed, too.
    /// `place` makes a new and empty place, such as a folder; `open` opens the store that is
    /// there, perhaps again. The one before was closed in one case, and is only dropped in the
    /// others, as if its process had died.
    pub fn durable<P, F>(
        place: impl Fn() -> P + Send + Sync + 'static,
        open: impl Fn(P) -> F + Send + Sync + 'static,
    ) -> Self
    where
        P: Clone + Send + Sync + 'static,
        F: Future<Output = Result<S, StoreError>> + Send + 'static,
    {
        let open = Arc::new(open);
        let place = move || {
            let (place, open) = (place(), Arc::clone(&open));
            Box::new(move || Box::pin(open(place.clone())) as Opening<S>) as Place<S>
        };
        Self {
            place: Box::new(place),
            outlives: true,
            has_index: true,
            tells: false,
        }
    }

    /// Does not claim what takes an index: the store can neither list nor scan nor find what is
    /// due, and says so each time.
    #[must_use]
    pub fn without_index(mut self) -> Self {
        self.has_index = false;
        self
    }

    /// Claims that the store tells of [changes](ByteStore::changes_since), as one for several
    /// processes should.
    #[must_use]
    pub fn with_changes(mut self) -> Self {
        self.tells = true;
        self
    }

    /// Runs every case, one after the other. None stops those after it.
    pub async fn run(&self) -> Report {
        let mut outcomes = Vec::new();
        for case in Case::all() {
            outcomes.push((case, self.run_case(case).await));
        }
        Report::new(outcomes)
    }

    /// Runs one case.
    pub async fn run_case(&self, case: Case) -> Outcome {
        let claimed = match case.needs {
            Needs::Nothing => true,
            Needs::Index => self.has_index,
            Needs::NoIndex => !self.has_index,
            Needs::Reopen => self.outlives,
            Needs::Changes => self.tells,
        };
        if !claimed {
            return Outcome::NotClaimed;
        }
        let bench = Bench::new(&*self.place);
        match timeout(LIMIT, Box::pin(case.check(&bench))).await {
            Ok(Ok(())) => Outcome::Kept,
            Ok(Err(broken)) => Outcome::Broken(broken.0),
            Err(_) => Outcome::Broken("it did not end within a minute".to_owned()),
        }
    }
}

impl<S> fmt::Debug for Suite<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("outlives", &self.outlives)
            .field("has_index", &self.has_index)
            .field("tells", &self.tells)
            .finish_non_exhaustive()
    }
}

/// One promise of a [`ByteStore`], and the case of the [`Suite`] that checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Case {
    number: u8,
    name: &'static str,
    needs: Needs,
}

/// What a store has to have for a promise to be about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Needs {
    Nothing,
    Index,
    NoIndex,
    Reopen,
    Changes,
}

impl Case {
    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().copied()
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|case| case.name == name)
    }

    /// Its number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Its name, as `a_lease_has_one_holder`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:2} {}", self.number, self.name)
    }
}

macro_rules! cases {
    ($($number:literal $module:ident::$name:ident $needs:ident;)*) => {
        const ALL: &[Case] = &[$(Case {
            number: $number,
            name: stringify!($name),
            needs: Needs::$needs,
        }),*];

        impl Case {
            async fn check<S: ByteStore>(self, bench: &Bench<'_, S>) -> Checked {
                match self.number {
                    $($number => Box::pin($module::$name(bench)).await,)*
                    _ => Ok(()),
                }
            }
        }
    };
}

cases! {
    1 rows::a_row_is_read_as_it_was_written Nothing;
    2 rows::a_save_replaces_only_what_it_expects Nothing;
    3 rows::a_refused_save_changes_nothing Nothing;
    4 rows::of_many_savers_one_wins Nothing;
    5 rows::a_version_is_never_used_twice Nothing;
    6 rows::what_was_saved_is_seen_at_once Nothing;
    7 rows::a_row_is_seen_whole Nothing;
    8 rows::a_key_is_48_bytes_of_any_value Nothing;
    9 rows::a_dropped_save_wrote_all_or_nothing Nothing;
    10 purge::a_purge_removes_one_version_alone Nothing;
    11 index::a_group_is_its_rows Index;
    12 index::a_scan_is_every_row_in_order Index;
    13 index::a_scan_goes_on_though_rows_come_and_go Index;
    14 leases::a_lease_has_one_holder Nothing;
    15 leases::a_holder_extends_its_lease Nothing;
    16 leases::a_lease_ends_with_its_time Nothing;
    17 leases::a_lease_is_released_by_its_holder_alone Nothing;
    18 leases::a_lease_keeps_nobody_from_its_row Nothing;
    19 claims::what_is_due_is_claimed_by_one Index;
    20 claims::a_claim_ends_with_its_time Index;
    21 claims::due_is_what_the_row_says_now Index;
    22 claims::claims_and_leases_are_apart Index;
    23 index::what_takes_an_index_says_so NoIndex;
    24 reopen::what_was_acknowledged_is_there_after_a_reopen Reopen;
    25 reopen::versions_go_on_after_a_reopen Reopen;
    26 reopen::a_load_shows_nothing_that_could_be_undone Reopen;
    27 changes::what_is_announced_is_told_to_all Changes;
    28 changes::no_change_is_passed_over Changes;
    29 changes::too_many_changes_are_not_left_out Changes;
    30 close::a_closed_store_does_nothing Nothing;
    31 close::closing_twice_is_closing_once Nothing;
}

/// Checks one empty store against the promises of [`ByteStore`], and closes it: the short form
/// of a [`Suite`], without the promises about what outlives a store.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), tower_token::StoreError> {
/// use tower_token::{MemoryStore, testkit::contract_suite};
///
/// contract_suite(MemoryStore::new()).await
/// # }
/// ```
///
/// # Panics
///
/// If a promise is broken, with the names of those.
///
/// # Errors
///
/// None any more: a store that fails breaks the promise that was looked at.
pub async fn contract_suite(store: impl ByteStore) -> Result<(), StoreError> {
    // The cases keep to their own rows, and those that close are last.
    let store = Arc::new(store);
    let open = move || std::future::ready(Ok(Arc::clone(&store)));
    Suite::new(open).run().await.assert_kept();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chapter numbers and names what the suite checks.
    #[test]
    fn every_promise_is_a_case_and_every_case_a_promise() {
        let chapter = include_str!("../writing_a_store.md");
        let rows = chapter.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let number = cells.next()?.trim().parse().ok()?;
            Some((number, cells.next()?.trim().trim_matches('`')))
        });
        let promises: Vec<(u8, &str)> = rows.collect();
        let cases: Vec<_> = Case::all()
            .map(|case| (case.number(), case.name()))
            .collect();
        assert_eq!(promises, cases);
    }
}
