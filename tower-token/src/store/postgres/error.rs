//! What went wrong, without what was asked: an error of a database may quote the values that it
//! was given, and one of a URL the password in it.

use std::error::Error as StdError;
use std::fmt;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::Error as PgError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::store::contract::{StoreError, StoreErrorKind};

/// A replica may be behind, and an old refresh token is worse than none.
pub(super) const REPLICA: &str = "the database is a replica, which may be behind, or takes no \
    writes: point the URL at the primary";

/// How a statement failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// It was not done: the database says so, or was never asked.
    Refused(StoreError),
    /// Nobody knows: the connection broke, or nothing came back in time.
    Lost(StoreError),
}

impl Failed {
    pub(super) fn of(error: &PgError) -> Self {
        // What the server calls an error has undone its statement. After anything worse the
        // connection is gone, and a commit may have been under way.
        let severity = error.as_db_error().and_then(DbError::parsed_severity);
        match severity {
            // Some poolers say no worse of a server that they have lost.
            Some(Severity::Error) if !tells_of_loss(error) => Self::Refused(unavailable(error)),
            _ => Self::Lost(unavailable(error)),
        }
    }

    pub(super) fn late() -> Self {
        Self::Lost(late())
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused(error) | Failed::Lost(error) => error,
        }
    }
}

fn tells_of_loss(error: &PgError) -> bool {
    let code = error.code().map(SqlState::code).unwrap_or_default();
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03")
}

pub(super) fn late() -> StoreError {
    plain("PostgreSQL did not answer in time: see whether it is up, and what it waits for")
}

pub(super) fn plain(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// For what [`open`](super::PostgresStoreBuilder::open) would refuse again.
pub(super) fn misconfigured(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, message)
}

/// A failure as it is told while the store is opened. One that is open meets such a refusal only
/// while somebody changes what it connects with, and goes on.
pub(super) fn at_open(error: StoreError) -> StoreError {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    match cause.is_some_and(|cause: &Cause| cause.is_refusal) {
        true => misconfigured(
            "PostgreSQL refuses this user: see the user, the password and the database of the \
             address, and what the user may do",
        )
        .with_source(error),
        false => error,
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store was closed")
}

pub(super) fn damaged(message: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, message)
}

pub(super) fn unavailable(error: &PgError) -> StoreError {
    let code = error.code().map(SqlState::code);
    let message = match code {
        // What is read-only, and what a replica does not have, as leases.
        Some("25006" | "0A000") => REPLICA,
        Some("55P03") => "a row is locked by another transaction: see which (pg_locks), and end it",
        Some(_) => "PostgreSQL refused a statement",
        None => "PostgreSQL cannot be reached, or the connection to it broke",
    };
    plain(message).with_source(Cause::of(error))
}

pub(super) fn no_connection(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => {
            plain("there is no connection to PostgreSQL to be had").with_source(Cause::of(&error))
        }
        PoolError::Timeout(TimeoutType::Wait) => plain(
            "every connection to PostgreSQL was in use for too long: see what they wait for, or \
             allow more by max_connections",
        ),
        PoolError::Closed => closed(),
        _ => late(),
    }
}

/// What is known of a failure, as text that may be shown.
#[derive(Debug)]
struct Cause {
    text: String,
    /// Of the user, or of the database that they ask for.
    is_refusal: bool,
}

impl Cause {
    fn of(error: &PgError) -> Self {
        let text = match (error.as_db_error(), error.source()) {
            (Some(error), _) => said(error),
            (None, Some(source)) => format!("{error}: {source}"),
            (None, None) => error.to_string(),
        };
        let code = error.code().map(SqlState::code).unwrap_or_default();
        let is_refusal = code.starts_with("28") || code.starts_with("3D") || code == "42501";
        Self { text, is_refusal }
    }
}

/// The code always; the message where it tells of the server, or of names in it, and not of
/// values. Never the detail, which may hold a key.
fn said(error: &DbError) -> String {
    const OF_THE_SERVER: [&str; 10] = ["08", "0A", "25", "28", "3D", "42", "53", "55", "57", "58"];
    let (severity, code) = (error.severity(), error.code().code());
    let class = code.get(..2).unwrap_or_default();
    match OF_THE_SERVER.contains(&class) {
        true => format!("{severity} {code}: {}", error.message()),
        false => format!("{severity} {code}"),
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio_postgres::{Config, NoTls};

    use super::*;

    /// What a server says to whoever connects.
    async fn told(severity: &str, code: &str) -> PgError {
        let fields = format!("S{severity}\0V{severity}\0C{code}\0Mas told\0\0");
        let length = u32::try_from(4 + fields.len()).unwrap().to_be_bytes();
        let answer = [b"E", &length[..], fields.as_bytes()].concat();
        let (client, mut server) = tokio::io::duplex(1_024);
        server.write_all(&answer).await.unwrap();
        let connected = Config::new().user("u").connect_raw(client, NoTls).await;
        connected.err().unwrap()
    }

    #[tokio::test]
    async fn a_statement_is_lost_if_its_connection_may_be() {
        for (severity, code, is_lost) in [
            ("ERROR", "23505", false),
            ("ERROR", "55P03", false),
            ("ERROR", "57014", false),
            // As poolers tell of a server that is gone.
            ("ERROR", "08000", true),
            ("ERROR", "08006", true),
            ("ERROR", "08P01", true),
            ("ERROR", "57P01", true),
            ("ERROR", "57P02", true),
            ("ERROR", "57P03", true),
            ("FATAL", "23505", true),
            ("FATAL", "08P01", true),
            ("PANIC", "XX000", true),
            ("", "23505", true),
        ] {
            let failed = Failed::of(&told(severity, code).await);
            let what = format!("{severity} {code}: {failed:?}");
            assert_eq!(matches!(failed, Failed::Lost(_)), is_lost, "{what}");
        }
    }

    #[tokio::test]
    async fn who_is_refused_at_the_beginning_is_refused_again() {
        for (code, is_for_good) in [
            ("28000", true),
            ("28P01", true),
            ("3D000", true),
            ("42501", true),
            ("42P01", false),
            ("53300", false),
            ("57P03", false),
            ("25006", false),
        ] {
            let error = unavailable(&told("FATAL", code).await);
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{code}");
            let kind = at_open(error).kind();
            assert_eq!(kind == StoreErrorKind::Misconfigured, is_for_good, "{code}");
        }
    }
}
