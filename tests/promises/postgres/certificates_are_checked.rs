//! What leaves the machine is encrypted, and to nobody else.

use rcgen::CertifiedKey;
use tests::postgres::{Server, sql};
use tower_token::{ByteStore, PostgresStore, StoreErrorKind};

use super::{key, shown};

/// Writes a file into the server's folder as its own, readable by nobody else.
async fn write(url: &str, name: &str, pem: &str) {
    let lines = pem.lines().map(|line| format!("('{line}')"));
    let lines = lines.collect::<Vec<_>>().join(", ");
    let copy = format!(
        "copy (select line from (values {lines}) as pem(line))
        to program 'umask 077; cat > {name}'"
    );
    sql(url, &copy).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_has_to_be_trusted_and_of_the_host() {
    let server = Server::start().await.unwrap();
    let url = server.url();
    let plain = format!("{url}?sslmode=require");
    let error = PostgresStore::builder(plain.clone()).tls_roots_pem(of("127.0.0.1").0);
    let error = error.open().await.unwrap_err();
    assert!(shown(&error).contains("TLS"), "{}", shown(&error));

    let (certificate, secret) = of("127.0.0.1");
    write(&url, "server.crt", &certificate).await;
    write(&url, "server.key", &secret).await;
    sql(&url, "alter system set ssl = on").await.unwrap();
    sql(&url, "select pg_reload_conf()").await.unwrap();
    while sql(&url, "show ssl").await.unwrap() != "on" {}

    for mode in ["require", "verify-full"] {
        let store = PostgresStore::builder(format!("{url}?sslmode={mode}"));
        let store = store
            .tls_roots_pem(certificate.clone())
            .open()
            .await
            .unwrap();
        store.load(&key(1)).await.unwrap();
        let encrypted = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid)
            where ssl and application_name = 'tower-token'";
        assert_ne!(sql(&url, encrypted).await.unwrap(), "0");
        store.close().await;
    }
    let elsewhere = plain.replace("127.0.0.1", "localhost");
    for (what, store, kind) in [
        (
            "of nobody",
            PostgresStore::builder(plain.clone()),
            StoreErrorKind::Unavailable,
        ),
        (
            "of another",
            PostgresStore::builder(plain.clone()).tls_roots_pem(of("127.0.0.1").0),
            StoreErrorKind::Unavailable,
        ),
        (
            "another host",
            PostgresStore::builder(elsewhere).tls_roots_pem(certificate),
            StoreErrorKind::Unavailable,
        ),
        (
            "no certificate",
            PostgresStore::builder(plain).tls_roots_pem(*b"none"),
            StoreErrorKind::Misconfigured,
        ),
    ] {
        let error = store.open().await.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}");
        let text = shown(&error);
        assert!(text.contains("certificate"), "{what}: {text}");
    }
}

fn of(host: &str) -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}
