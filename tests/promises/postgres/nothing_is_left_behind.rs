//! A statement that nobody waits for any more ends in the server, too.

use std::sync::Arc;

use tests::postgres::{Server, sql};
use tokio::task::JoinSet;
use tower_token::{Announce, ByteStore, Expected, PostgresStore};

use super::{Sealed, key};

const SAVES: u8 = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_was_dropped_does_not_wait_for_a_lock() {
    let server = Server::start().await.unwrap();
    let sealed = Sealed::rows().await;
    let store = PostgresStore::builder(server.url());
    let store = Arc::new(store.open().await.unwrap());
    let url = server.url();
    // It hears itself: there is no pooler.
    let greeted = "select count(*) from pg_stat_activity
        where state = 'idle' and query like 'SELECT pg_notify%'";
    while sql(&url, greeted).await.unwrap() != "1" {}
    let holder = tokio::spawn({
        let url = url.clone();
        let hold = "begin; lock table tower_token.rows in access exclusive mode;
            select pg_sleep(600)";
        async move { sql(&url, hold).await }
    });
    let asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    while sql(&url, asleep).await.unwrap() != "1" {}
    let waiting = "select count(*) from pg_stat_activity
        where state = 'active' and wait_event_type = 'Lock'";
    let mut saves = JoinSet::new();
    for id in 1..=SAVES {
        let (store, row) = (store.clone(), sealed.of(Announce::EveryoneAtOnce));
        saves.spawn(async move { store.save(&key(id), row, Expected::Absent).await });
    }
    while sql(&url, waiting).await.unwrap() != SAVES.to_string() {}
    saves.shutdown().await;
    // The lock is still held: only their end takes them away.
    while sql(&url, waiting).await.unwrap() != "0" {}
    assert_eq!(sql(&url, asleep).await.unwrap(), "1");
    holder.abort();
}
