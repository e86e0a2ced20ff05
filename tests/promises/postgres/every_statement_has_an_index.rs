//! No statement looks at all rows, however many there are.

use std::time::Duration;

use tests::postgres::{Server, sql};
use tower_token::{Announce, ByteStore, Expected, PostgresStore};

use super::{Sealed, key, open, owner, saved};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn each_of_them() {
    let server = Server::start().await.unwrap();
    let url = server.url();
    open(&server).await.close().await;
    for statement in [
        "insert into tower_token.rows
        select sha256(n::text::bytea) || substr(sha256((n || 'x')::bytea), 1, 16), n, n, null,
            case when n % 2 = 0 then pg_current_xact_id() end, sha512(n::text::bytea)
        from generate_series(1, 100000) as n",
        "insert into tower_token.leases
        select sha256(n::text::bytea) || substr(sha256((n || 'x')::bytea), 1, 16), '', n::bigint * 1000000
        from generate_series(1, 100000) as n",
        "analyze",
        "alter database postgres set session_preload_libraries = 'auto_explain'",
        "alter database postgres set auto_explain.log_min_duration = 0",
        "alter database postgres set auto_explain.log_analyze = on",
    ] {
        sql(&url, statement).await.unwrap();
    }
    let sealed = Sealed::rows().await;
    let row = || sealed.of(Announce::EveryoneAtOnce);
    let store = PostgresStore::builder(url)
        .without_listening()
        .open()
        .await
        .unwrap();
    let cursor = store.changes_since(None, 9).await.unwrap().next;
    let version = saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());
    let version = saved(
        store
            .save(&key(1), row(), Expected::Version(version))
            .await
            .unwrap(),
    );
    store.load(&key(1)).await.unwrap().unwrap();
    assert_eq!(store.list(key(1).group()).await.unwrap().len(), 1);
    let page = store.scan(None, 9).await.unwrap();
    assert_eq!(page.len(), 9);
    assert_eq!(store.scan(Some(&page[8].0), 9).await.unwrap().len(), 9);
    assert_eq!(store.claim_due(9, MINUTE).await.unwrap().len(), 9);
    store.lease(&key(1), owner(1), MINUTE).await.unwrap();
    store.release(&key(1), owner(1)).await.unwrap();
    store.lease(&key(1), owner(1), MINUTE).await.unwrap();
    store.lease(&key(1), owner(2), MINUTE).await.unwrap();
    store.release(&key(1), owner(1)).await.unwrap();
    let changes = store.changes_since(Some(&cursor), 9).await.unwrap();
    assert!(!changes.missed && changes.rows.len() == 1);
    assert!(store.purge(&key(1), version).await.unwrap());
    store.close().await;

    let log = server.log();
    let plans: Vec<&str> = log.split("LOG:  duration:").skip(1).collect();
    let ours: Vec<_> = plans
        .iter()
        .filter(|plan| plan.contains("tower_token"))
        .collect();
    for (index, what) in [
        ("rows_pkey", "FROM \"tower_token\".rows WHERE key = $1"),
        ("rows_pkey", "WHERE key BETWEEN $1 AND $2"),
        ("rows_pkey", "WHERE key > $1 ORDER BY key LIMIT $2"),
        ("rows_pkey", "WHERE key = $1 AND version = $6"),
        ("rows_pkey", "DELETE FROM \"tower_token\".rows"),
        ("rows_due", "FOR UPDATE SKIP LOCKED"),
        ("rows_announced", "pg_snapshot_xip"),
        (
            "leases_pkey",
            "DELETE FROM \"tower_token\".leases WHERE key = $1",
        ),
        (
            "leases_until",
            "DELETE FROM \"tower_token\".leases WHERE key IN",
        ),
    ] {
        let plan = ours
            .iter()
            .find(|plan| plan.contains(what) && plan.contains(index));
        assert!(plan.is_some(), "{what}: {log}");
    }
    // Only the release that somebody waited for is told of.
    let told = ours
        .iter()
        .filter(|plan| plan.contains("FROM gone WHERE awaited"));
    let told: Vec<_> = told
        .map(|plan| {
            let line = plan.lines().find(|line| line.contains("CTE Scan on gone"));
            line.and_then(|line| line.split(" rows=").nth(2)?.chars().next())
        })
        .collect();
    assert_eq!(told, [Some('0'), Some('1')]);
    for plan in ours {
        for table in ["rows", "leases"] {
            assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
        }
    }
}
