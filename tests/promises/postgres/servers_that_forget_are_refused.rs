//! A store is not opened on a server that loses what it acknowledged, and never trusts one that
//! may be behind.

use tests::postgres::{Pooler, Server, sql};
use tower_token::{Announce, ByteStore, Expected, Group, PostgresStore, StoreErrorKind};

use super::{Sealed, key, saved, shown};

#[tokio::test]
async fn a_server_that_loses_what_it_acknowledged() {
    let server = Server::start().await.unwrap();
    for (setting, said, kind) in [
        (
            "synchronous_commit = off",
            "synchronous_commit is off",
            StoreErrorKind::Misconfigured,
        ),
        (
            "default_transaction_isolation = 'serializable'",
            "read committed",
            StoreErrorKind::Misconfigured,
        ),
        // As a replica does, which may become the primary.
        (
            "default_transaction_read_only = on",
            "does not allow writes",
            StoreErrorKind::Unavailable,
        ),
    ] {
        let url = server.database().await.unwrap();
        assert!(PostgresStore::connect(url.clone()).await.is_ok());
        let name = sql(&url, "select current_database()").await.unwrap();
        let set = format!("alter database {name} set {setting}");
        sql(&url, &set).await.unwrap();
        let error = PostgresStore::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{setting}");
        assert!(shown(&error).contains(said), "{}", shown(&error));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_became_a_replica() {
    let mut server = Server::start().await.unwrap();
    let pooler = Pooler::start(&server.url()).await.unwrap();
    let sealed = Sealed::rows().await;
    // Through a pooler connections outlive their server, and nobody notices a change of it.
    let store = PostgresStore::builder(pooler.url()).without_listening();
    let store = store.open().await.unwrap();
    let row = || sealed.of(Announce::Everyone);
    let version = saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());
    let cursor = store.changes_since(None, 9).await.unwrap().next;
    assert_eq!(store.load(&key(1)).await.unwrap().unwrap().version, version);

    server.restart_as_replica().await.unwrap();
    let group: Group = key(1).group();
    let replica = async || {
        [
            store.load(&key(1)).await.err(),
            store.load(&key(2)).await.err(),
            store.list(group).await.err(),
            store.list(key(2).group()).await.err(),
            store.scan(None, 9).await.err(),
            store.changes_since(Some(&cursor), 9).await.err(),
            store.changes_since(None, 9).await.err(),
        ]
    };
    // The connection that broke with the restart is met first.
    let _ = store.load(&key(1)).await;
    for error in replica().await {
        let error = error.expect("a replica was believed");
        assert!(error.to_string().contains("replica"), "{}", shown(&error));
    }
    for error in [
        store.save(&key(2), row(), Expected::Absent).await.err(),
        store
            .claim_due(9, std::time::Duration::from_secs(9))
            .await
            .err(),
        store.purge(&key(1), version).await.err(),
        PostgresStore::connect(server.url()).await.err(),
        PostgresStore::connect(pooler.url()).await.err(),
    ] {
        let error = error.expect("a replica took a write");
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        shown(&error);
    }
}
