//! The contract of a back end: our stores keep it, and a store that does not is found out by
//! the case that is about it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tempfile::TempDir;
use tests::faulty::{Disk, Fault, Faulty};
use tower_token::store::contract::{Case, Outcome, Suite};
use tower_token::{ByteStore, MemoryStore, RedbStore, SledStore, StoreError};

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    let suite = Suite::new(|| async { Ok(MemoryStore::new()) });
    let report = suite.with_changes().run().await;
    report.assert_kept();
    // What it does not claim is not counted as kept.
    assert!(
        report
            .to_string()
            .ends_with("27 kept, 0 broken, 4 not claimed")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sled() {
    in_a_folder(|folder| async move { SledStore::open(folder.path()).await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_redb() {
    in_a_folder(|folder| async move { RedbStore::open(folder.path()).await }).await;
}

async fn in_a_folder<S, Opening>(open: impl Fn(Arc<TempDir>) -> Opening + Send + Sync + 'static)
where
    S: ByteStore,
    Opening: Future<Output = Result<S, StoreError>> + Send + 'static,
{
    let folder = || Arc::new(tempfile::tempdir().unwrap());
    let report = Suite::durable(folder, open).run().await;
    report.assert_kept();
    assert!(
        report
            .to_string()
            .ends_with("27 kept, 0 broken, 4 not claimed")
    );
}

/// What is broken, and the promises that are: the first by name, at least.
const FAULTS: [(Fault, &str); 34] = [
    (Fault::CutsLongRows, "a_row_is_read_as_it_was_written"),
    (Fault::ForgetsDue, "a_row_is_read_as_it_was_written"),
    (
        Fault::DoesNotCompare,
        "a_save_replaces_only_what_it_expects",
    ),
    (Fault::WritesWhatItRefuses, "a_refused_save_changes_nothing"),
    (Fault::ComparesTooEarly, "of_many_savers_one_wins"),
    (Fault::ReusesVersions, "a_version_is_never_used_twice"),
    (Fault::ForgetsSaves, "what_was_saved_is_seen_at_once"),
    (Fault::LoadsStale, "what_was_saved_is_seen_at_once"),
    (Fault::WritesInParts, "a_row_is_seen_whole"),
    (Fault::CutsKeys, "a_key_is_48_bytes_of_any_value"),
    (Fault::WritesLate, "a_dropped_save_wrote_all_or_nothing"),
    (Fault::PurgesAnyVersion, "a_purge_removes_one_version_alone"),
    (Fault::ListsAll, "a_group_is_its_rows"),
    (Fault::ScansBackwards, "a_scan_is_every_row_in_order"),
    (Fault::ScansWithHoles, "a_scan_is_every_row_in_order"),
    (
        Fault::ScansByNumber,
        "a_scan_goes_on_though_rows_come_and_go",
    ),
    (Fault::LeasesToAll, "a_lease_has_one_holder"),
    (Fault::DoesNotExtend, "a_holder_extends_its_lease"),
    (Fault::LeasesForEver, "a_lease_ends_with_its_time"),
    (
        Fault::ReleasesForAll,
        "a_lease_is_released_by_its_holder_alone",
    ),
    (Fault::LocksLeasedRows, "a_lease_keeps_nobody_from_its_row"),
    (Fault::ClaimsTwice, "what_is_due_is_claimed_by_one"),
    (Fault::ClaimsForEver, "a_claim_ends_with_its_time"),
    (Fault::DueAtFirst, "due_is_what_the_row_says_now"),
    (Fault::ClaimsLease, "claims_and_leases_are_apart"),
    (Fault::PretendsEmpty, "what_takes_an_index_says_so"),
    (
        Fault::LosesTheLast,
        "what_was_acknowledged_is_there_after_a_reopen",
    ),
    (Fault::CountsAnew, "versions_go_on_after_a_reopen"),
    (
        Fault::ShowsUnsafe,
        "a_load_shows_nothing_that_could_be_undone",
    ),
    (Fault::TellsNothing, "what_is_announced_is_told_to_all"),
    (Fault::CountsChangesEarly, "no_change_is_passed_over"),
    (Fault::CutsChanges, "too_many_changes_are_not_left_out"),
    (Fault::NeverCloses, "a_closed_store_does_nothing"),
    (Fault::OpensAgain, "closing_twice_is_closing_once"),
];

fn suite(fault: Fault) -> Suite<Faulty> {
    let open = move |disk| async move { Ok(Faulty::open(fault, &disk)) };
    let suite = Suite::durable(Disk::default, open).with_changes();
    match fault {
        Fault::PretendsEmpty => suite.without_index(),
        _ => suite,
    }
}

/// On one thread, so that tasks take turns and each fault shows every time.
#[tokio::test]
async fn every_case_can_fail() {
    suite(Fault::None).run().await.assert_kept();
    let mut seen = BTreeSet::new();
    for (fault, name) in FAULTS {
        let case = Case::named(name).unwrap();
        let outcome = suite(fault).run_case(case).await;
        println!("{fault:?}: {case}: {outcome:?}");
        assert!(matches!(outcome, Outcome::Broken(_)), "{fault:?}: {case}");
        seen.insert(name);
    }
    let all: BTreeSet<_> = Case::all().map(|case| case.name()).collect();
    assert_eq!(seen, all);
    // What is printed names the case, and the panic prints that.
    let report = suite(Fault::ScansBackwards).run().await;
    let line = "12 a_scan_is_every_row_in_order: BROKEN: a scan ";
    assert!(
        !report.is_kept() && report.to_string().contains(line),
        "{report}"
    );
    let panicked = tokio::spawn(async move { report.assert_kept() }).await;
    let message = panicked.unwrap_err().into_panic();
    assert!(message.downcast::<String>().unwrap().contains(line));
}
