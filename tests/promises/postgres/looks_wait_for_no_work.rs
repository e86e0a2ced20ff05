//! What others did is heard while every connection for the work waits.

use std::sync::Arc;

use tests::postgres::{Server, until};
use tower_token::{Announce, ByteStore, Expected, PostgresStore};

use super::{Sealed, WAITING, hold, key, open, saved, shown};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_heard_while_a_save_waits_for_a_row() {
    let server = Server::start().await.unwrap();
    let sealed = Sealed::rows().await;
    let row = || sealed.of(Announce::Everyone);
    let store = PostgresStore::builder(server.url()).max_connections(1);
    let store = Arc::new(store.open().await.unwrap());
    let elsewhere = open(&server).await;
    let version = saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());
    let cursor = store.changes_since(None, 9).await.unwrap().next;
    let url = server.url();
    let holder = hold(&url, "select 1 from tower_token.rows for update").await;
    let save = tokio::spawn({
        let (store, row) = (store.clone(), row());
        async move { store.save(&key(1), row, Expected::Version(version)).await }
    });
    until(&url, WAITING, 1).await.unwrap();

    let row = row();
    saved(
        elsewhere
            .save(&key(2), row, Expected::Absent)
            .await
            .unwrap(),
    );
    let changes = store.changes_since(Some(&cursor), 9).await;
    let changes = changes.unwrap_or_else(|error| panic!("{}", shown(&error)));
    let heard: Vec<_> = changes.rows.iter().map(|(key, _)| *key).collect();
    assert_eq!(heard, [key(2)]);
    // Nobody had to give way.
    assert!(!save.is_finished());
    holder.abort();
}
