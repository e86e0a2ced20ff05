//! The store in PostgreSQL, before a real server.

mod a_standby_is_waited_for;
mod a_standby_takes_over;
mod certificates_are_checked;
mod changes_outlive_long_transactions;
mod connections_may_break;
mod every_statement_has_an_index;
mod it_keeps_the_contract;
mod looks_wait_for_no_work;
mod news_wake_those_who_wait;
mod nothing_is_left_behind;
mod servers_that_forget_are_refused;
mod tables_are_made_once;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tests::delegate;
use tests::fake::Fake;
use tests::postgres::{PASSWORD, Server, sql, until};
use tokio::task::JoinHandle;
use tower_token::{
    Announce, ByteStore, Expected, GrantKey, KeyRing, LeaseOwner, MemoryStore, PostgresStore,
    Provider, RowKey, SaveOutcome, SealedRow, SealedStore, StoreError, TokenManager, TokenResponse,
    Version,
};

use crate::support::{API, HOUR};

const ASLEEP: &str = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
const WAITING: &str = "select count(*) from pg_stat_activity
    where state = 'active' and wait_event_type = 'Lock'";

fn key(id: u8) -> RowKey {
    RowKey::from_bytes(&[id; RowKey::LEN]).unwrap()
}

fn owner(id: u8) -> LeaseOwner {
    LeaseOwner::from_bytes([id; 16])
}

async fn open(server: &Server) -> PostgresStore {
    PostgresStore::connect(server.url()).await.unwrap()
}

/// One row for each way to announce it: only the crate can make them.
struct Sealed(Vec<SealedRow>);

impl Sealed {
    async fn rows() -> Self {
        let kept = Keeping::default();
        let sealed = SealedStore::open(kept.clone(), KeyRing::generate().unwrap());
        let manager = TokenManager::builder()
            .store(sealed.await.unwrap())
            .provider(Provider::new("fake", Fake::new(HOUR)).allow_origin(API))
            .build()
            .await
            .unwrap();
        let ada = GrantKey::new("fake", "ada");
        let tokens = TokenResponse::new("access").refresh_token("refresh");
        manager
            .connect(&ada, tokens.expires_in(HOUR))
            .await
            .unwrap();
        manager.disconnect(&ada).await.unwrap();
        manager.shutdown(Duration::from_secs(5)).await.unwrap();
        let rows = kept.saved.lock().clone();
        Self(rows)
    }

    fn of(&self, announce: Announce) -> SealedRow {
        let mut rows = self.0.iter();
        rows.find(|row| row.announce() == announce).unwrap().clone()
    }
}

/// Keeps what is saved as it was given.
#[derive(Debug, Clone, Default)]
struct Keeping {
    rows: MemoryStore,
    saved: Arc<Mutex<Vec<SealedRow>>>,
}

impl ByteStore for Keeping {
    delegate!(self => self.rows; load lease release list scan claim_due purge durability close);

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.saved.lock().push(row.clone());
        self.rows.save(key, row, expected).await
    }
}

fn saved(outcome: SaveOutcome) -> Version {
    match outcome {
        SaveOutcome::Saved(version) => version,
        outcome => panic!("{outcome:?}"),
    }
}

/// Does so much, and stays in its transaction.
async fn hold(url: &str, lock: &str) -> JoinHandle<()> {
    let (statements, holder) = (
        format!("begin; {lock}; select pg_sleep(600)"),
        url.to_owned(),
    );
    let holding = tokio::spawn(async move {
        sql(&holder, &statements).await.unwrap();
    });
    until(url, ASLEEP, 1).await.unwrap();
    holding
}

/// What is shown of an error, its causes included.
fn shown(error: &StoreError) -> String {
    let mut text = format!("{error:?}");
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        text.push_str(&format!(" / {error}"));
        next = error.source();
    }
    assert!(!text.contains(PASSWORD), "{text}");
    text
}
