//! How a store is opened.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::PostgresStore;
use super::address::Address;
use super::connect::Connections;
use super::error::at_open;
use super::listen::Listener;
use super::schema::Schema;
use super::sql::Statements;
use super::tls::{Roots, connector};
use super::waiting::Waiting;
use super::{migrate, server};
use crate::clock::SystemClock;
use crate::store::contract::StoreError;
use crate::store::gate::Gate;

/// How a [`PostgresStore`] is opened.
///
/// ```no_run
/// # async fn f() -> Result<(), tower_token::StoreError> {
/// use tower_token::PostgresStore;
///
/// let store = PostgresStore::builder("postgres://app:secret@pooler.example.com:6432/app")
///     .listen("postgres://app:secret@db.example.com/app")
///     .max_connections(32)
///     .open()
///     .await?;
/// # let _ = store;
/// # Ok(()) }
/// ```
pub struct PostgresStoreBuilder {
    url: String,
    listen: Listen,
    schema: String,
    max_connections: usize,
    migrates: bool,
    roots: Roots,
}

/// Where notifications come from.
enum Listen {
    Here,
    At(String),
    Nowhere,
}

impl PostgresStoreBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            listen: Listen::Here,
            schema: "tower_token".to_owned(),
            max_connections: 16,
            migrates: true,
            roots: Roots::System,
        }
    }

    /// Listens for notifications at another address of the same database: past a pooler, which
    /// mostly has no way to pass them on.
    #[must_use]
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen = Listen::At(url.into());
        self
    }

    /// Takes no connection to listen: what others did is found by looking, half a second later
    /// at most.
    #[must_use]
    pub fn without_listening(mut self) -> Self {
        self.listen = Listen::Nowhere;
        self
    }

    /// Where the tables are: `tower_token` by default. Stores in several schemas of a database
    /// know nothing of each other.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// How many connections there are at most, beside the one that listens and the one that looks
    /// for what others did: 16 by default. They are made when they are needed.
    #[must_use]
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// Changes no tables: [`open`](Self::open) fails where they are not as they have to be. For
    /// those who apply [migrations](PostgresStore::migrations) themselves.
    #[must_use]
    pub fn without_migrations(mut self) -> Self {
        self.migrates = false;
        self
    }

    /// Trusts the certificates in `pem`, and no others: for a database with an authority of its
    /// own.
    #[must_use]
    pub fn tls_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Roots::Pem(pem.into());
        self
    }

    /// Opens the store: looks whether the server keeps what it acknowledges, and brings the
    /// tables up to date.
    ///
    /// What would fail again is [`StoreErrorKind::Misconfigured`](crate::StoreErrorKind): an
    /// address that is not understood, a password that is wrong, a server that loses data.
    /// Anything else may be tried once more, as while the server is not up yet.
    pub async fn open(self) -> Result<PostgresStore, StoreError> {
        let schema = Schema::new(&self.schema)?;
        let address = Address::parse(&self.url)?;
        let tls = connector(address.needs_tls, &self.roots)?;
        let listen = match &self.listen {
            Listen::Here => Some((address.clone(), tls.clone())),
            Listen::At(url) => {
                let address = Address::parse(url)?;
                let tls = connector(address.needs_tls, &self.roots)?;
                Some((address, tls))
            }
            Listen::Nowhere => None,
        };
        let connections = Connections::new(&address, tls, self.max_connections)?;
        let looks = connections.one_beside(&address)?;
        server::check(&connections).await.map_err(at_open)?;
        let migrated = migrate::migrate(&connections, &schema, self.migrates).await;
        migrated.map_err(at_open)?;
        let (sql, waiting) = (Statements::of(&schema), Arc::new(Waiting::new()));
        let listener = match listen {
            Some((address, tls)) => {
                let address = (address, matches!(self.listen, Listen::Here));
                Listener::start(address, tls, &connections, &sql, &waiting)
            }
            None => Listener::none(),
        };
        Ok(PostgresStore {
            connections,
            looks,
            sql,
            waiting,
            listener,
            gate: Gate::default(),
            clock: SystemClock::new(),
            cleaned: AtomicU64::new(0),
        })
    }
}

impl fmt::Debug for PostgresStoreBuilder {
    /// Without the addresses, which have passwords in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStoreBuilder")
            .field("schema", &self.schema)
            .field("max_connections", &self.max_connections)
            .field("migrates", &self.migrates)
            .finish_non_exhaustive()
    }
}
