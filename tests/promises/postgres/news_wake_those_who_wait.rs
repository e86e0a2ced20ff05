//! Notifications wake those who wait.

use std::pin::pin;
use std::time::Duration;

use tests::postgres::{Pooler, Server, sql};
use tokio::time::Instant;
use tower_token::{ByteStore, Lease, PostgresStore};

use super::{key, open, owner};

const MINUTE: Duration = Duration::from_secs(60);
/// How often those look who hear nothing.
const RELEASED: Duration = Duration::from_millis(250);
const ANNOUNCED: Duration = Duration::from_millis(500);

/// Whether who waits for a lease hears of its release before one who waited longer and has
/// nothing to hear.
async fn is_woken(store: &impl ByteStore, holder: &impl ByteStore) -> bool {
    holder.lease(&key(1), owner(1), MINUTE).await.unwrap();
    let held = store.lease(&key(1), owner(2), MINUTE).await.unwrap();
    assert!(matches!(held, Lease::Held { .. }));
    let (nobodys, ours) = (key(9), key(1));
    let mut in_vain = pin!(store.released(&nobodys));
    let mut released = pin!(store.released(&ours));
    holder.release(&key(1), owner(1)).await.unwrap();
    // Who hears nothing is kept as long as the other: of two that end together this is the first.
    tokio::select! {
        biased;
        () = &mut in_vain => false,
        () = &mut released => true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_lease_wakes_who_waits_for_it() {
    let server = Server::start().await.unwrap();
    let pooler = Pooler::start(&server.url()).await.unwrap();
    let holder = open(&server).await;
    let store = PostgresStore::builder(pooler.url()).listen(server.url());
    let store = store.open().await.unwrap();
    // It listens a moment after it was opened, and after it was cut off.
    for _ in 0..2 {
        let mut tries = 0;
        while !is_woken(&store, &holder).await {
            tries += 1;
            assert!(tries < 50, "nobody is woken");
        }
        let cut =
            "select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%'";
        sql(&server.url(), cut).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_listen_looks() {
    let server = Server::start().await.unwrap();
    let store = PostgresStore::builder(server.url()).without_listening();
    let store = store.open().await.unwrap();
    let begin = Instant::now();
    store.released(&key(1)).await;
    assert!(begin.elapsed() >= RELEASED);
    let begin = Instant::now();
    store.announced().await;
    assert!(begin.elapsed() >= ANNOUNCED);
}
