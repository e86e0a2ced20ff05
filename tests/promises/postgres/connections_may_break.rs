//! Connections break, and what was asked on them is never denied wrongly.

use std::time::Duration;

use tests::postgres::{Proxy, Server, sql};
use tokio::time::timeout;
use tower_token::{
    Announce, ByteStore, Error, Expected, Lease, PostgresStore, Recovery, SaveOutcome,
    StoreErrorKind,
};

use super::{Sealed, key, open, owner, saved, shown};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_connection_is_made_anew() {
    let server = Server::start().await.unwrap();
    let (store, sealed) = (open(&server).await, Sealed::rows().await);
    let row = || sealed.of(Announce::Nobody);
    let version = saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());
    for _ in 0..10 {
        let all = "select pg_terminate_backend(pid) from pg_stat_activity
            where application_name = 'tower-token'";
        sql(&server.url(), all).await.unwrap();
        // Reads heal without being seen to; a write that failed says so.
        assert_eq!(store.load(&key(1)).await.unwrap().unwrap().version, version);
        let lease = store.lease(&key(1), owner(1), MINUTE).await.unwrap();
        assert!(matches!(lease, Lease::Granted { .. }));
    }
}

/// A URL of two ways to the same server, so that one can be closed.
fn by(first: &Proxy, second: &Proxy) -> String {
    let both = format!("{},{}", first.address(), second.address());
    first.url().replace(first.address(), &both)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_was_cut_off_is_looked_up() {
    let server = Server::start().await.unwrap();
    let sealed = Sealed::rows().await;
    let row = || sealed.of(Announce::EveryoneAtOnce);
    let [first, second] = [
        Proxy::start(&server.url()).await.unwrap(),
        Proxy::start(&server.url()).await.unwrap(),
    ];
    let store = PostgresStore::builder(by(&first, &second)).without_listening();
    let store = std::sync::Arc::new(store.open().await.unwrap());
    let version = saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());
    first.refuse(true);

    // It is written, and the answer does not come.
    let url = server.url();
    let holder = tokio::spawn({
        let url = url.clone();
        let hold = "begin; select 1 from tower_token.rows for update; select pg_sleep(600)";
        async move { sql(&url, hold).await }
    });
    let asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%'
        and wait_event = 'PgSleep'";
    while sql(&url, asleep).await.unwrap() != "1" {}
    let save = tokio::spawn({
        let (store, row) = (store.clone(), row());
        async move { store.save(&key(1), row, Expected::Version(version)).await }
    });
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    while sql(&url, waits).await.unwrap() != "1" {}
    first.stall(true);
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()";
    sql(&url, end).await.unwrap();
    assert!(holder.await.unwrap().is_err());
    let is_old = format!(
        "select count(*) from tower_token.rows where version = {}",
        version.0
    );
    while sql(&url, &is_old).await.unwrap() != "0" {}
    assert!(!save.is_finished());
    first.cut();
    let version = saved(save.await.unwrap().unwrap());
    assert_eq!(store.load(&key(1)).await.unwrap().unwrap().version, version);

    // It is not written: nobody can know, as it could still be on its way.
    second.refuse(true);
    first.stall(false);
    first.refuse(false);
    second.cut();
    assert_eq!(store.load(&key(1)).await.unwrap().unwrap().version, version);
    second.refuse(false);
    first.refuse(true);
    first.stall(true);
    let turns = first.turns();
    let save = tokio::spawn({
        let (store, row) = (store.clone(), row());
        async move { store.save(&key(1), row, Expected::Version(version)).await }
    });
    while first.turns() == turns {
        tokio::task::yield_now().await;
    }
    first.cut();
    let outcome = save.await.unwrap().unwrap();
    assert_eq!(outcome, SaveOutcome::Unknown);
    assert_eq!(store.load(&key(1)).await.unwrap().unwrap().version, version);

    // Nothing is sent: nothing can have been written.
    second.refuse(true);
    second.cut();
    let mut error = None;
    for _ in 0..2 {
        error = store
            .save(&key(1), row(), Expected::Version(version))
            .await
            .err();
    }
    let error = error.expect("a save without a connection");
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    shown(&error);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_one_round_trip() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(&server.url()).await.unwrap();
    let sealed = Sealed::rows().await;
    let store = PostgresStore::builder(proxy.url()).without_listening();
    let store = store.max_connections(1).open().await.unwrap();
    // The first claim also removes old leases, and the first look begins an era.
    store.claim_due(9, MINUTE).await.unwrap();
    let cursor = store.changes_since(None, 9).await.unwrap().next;
    let row = |announce| sealed.of(announce);
    let mut before = proxy.turns();
    let mut once = |what: &str| {
        let now = proxy.turns();
        assert_eq!(now - before, 1, "{what}");
        before = now;
    };
    let version = saved(
        store
            .save(&key(1), row(Announce::EveryoneAtOnce), Expected::Absent)
            .await
            .unwrap(),
    );
    once("save");
    let version = Expected::Version(version);
    let version = saved(
        store
            .save(&key(1), row(Announce::EveryoneAtOnce), version)
            .await
            .unwrap(),
    );
    once("save over");
    store.load(&key(1)).await.unwrap().unwrap();
    once("load");
    store.lease(&key(1), owner(1), MINUTE).await.unwrap();
    once("lease");
    store.lease(&key(1), owner(2), MINUTE).await.unwrap();
    once("lease that is held");
    store.release(&key(1), owner(1)).await.unwrap();
    once("release");
    assert_eq!(store.list(key(1).group()).await.unwrap().len(), 1);
    once("list");
    assert_eq!(store.scan(None, 9).await.unwrap().len(), 1);
    once("scan");
    store.claim_due(9, MINUTE).await.unwrap();
    once("claim");
    assert_eq!(
        store
            .changes_since(Some(&cursor), 9)
            .await
            .unwrap()
            .rows
            .len(),
        1
    );
    once("changes");
    assert!(store.purge(&key(1), version).await.unwrap());
    once("purge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_given_up() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(&server.url()).await.unwrap();
    let sealed = Sealed::rows().await;
    let store = PostgresStore::builder(proxy.url()).without_listening();
    let store = store.open().await.unwrap();
    saved(
        store
            .save(&key(1), sealed.of(Announce::Nobody), Expected::Absent)
            .await
            .unwrap(),
    );
    proxy.stall(true);
    let (first, second) = (key(1), key(2));
    let (load, save) = tokio::join!(
        store.load(&first),
        store.save(&second, sealed.of(Announce::Nobody), Expected::Absent),
    );
    assert_eq!(load.unwrap_err().kind(), StoreErrorKind::Unavailable);
    // Perhaps there was no connection for it yet: then nothing was sent.
    match save {
        Ok(outcome) => assert_eq!(outcome, SaveOutcome::Unknown),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
    }
    proxy.stall(false);
    timeout(MINUTE, store.load(&key(1)))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn no_password_is_shown_and_what_stays_wrong_is_not_tried_again() {
    let server = Server::start().await.unwrap();
    let builder = PostgresStore::builder(server.url()).listen(server.url());
    let text = format!("{builder:?}");
    let text = format!("{text} {:?}", builder.open().await.unwrap());
    assert!(
        !text.contains("postgres://") && !text.contains(tests::postgres::PASSWORD),
        "{text}"
    );
    let wrong = server.url().replace(tests::postgres::PASSWORD, "wr0ng");
    let nowhere = server.url().replace(&server.address(), "127.0.0.1:1");
    let lost = format!("{}_not_there", server.url());
    let again = Recovery::Retry { after: None };
    for (url, said, recovery) in [
        (wrong, "28P01", Recovery::Misconfigured),
        (nowhere, "refused", again),
        (lost, "3D000", Recovery::Misconfigured),
        (
            format!("{}?x=y", server.url()),
            "not understood",
            Recovery::Misconfigured,
        ),
    ] {
        let error = PostgresStore::connect(url).await.unwrap_err();
        let text = shown(&error);
        assert!(text.contains(said) && !text.contains("wr0ng"), "{text}");
        assert_eq!(Error::from(error).recovery(), recovery, "{text}");
    }
}
