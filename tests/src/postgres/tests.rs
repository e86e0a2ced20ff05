use std::time::Duration;

use tokio::time::timeout;

use super::{Pooler, Proxy, Server, sql};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn it_serves_and_outlives_a_crash() {
    let mut server = Server::start().await.unwrap();
    let url = server.database().await.unwrap();
    assert_ne!(url, server.database().await.unwrap());
    assert_eq!(sql(&url, "show fsync").await.unwrap(), "on");
    assert_eq!(sql(&url, "show max_connections").await.unwrap(), "200");
    sql(&url, "create table t as select 7 as n").await.unwrap();

    server.kill().await.unwrap();
    assert!(sql(&url, "select n from t").await.is_err());
    server.restart().await.unwrap();
    assert_eq!(sql(&url, "select n from t").await.unwrap(), "7");
    assert!(server.log().contains("not properly shut down"));
}

#[tokio::test]
async fn a_pooler_and_a_proxy_are_gone_by() {
    let server = Server::start().await.unwrap();
    let pooler = Pooler::start(&server.url()).await.unwrap();
    let database = server.database().await.unwrap();
    let through = pooler.through(&database);
    assert_eq!(
        sql(&through, "select current_database()").await.unwrap(),
        "db0"
    );
    assert_eq!(sql(&pooler.url(), "select 1").await.unwrap(), "1");

    let proxy = Proxy::start(&database).await.unwrap();
    assert_eq!(
        sql(&proxy.url(), "select current_database()")
            .await
            .unwrap(),
        "db0"
    );
    let before = proxy.turns();
    sql(&proxy.url(), "select 1").await.unwrap();
    let one = proxy.turns() - before;
    assert!((3..10).contains(&one), "{one}");

    proxy.refuse(true);
    assert!(sql(&proxy.url(), "select 1").await.is_err());
    proxy.refuse(false);
    proxy.stall(true);
    assert!(timeout(SHORT, sql(&proxy.url(), "select 1")).await.is_err());
    proxy.stall(false);
    let url = proxy.url();
    let long = tokio::spawn(async move { sql(&url, "select pg_sleep(60)").await });
    let asleep = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
    while sql(&database, asleep).await.unwrap() != "1" {}
    proxy.cut();
    assert!(long.await.unwrap().is_err());
    assert_eq!(sql(&proxy.url(), "select 1").await.unwrap(), "1");
}
