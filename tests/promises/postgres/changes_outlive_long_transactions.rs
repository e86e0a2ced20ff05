//! A snapshot is no counter: whoever else is writing, nothing is passed over, and nothing told
//! again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::postgres::{Server, sql};
use tower_token::{Announce, ByteStore, Changes, Cursor, Expected, RowKey};

use super::{Sealed, key, open, saved};

fn keys(changes: &Changes) -> BTreeSet<RowKey> {
    assert!(!changes.missed);
    changes.rows.iter().map(|(key, _)| *key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_does_not_end_hides_nothing() {
    let server = Server::start().await.unwrap();
    let (store, sealed) = (open(&server).await, Sealed::rows().await);
    let row = || sealed.of(Announce::Everyone);
    let url = server.url();
    sql(&url, "create table other (n int)").await.unwrap();
    // It has a number of its own, older than all that follow, and ends when it is told.
    let long = tokio::spawn({
        let url = url.clone();
        async move {
            sql(
                &url,
                "begin; insert into other values (1); select pg_sleep(600); commit",
            )
            .await
        }
    });
    let begun = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%'
        and backend_xid is not null and pid <> pg_backend_pid()";
    while sql(&url, begun).await.unwrap() != "1" {}

    let mut cursor: Cursor = store.changes_since(None, 9).await.unwrap().next;
    for id in 1..=5 {
        saved(store.save(&key(id), row(), Expected::Absent).await.unwrap());
        let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
        assert_eq!(keys(&changes), [key(id)].into());
        cursor = changes.next;
        let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
        assert_eq!(keys(&changes), [].into(), "told again");
    }
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()";
    sql(&url, end).await.unwrap();
    assert!(long.await.unwrap().is_err());
    let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
    assert_eq!(keys(&changes), [].into(), "told again after its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_commits_late_is_told_of_then() {
    let server = Server::start().await.unwrap();
    let (store, sealed) = (open(&server).await, Sealed::rows().await);
    let row = || sealed.of(Announce::Everyone);
    let url = server.url();
    saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());
    let mut cursor = store.changes_since(None, 9).await.unwrap().next;
    let holder = tokio::spawn({
        let url = url.clone();
        async move { sql(&url, "select pg_advisory_lock(7), pg_sleep(600)").await }
    });
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and granted =";
    while sql(&url, &format!("{locks} true")).await.unwrap() != "1" {}
    // As a save does, but slowly: it holds its number long before it commits.
    let late = tokio::spawn({
        let url = url.clone();
        async move {
            let late = "begin; update tower_token.rows set announced = pg_current_xact_id();
                select pg_advisory_xact_lock(7); commit";
            sql(&url, late).await
        }
    });
    while sql(&url, &format!("{locks} false")).await.unwrap() != "1" {}
    for id in 2..=4 {
        saved(store.save(&key(id), row(), Expected::Absent).await.unwrap());
        let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
        assert_eq!(keys(&changes), [key(id)].into());
        cursor = changes.next;
    }
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where query like '%pg_advisory_lock(7)%' and pid <> pg_backend_pid()";
    sql(&url, end).await.unwrap();
    assert!(holder.await.unwrap().is_err());
    late.await.unwrap().unwrap();
    let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
    assert_eq!(keys(&changes), [key(1)].into(), "the late one");
    let changes = store.changes_since(Some(&changes.next), 9).await.unwrap();
    assert_eq!(keys(&changes), [].into());
}

/// Numbers of transactions that were not on the disk are used again, though the server says that
/// it was started when it was.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_nobody_knows() {
    let mut server = Server::start().await.unwrap();
    let (store, sealed) = (open(&server).await, Sealed::rows().await);
    let row = || sealed.of(Announce::Everyone);
    let url = server.url();
    let cursor = store.changes_since(None, 9).await.unwrap().next;
    let started = "select pg_postmaster_start_time()";
    let before = sql(&url, started).await.unwrap();
    let crash = "copy (select 1) to program 'kill -9 $PPID'";
    assert!(sql(&url, crash).await.is_err());
    while sql(&url, "select 1").await.is_err() {}
    assert_eq!(sql(&url, started).await.unwrap(), before);
    saved(settled(&store, row()).await);
    let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
    assert!(changes.missed, "after a crash of a backend");
    // Also for one who asks when others have asked before.
    let again = store.changes_since(Some(&cursor), 9).await.unwrap();
    assert!(again.missed, "after a crash of a backend, once more");
    let cursor = changes.next;
    let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
    assert!(!changes.missed && changes.rows.is_empty());

    server.restart().await.unwrap();
    let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
    assert!(changes.missed, "after a crash of all");
}

/// Saves until it is known to be.
async fn settled(store: &impl ByteStore, row: tower_token::SealedRow) -> tower_token::SaveOutcome {
    loop {
        let outcome = store.save(&key(1), row.clone(), Expected::Absent).await;
        if let Ok(tower_token::SaveOutcome::Saved(_)) = outcome {
            return outcome.unwrap();
        }
        if let Some(found) = store.load(&key(1)).await.ok().flatten() {
            return tower_token::SaveOutcome::Saved(found.version);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
