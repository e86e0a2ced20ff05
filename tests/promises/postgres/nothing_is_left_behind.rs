//! A statement that nobody waits for any more ends in the server, too.

use std::sync::Arc;
use std::time::Duration;

use tests::postgres::{Pooler, Server, hears_itself, sql, until};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_token::{Announce, ByteStore, Expected, PostgresStore};

use super::{ASLEEP, Sealed, WAITING, hold, key, open, owner, saved, shown};
use crate::support::HOUR;

const MINUTE: Duration = Duration::from_secs(60);
const LOADS: u8 = 12;
const COMMITTING: &str = "select count(*) from pg_stat_activity
    where wait_event = 'SyncRep' and application_name = 'tower-token'";

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_dropped_does_not_wait_for_a_lock() {
    let server = Server::start().await.unwrap();
    let store = Arc::new(open(&server).await);
    let url = server.url();
    hears_itself(&url).await.unwrap();
    let holder = hold(&url, "lock table tower_token.rows in access exclusive mode").await;
    let mut loads = JoinSet::new();
    for id in 1..=LOADS {
        let store = store.clone();
        loads.spawn(async move { store.load(&key(id)).await });
    }
    until(&url, WAITING, LOADS).await.unwrap();
    loads.shutdown().await;
    // The lock is still held: only their end takes them away.
    until(&url, WAITING, 0).await.unwrap();
    assert_eq!(sql(&url, ASLEEP).await.unwrap(), "1");
    holder.abort();
}

/// Behind a pooler, and to where nobody listens, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_waits_for_a_row_no_longer_than_its_caller() {
    let server = Server::start().await.unwrap();
    let pooler = Pooler::start(&server.url()).await.unwrap();
    let sealed = Sealed::rows().await;
    let row = || sealed.of(Announce::EveryoneAtOnce);
    let store = PostgresStore::builder(pooler.url()).without_listening();
    let store = store.max_connections(1).open().await.unwrap();
    let version = saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());
    let url = server.url();
    let holder = hold(&url, "select 1 from tower_token.rows for update").await;
    let error = store.save(&key(1), row(), Expected::Version(version)).await;
    let error = error.unwrap_err();
    assert!(
        shown(&error).contains("locked by another"),
        "{}",
        shown(&error)
    );
    assert_eq!(sql(&url, WAITING).await.unwrap(), "0");
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'";
    sql(&url, end).await.unwrap();
    assert!(holder.await.is_err());
    until(&url, ASLEEP, 0).await.unwrap();
    let version = Expected::Version(version);
    saved(store.save(&key(1), row(), version).await.unwrap());
    // Nothing of it stays with the connection.
    assert_eq!(sql(&pooler.url(), "show lock_timeout").await.unwrap(), "0");
}

/// Of those who died with them: all others give theirs up.
#[tokio::test]
async fn leases_that_ended_long_ago_are_removed() {
    let server = Server::start().await.unwrap();
    let store = open(&server).await;
    let url = server.url();
    for id in 1..=3 {
        store.lease(&key(id), owner(id), HOUR).await.unwrap();
    }
    for (id, minutes) in [(1, 61), (2, 59)] {
        let ended = format!(
            "update tower_token.leases set until =
                extract(epoch from now() - interval '{minutes} minutes') * 1000
            where owner = decode(repeat('{id:02x}', 16), 'hex')"
        );
        sql(&url, &ended).await.unwrap();
    }
    store.claim_due(9, HOUR).await.unwrap();
    let left = "select string_agg(substr(encode(owner, 'hex'), 1, 2), ' ' order by owner)
        from tower_token.leases";
    assert_eq!(sql(&url, left).await.unwrap(), "02 03");
}

/// A save that waits for a standby cannot be ended, so that no more are begun at some time.
#[tokio::test(flavor = "multi_thread")]
async fn saves_that_nobody_waits_for_are_bounded() {
    let server = Server::start().await.unwrap();
    let sealed = Sealed::rows().await;
    let row = || sealed.of(Announce::Nobody);
    let store = PostgresStore::builder(server.url());
    let store = Arc::new(store.max_connections(2).open().await.unwrap());
    let url = server.url();
    hears_itself(&url).await.unwrap();
    server.await_standby().await.unwrap();
    let mut saves = JoinSet::new();
    for id in 1..=2 {
        let (store, row) = (store.clone(), row());
        saves.spawn(async move { store.save(&key(id), row, Expected::Absent).await });
    }
    until(&url, COMMITTING, 2).await.unwrap();
    saves.shutdown().await;
    let error = store.save(&key(3), row(), Expected::Absent).await;
    assert!(shown(&error.unwrap_err()).contains("standby"));
    // Others are not kept waiting.
    assert_eq!(store.load(&key(3)).await.unwrap(), None);
    assert_eq!(sql(&url, COMMITTING).await.unwrap(), "2");

    server.await_nobody().await.unwrap();
    until(&url, COMMITTING, 0).await.unwrap();
    let is_saved = async { while store.save(&key(3), row(), Expected::Absent).await.is_err() {} };
    timeout(MINUTE, is_saved).await.unwrap();
}
