//! Where commits wait for a standby, nothing is taken for saved that only the primary has: it
//! would be lost with it.

use std::time::Duration;

use tests::postgres::{Server, hears_itself};
use tokio::time::timeout;
use tower_token::{Announce, ByteStore, Expected, PostgresStore, SaveOutcome};

use super::{Sealed, key, saved};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn what_no_standby_has_is_not_saved() {
    let server = Server::start().await.unwrap();
    let sealed = Sealed::rows().await;
    let row = || sealed.of(Announce::Nobody);
    let store = PostgresStore::connect(server.url()).await.unwrap();
    hears_itself(&server.url()).await.unwrap();
    let old = saved(store.save(&key(1), row(), Expected::Absent).await.unwrap());

    server.await_standby().await.unwrap();
    let outcome = store.save(&key(1), row(), Expected::Version(old)).await;
    assert_eq!(outcome.unwrap(), SaveOutcome::Unknown);
    let found = async || store.load(&key(1)).await.unwrap().unwrap().version;
    assert_eq!(found().await, old);
    // It is still to be done, and not to be done again.
    server.await_nobody().await.unwrap();
    let is_saved = async { while found().await == old {} };
    timeout(MINUTE, is_saved).await.unwrap();
}
