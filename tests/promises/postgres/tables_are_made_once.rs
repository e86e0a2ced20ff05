//! Tables are made by whoever comes first, or by hand, and are the same.

use tests::postgres::{Server, sql};
use tower_token::store::contract::Suite;
use tower_token::{PostgresStore, StoreErrorKind};

/// Everything about the tables that a statement could meet.
const TABLES: &str = "
    select 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attstorage::text, pg_get_expr(d.adbin, d.adrelid)
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'tower_token'::regnamespace
    union all select 'table', relname, relkind::text, relpersistence::text, null,
        reloptions::text, null
    from pg_class where relnamespace = 'tower_token'::regnamespace
    union all select 'index', indexname, indexdef, null, null, null, null
    from pg_indexes where schemaname = 'tower_token'
    union all select 'constraint', conname, pg_get_constraintdef(oid), null, null, null, null
    from pg_constraint where connamespace = 'tower_token'::regnamespace
    order by 1, 2, 3";

async fn by_hand(url: &str) {
    for migration in PostgresStore::migrations("tower_token") {
        sql(url, &format!("BEGIN;\n{migration}COMMIT;"))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_eight_at_once_and_by_hand_they_are_the_same() {
    let server = Server::start().await.unwrap();
    let [opened, printed] = [
        server.database().await.unwrap(),
        server.database().await.unwrap(),
    ];
    let many: Vec<_> = (0..8)
        .map(|_| tokio::spawn(PostgresStore::connect(opened.clone())))
        .collect();
    for one in many {
        one.await.unwrap().unwrap();
    }
    // Once more, with nothing to do.
    PostgresStore::connect(opened.clone()).await.unwrap();
    let count = "select count(*) from tower_token.migrations";
    let expected = PostgresStore::migrations("tower_token").count().to_string();
    assert_eq!(sql(&opened, count).await.unwrap(), expected);

    let error = PostgresStore::builder(printed.clone()).without_migrations();
    let error = error.open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("migrations"), "{error}");
    by_hand(&printed).await;
    let tables = sql(&printed, TABLES).await.unwrap();
    assert!(tables.lines().count() > 25, "{tables}");
    assert_eq!(tables, sql(&opened, TABLES).await.unwrap());
    let store = PostgresStore::builder(printed).without_migrations();
    store.open().await.unwrap();
}

#[tokio::test]
async fn newer_tables_are_left_alone() {
    let server = Server::start().await.unwrap();
    let url = server.database().await.unwrap();
    PostgresStore::connect(url.clone()).await.unwrap();
    let newer = "insert into tower_token.migrations (number, name) values (900, 'of later')";
    sql(&url, newer).await.unwrap();
    for store in [
        PostgresStore::builder(url.clone()),
        PostgresStore::builder(url).without_migrations(),
    ] {
        let error = store.open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}

#[tokio::test]
async fn a_role_needs_no_more_than_is_said() {
    let server = Server::start().await.unwrap();
    let url = server.database().await.unwrap();
    by_hand(&url).await;
    for statement in [
        "create role app login password 'of-app'",
        "grant usage on schema tower_token to app",
        "grant select, insert, update, delete on all tables in schema tower_token to app",
    ] {
        sql(&url, statement).await.unwrap();
    }
    let (_, address) = url.split_once('@').unwrap();
    let store = PostgresStore::connect(format!("postgres://app:of-app@{address}"));
    let store = store.await.unwrap();
    tower_token::testkit::contract_suite(store).await.unwrap();

    // Nor does it need to make the schema, if it is given one.
    let url = server.database().await.unwrap();
    let revoke = "revoke create on database db1 from public";
    sql(&url, revoke).await.unwrap();
    let (_, address) = url.split_once('@').unwrap();
    let open = || PostgresStore::connect(format!("postgres://app:of-app@{address}"));
    let error = open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    let given = "create schema tower_token authorization app";
    sql(&url, given).await.unwrap();
    open().await.unwrap();
}

#[tokio::test]
async fn no_name_is_one_that_would_have_to_be_quoted() {
    assert_eq!(PostgresStore::migrations("a\"; drop").count(), 0);
    let store = PostgresStore::builder("postgres://u@127.0.0.1:1/d").schema("a b");
    let error = store.open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(error.to_string().contains("schema"), "{error}");
}

/// As the chapter on large tables says.
#[tokio::test(flavor = "multi_thread")]
async fn rows_may_be_partitioned() {
    let server = Server::start().await.unwrap();
    let url = server.database().await.unwrap();
    let migration = PostgresStore::migrations("tower_token").next().unwrap();
    let migration = migration.to_string();
    let (before, after) = migration.split_once(") WITH (fillfactor = 80);").unwrap();
    let partitioned = format!(
        "{before}) PARTITION BY HASH (key); {after}
        create table tower_token.rows_0 partition of tower_token.rows
            for values with (modulus 2, remainder 0);
        create table tower_token.rows_1 partition of tower_token.rows
            for values with (modulus 2, remainder 1);"
    );
    sql(&url, &partitioned).await.unwrap();
    let open = move || {
        let store = PostgresStore::builder(url.clone());
        store.without_migrations().without_listening().open()
    };
    Suite::new(open).with_changes().run().await.assert_kept();
}
