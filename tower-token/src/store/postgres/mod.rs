//! The store for many instances: PostgreSQL.

mod address;
mod builder;
mod connect;
mod cursor;
mod error;
mod listen;
mod migrate;
mod rows;
mod schema;
mod server;
mod sql;
mod tls;
mod waiting;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_postgres::types::Type;

pub use self::builder::PostgresStoreBuilder;
pub use self::migrate::PostgresMigration;

use self::connect::{Connections, Param};
use self::cursor::Place;
use self::error::{Failed, damaged};
use self::listen::Listener;
use self::rows::{millis, one_lease, place_of, read_rows, written};
use self::schema::Schema;
use self::sql::Statements;
use self::waiting::Waiting;
use super::contract::{
    Announce, ByteStore, Changes, Cursor, Durability, Expected, Group, Lease, LeaseOwner, Row,
    RowKey, SaveOutcome, SealedRow, SharedStore, StoreError, Version,
};
use super::gate::{Gate, Pass};
use super::version::unused;
use crate::clock::{Clock as _, SystemClock};

#[doc = include_str!("postgres.md")]
pub struct PostgresStore {
    connections: Connections,
    /// What others did is not heard later because the work waits for something.
    looks: Connections,
    sql: Statements,
    waiting: Arc<Waiting>,
    /// Ends with the store.
    listener: Listener,
    gate: Gate,
    clock: SystemClock,
    /// When leases that nobody gave up were removed last, in milliseconds.
    cleaned: AtomicU64,
}

/// How often, how old, and how many at once.
const CLEANED_EVERY: Duration = Duration::from_secs(60);
const OVER_FOR: Duration = Duration::from_secs(3_600);
const CLEANED_AT_ONCE: i64 = 1_000;

impl PostgresStore {
    /// Opens the store in the schema `tower_token` of the database at `url`, as
    /// [`builder`](Self::builder) does.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_token::{KeyRing, PostgresStore, SealedStore};
    ///
    /// let store = PostgresStore::connect("postgres://app:secret@db.example.com/app").await?;
    /// let keys = KeyRing::from_env("TOWER_TOKEN_KEYS")?;
    /// let store = SealedStore::open_shared(store, keys).await?;
    /// # let _ = store;
    /// # Ok(()) }
    /// ```
    pub async fn connect(url: impl Into<String>) -> Result<Self, StoreError> {
        Self::builder(url).open().await
    }

    /// A store that is opened otherwise than by default. `url` is
    /// `postgres://user:password@host:5432/database`, or pairs as in `host=.. user=..`.
    pub fn builder(url: impl Into<String>) -> PostgresStoreBuilder {
        PostgresStoreBuilder::new(url.into())
    }

    /// What [`open`](PostgresStoreBuilder::open) applies to the database where it is missing, for
    /// those who apply it themselves. None for what cannot be the name of a schema.
    pub fn migrations(schema: &str) -> impl Iterator<Item = PostgresMigration> + use<> {
        let schema = Schema::new(schema).ok();
        let all = schema.map(|schema| migrate::all(&schema));
        all.unwrap_or_default().into_iter()
    }

    async fn pass(&self) -> Result<Pass, StoreError> {
        self.gate.pass().await
    }

    /// What stands in the row after a save of which nobody knows.
    async fn settle(&self, key: &RowKey, version: u64) -> SaveOutcome {
        let found = self
            .read(&self.sql.load, &[bytes(&key.as_bytes().as_slice())])
            .await;
        match found.as_deref() {
            Ok([(_, row)]) if row.version == Version(version) => SaveOutcome::Saved(row.version),
            _ => SaveOutcome::Unknown,
        }
    }

    async fn read(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        read_rows(&self.connections.ask(sql, params).await?)
    }

    /// Where changes begin now.
    async fn place(&self) -> Result<Place, StoreError> {
        for _ in 0..2 {
            let rows = self.looks.ask(&self.sql.place, &[]).await?;
            if let Some(place) = place_of(&rows, 2)? {
                return Ok(place);
            }
            self.begin_era().await?;
        }
        Err(damaged("PostgreSQL does not keep what it is told"))
    }

    /// The server had crashed, or nobody has asked for changes yet.
    async fn begin_era(&self) -> Result<(), StoreError> {
        let era = signed(unused()?);
        self.looks.tell(&self.sql.new_era, &[number(&era)]).await?;
        Ok(())
    }

    /// Removes leases of those who died with them, now and then.
    async fn clean(&self) {
        let now = self.clock.now().as_unix_millis();
        let before = self.cleaned.load(Ordering::Relaxed);
        if now.saturating_sub(before) < millis(CLEANED_EVERY).unsigned_abs() {
            return;
        }
        let order = Ordering::Relaxed;
        if self
            .cleaned
            .compare_exchange(before, now, order, order)
            .is_ok()
        {
            let over_for = millis(OVER_FOR);
            let params = [number(&over_for), number(&CLEANED_AT_ONCE)];
            // They are in nobody's way, and looked for again.
            let _ = self.connections.tell(&self.sql.drop_leases, &params).await;
        }
    }
}

