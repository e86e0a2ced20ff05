//! All promises of a back end, by a server and by a pooler that shares its connections.

use std::sync::atomic::{AtomicU32, Ordering};

use tests::postgres::{Pooler, Server};
use tower_token::PostgresStore;
use tower_token::store::contract::Suite;

#[tokio::test(flavor = "multi_thread")]
async fn by_its_server() {
    let server = Server::start().await.unwrap();
    keeps_all_promises(&server.url(), &server.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_pooler_of_transactions() {
    let server = Server::start().await.unwrap();
    let pooler = Pooler::start(&server.url()).await.unwrap();
    keeps_all_promises(&pooler.url(), &server.url()).await;
}

async fn keeps_all_promises(url: &str, listen: &str) {
    let places = AtomicU32::new(0);
    let place = move || format!("place_{}", places.fetch_add(1, Ordering::Relaxed));
    let (url, listen) = (url.to_owned(), listen.to_owned());
    let open = move |place| {
        let store = PostgresStore::builder(url.clone());
        store.schema(place).listen(listen.clone()).open()
    };
    let report = Suite::durable(place, open).with_changes().run().await;
    report.assert_kept();
    let said = report.to_string();
    assert!(said.ends_with("30 kept, 0 broken, 1 not claimed"), "{said}");
}
