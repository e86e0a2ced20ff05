//! Whether a server can keep what the store promises.

use super::connect::Connections;
use super::error::{REPLICA, damaged, misconfigured, plain};
use crate::store::contract::StoreError;

const LOOK: &str = "SELECT current_setting('server_version_num')::bigint, pg_is_in_recovery(),
    current_setting('fsync'), current_setting('synchronous_commit'),
    current_setting('transaction_isolation')";

/// The first that has snapshots and numbers of transactions that do not wrap.
const OLDEST: i64 = 130_000;

pub(super) async fn check(connections: &Connections) -> Result<(), StoreError> {
    let rows = connections.ask(LOOK, &[]).await?;
    let row = rows.first().ok_or_else(silent)?;
    let setting = |column: usize| row.try_get::<_, &str>(column).map_err(|_| silent());
    let version: i64 = row.try_get(0).map_err(|_| silent())?;
    let is_replica: bool = row.try_get(1).map_err(|_| silent())?;
    if version < OLDEST {
        return Err(misconfigured(
            "PostgreSQL is too old: 13 or later is needed",
        ));
    }
    if is_replica {
        // It may become the primary.
        return Err(plain(REPLICA));
    }
    refused(setting(2)?, setting(3)?, setting(4)?).map_or(Ok(()), |why| Err(misconfigured(why)))
}

fn silent() -> StoreError {
    damaged("PostgreSQL does not say how it is set")
}

/// Why a server with these settings is refused. A save that is acknowledged has to be on the
/// disk, and one that comes second has to be told so.
fn refused(fsync: &str, synchronous_commit: &str, isolation: &str) -> Option<&'static str> {
    match (fsync, synchronous_commit, isolation) {
        ("off", _, _) => Some("PostgreSQL runs with fsync = off and loses data: set it to on"),
        (_, "off", _) => Some(
            "synchronous_commit is off, so that a save may be lost after it was acknowledged: \
             set it to on for the role (ALTER ROLE .. SET synchronous_commit = on)",
        ),
        (_, _, "read committed") => None,
        _ => Some(
            "transactions are isolated otherwise than the store needs: set it for the role \
             (ALTER ROLE .. SET default_transaction_isolation = 'read committed')",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_forgets_is_refused() {
        let usual = "read committed";
        for commit in ["on", "local", "remote_write", "remote_apply"] {
            assert_eq!(refused("on", commit, usual), None);
        }
        assert!(refused("off", "on", usual).unwrap().contains("fsync"));
        let why = refused("on", "off", usual).unwrap();
        assert!(why.contains("synchronous_commit = on"));
        let why = refused("on", "on", "serializable").unwrap();
        assert!(why.contains("read committed"));
    }
}