impl ByteStore for PostgresStore {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let _pass = self.pass().await?;
        let rows = self
            .read(&self.sql.load, &[bytes(&key.as_bytes().as_slice())])
            .await?;
        Ok(rows.into_iter().next().map(|(_, row)| row))
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        let _pass = self.pass().await?;
        let before = match expected {
            Expected::Absent => None,
            Expected::Version(version) => match i64::try_from(version.0) {
                Ok(version) => Some(version),
                // None of ours.
                Err(_) => return Ok(SaveOutcome::Conflict),
            },
        };
        let version = unused()?;
        let (new, due) = (signed(version), row.due().map(rows::signed_time));
        let (key_bytes, sealed) = (key.as_bytes().as_slice(), row.bytes().as_ref());
        let announced = row.announce() > Announce::Nobody;
        let mut params = vec![
            bytes(&key_bytes),
            number(&new),
            (&due as _, Type::INT8),
            bytes(&sealed),
            (&announced as _, Type::BOOL),
        ];
        params.extend(before.as_ref().map(number));
        let sql = match (before, row.announce()) {
            (None, Announce::EveryoneAtOnce) => &self.sql.insert_and_tell,
            (None, _) => &self.sql.insert,
            (Some(_), Announce::EveryoneAtOnce) => &self.sql.update_and_tell,
            (Some(_), _) => &self.sql.update,
        };
        match self.connections.save(sql, &params).await {
            Ok(rows) if rows.is_empty() => Ok(SaveOutcome::Conflict),
            Ok(_) => Ok(SaveOutcome::Saved(Version(version))),
            Err(Failed::Refused(error)) => Err(error),
            Err(Failed::Lost(_)) => Ok(self.settle(key, version).await),
        }
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        let _pass = self.pass().await?;
        let (key, id, ttl) = (
            key.as_bytes().as_slice(),
            owner.as_bytes().as_slice(),
            millis(ttl),
        );
        let params = [bytes(&key), bytes(&id), number(&ttl)];
        one_lease(
            &self.connections.tell(&self.sql.lease, &params).await?,
            owner,
        )
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        // Of a closed store it runs out.
        let Ok(_pass) = self.pass().await else {
            return Ok(());
        };
        let (key, owner) = (key.as_bytes().as_slice(), owner.as_bytes().as_slice());
        let params = [bytes(&key), bytes(&owner)];
        self.connections.tell(&self.sql.release, &params).await?;
        Ok(())
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.pass().await?;
        let [first, last] = [0, u8::MAX].map(|rest| RowKey::new(group, [rest; 32]));
        let (first, last) = (first.as_bytes().as_slice(), last.as_bytes().as_slice());
        self.read(&self.sql.list, &[bytes(&first), bytes(&last)])
            .await
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.pass().await?;
        let after = after.map_or(&[][..], |key| key.as_bytes());
        let limit = rows::count(limit);
        self.read(&self.sql.scan, &[bytes(&after), number(&limit)])
            .await
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let _pass = self.pass().await?;
        let (limit, ttl) = (rows::count(limit), millis(ttl));
        let params = [number(&limit), number(&ttl)];
        // Before: what is claimed is waited for by nobody else.
        self.clean().await;
        written(&self.connections.tell(&self.sql.claim_due, &params).await?)
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        let _pass = self.pass().await?;
        let Ok(version) = i64::try_from(version.0) else {
            return Ok(false);
        };
        let key = key.as_bytes().as_slice();
        let params = [bytes(&key), number(&version)];
        let removed = self.connections.tell(&self.sql.purge, &params).await?;
        Ok(!removed.is_empty())
    }

    async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let _pass = self.pass().await?;
        let Some(cursor) = cursor else {
            return Ok(Changes::new(Vec::new(), self.place().await?.cursor()));
        };
        let Some(old) = Place::parse(cursor) else {
            return Ok(Changes::missed(self.place().await?.cursor()));
        };
        let more = rows::count(limit.saturating_add(1));
        let params = [
            number(&old.started),
            number(&old.era),
            (&old.seen as _, Type::TEXT),
            number(&more),
        ];
        let rows = self.looks.ask(&self.sql.changes, &params).await?;
        let Some(now) = place_of(&rows, 5)? else {
            return Ok(Changes::missed(self.place().await?.cursor()));
        };
        let told = read_rows(&rows)?;
        match old.is_before(&now) && told.len() <= limit {
            true => Ok(Changes::new(told, now.cursor())),
            false => Ok(Changes::missed(now.cursor())),
        }
    }

    fn announced(&self) -> impl Future<Output = ()> + Send {
        self.waiting.announced()
    }

    fn released(&self, key: &RowKey) -> impl Future<Output = ()> + Send {
        self.waiting.released(key)
    }

    fn durability(&self) -> Durability {
        Durability::Disk
    }

    async fn close(&self) {
        // Waits for what is going on, each of which ends in time.
        self.gate.close().await;
        self.listener.stop();
        self.connections.close();
        self.looks.close();
    }
}

impl SharedStore for PostgresStore {}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

fn bytes<'a>(value: &'a &[u8]) -> Param<'a> {
    (value, Type::BYTEA)
}

fn number(value: &i64) -> Param<'_> {
    (value, Type::INT8)
}

/// A version fits: it has 63 bits.
fn signed(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
