//! Connections: a pool of them, and statements that each take one round trip.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::error::{Failed, closed, late, no_connection, plain, unavailable};
use crate::rt::{Handle, Semaphore, timeout};
use crate::store::contract::StoreError;

/// For a connection to be had, new or used.
pub(super) const CONNECTION: Duration = Duration::from_secs(5);
/// For a statement to be answered.
const STATEMENT: Duration = Duration::from_secs(10);
/// For tables to be changed, and for others who do so.
const BATCH: Duration = Duration::from_secs(300);
/// How many statements that nobody waits for are ended at once.
const ENDED_AT_ONCE: usize = 4;

/// A value and its type: with it a statement needs no round trip to be prepared, and leaves
/// nothing on the server that a pooler would have to know.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool,
    ends: Arc<Ends>,
}

impl Connections {
    pub(super) fn new(
        address: &Address,
        tls: MakeRustlsConnect,
        max: usize,
    ) -> Result<Self, StoreError> {
        let pool = pool(address, tls.clone(), max.max(1))?;
        let ends = Arc::new(Ends {
            tls,
            is_direct: AtomicBool::new(false),
            at_once: Semaphore::new(ENDED_AT_ONCE),
            saves: Arc::new(Semaphore::new(max.max(1))),
        });
        Ok(Self { pool, ends })
    }

    /// One more to the same server, for what is not to wait until one of these is free.
    pub(super) fn one_beside(&self, address: &Address) -> Result<Self, StoreError> {
        Ok(Self {
            pool: pool(address, self.ends.tls.clone(), 1)?,
            ends: Arc::clone(&self.ends),
        })
    }

    /// A statement that may as well be asked twice: once more, on a new connection, if the one
    /// it was asked on had broken.
    pub(super) async fn ask(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let twice = async {
            match self.tell(sql, params).await {
                Err(Failed::Lost(_)) => {}
                answer => return answer,
            }
            // What broke one has mostly broken all.
            self.pool.retain(|_, _| false);
            self.tell(sql, params).await
        };
        let answer = timeout(STATEMENT, twice).await.map_err(|_| late())?;
        Ok(answer?)
    }

    /// A statement that is sent once.
    pub(super) async fn tell(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failed> {
        let mut lent = self.lend().await.map_err(Failed::Refused)?;
        lent.tell(sql, params).await
    }

    /// A save, which is sent once, and never ended: one that waits for a standby is done already,
    /// and its end would show what the standby does not have.
    pub(super) async fn save(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Failed> {
        if self.ends.saves.available_permits() == 0 {
            return Err(Failed::Refused(plain(
                "saves before this one are still under way: see what PostgreSQL waits for, as for \
                 a synchronous standby that is gone",
            )));
        }
        let mut lent = self.lend().await.map_err(Failed::Refused)?;
        lent.is_save = true;
        lent.tell(sql, params).await
    }

    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        match timeout(CONNECTION, self.pool.get()).await {
            Ok(Ok(connection)) => Ok(Lent {
                connection: Some(connection),
                ends: Arc::clone(&self.ends),
                is_busy: false,
                is_save: false,
                is_spoilt: false,
            }),
            Ok(Err(error)) => Err(no_connection(error)),
            Err(_) => Err(late()),
        }
    }

    /// What was sent came back at the same address: there is no pooler of transactions.
    pub(super) fn are_direct(&self) {
        self.ends.is_direct.store(true, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

fn pool(address: &Address, tls: MakeRustlsConnect, max: usize) -> Result<Pool, StoreError> {
    let config = ManagerConfig {
        // Whether it is closed is looked at, and nothing is asked.
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(address.config.clone(), tls, config);
    let pool = Pool::builder(manager)
        .max_size(max)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECTION))
        .create_timeout(Some(CONNECTION))
        .build();
    pool.map_err(|_| plain("there can be no pool of connections"))
}

/// A connection out of the pool. It goes back if what was asked on it was answered: one that was
/// left in the middle would keep the next waiting.
pub(super) struct Lent {
    connection: Option<Object>,
    ends: Arc<Ends>,
    is_busy: bool,
    is_save: bool,
    is_spoilt: bool,
}

impl Lent {
    pub(super) async fn tell(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Failed> {
        let Some(connection) = &self.connection else {
            return Err(Failed::Refused(closed()));
        };
        self.is_busy = true;
        let answer = timeout(STATEMENT, connection.query_typed(sql, params)).await;
        let answer = match answer {
            Ok(answer) => answer.map_err(|error| Failed::of(&error)),
            Err(_) => Err(Failed::late()),
        };
        self.is_busy = matches!(answer, Err(Failed::Lost(_)));
        answer
    }

    /// Several statements at once, without values. They may begin a transaction, so that the
    /// connection does not go back.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        let connection = self.connection.as_ref().ok_or_else(closed)?;
        (self.is_busy, self.is_spoilt) = (true, true);
        let answer = timeout(BATCH, connection.batch_execute(sql)).await;
        self.is_busy = answer.is_err();
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(unavailable(&error)),
            Err(_) => Err(late()),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.is_busy && self.is_save {
            self.ends.leave(Object::take(connection));
        } else if self.is_busy {
            Arc::clone(&self.ends).end(Object::take(connection));
        } else if self.is_spoilt {
            drop(Object::take(connection));
        }
    }
}

/// Ends statements that nobody waits for any more. A server that waits for a lock does not see
/// that its client is gone, and each call would leave one more behind.
struct Ends {
    tls: MakeRustlsConnect,
    /// Nothing is ended through a pooler: not each of them stands it.
    is_direct: AtomicBool,
    at_once: Semaphore,
    /// For saves that are left, so that there are not ever more of them.
    saves: Arc<Semaphore>,
}

impl Ends {
    fn leave(&self, connection: ClientWrapper) {
        let place = Arc::clone(&self.saves).try_acquire_owned();
        let (Ok(place), Ok(runtime)) = (place, Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            // Its turn comes after the save, whenever that is: the connection and what works for
            // it in the server are there until then. One that is dead is ended by keepalives.
            let _ = connection.batch_execute("").await;
            drop(place);
        });
    }

    fn end(self: Arc<Self>, connection: ClientWrapper) {
        if !self.is_direct.load(Ordering::Relaxed) {
            return;
        }
        // Without a runtime nothing can be sent.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(timeout(CONNECTION, async move {
            let Ok(_turn) = self.at_once.acquire().await else {
                return;
            };
            let token = connection.cancel_token();
            let _ = token.cancel_query(self.tls.clone()).await;
            drop(connection);
        }));
    }
}
