//! The statements. Each is one round trip without a name, sets nothing on its connection, and
//! reads the time once, so that a decision and its answer are of one moment.

use super::schema::Schema;

/// The time of the database.
const NOW: &str = "clock AS MATERIALIZED (
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now
)";

/// No longer than its caller a save waits for a row that another transaction has locked. Of this
/// statement only, so that a pooler's connection is as it was.
const SOON: &str = "set_config('lock_timeout', '8s', true) <> ''";

/// What `announced` becomes by a save.
const ANNOUNCED: &str = "CASE WHEN $5 THEN pg_current_xact_id()";

pub(super) struct Statements {
    pub(super) load: String,
    pub(super) insert: String,
    pub(super) insert_and_tell: String,
    pub(super) update: String,
    pub(super) update_and_tell: String,
    pub(super) lease: String,
    pub(super) release: String,
    pub(super) drop_leases: String,
    pub(super) list: String,
    pub(super) scan: String,
    pub(super) claim_due: String,
    pub(super) purge: String,
    pub(super) place: String,
    pub(super) new_era: String,
    pub(super) changes: String,
    pub(super) greet: String,
    pub(super) listen: String,
}

impl Statements {
    pub(super) fn of(schema: &Schema) -> Self {
        let (of, channel) = (schema.quoted(), schema.name());
        let insert = format!(
            "INSERT INTO {of}.rows (key, version, due, bytes, announced)
            SELECT $1, $2, $3, $4, {ANNOUNCED} END WHERE {SOON}
            ON CONFLICT (key) DO NOTHING RETURNING version"
        );
        let update = format!(
            "UPDATE {of}.rows SET version = $2, due = $3, bytes = $4,
                announced = {ANNOUNCED} ELSE announced END
            WHERE key = $1 AND version = $6 AND {SOON} RETURNING version"
        );
        // Nothing is told of what was not written.
        let and_tell = |save: &str| {
            format!(
                "WITH saved AS ({save})
                SELECT version, pg_notify('{channel}', '') FROM saved"
            )
        };
        let place = format!(
            "place AS MATERIALIZED (
                SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint
                    AS started, (SELECT number FROM {of}.era) AS era, pg_current_snapshot() AS seen
            )"
        );
        Self {
            load: read(&format!("SELECT * FROM {of}.rows WHERE key = $1")),
            list: read(&format!(
                "SELECT * FROM {of}.rows WHERE key BETWEEN $1 AND $2"
            )),
            scan: read(&format!(
                "SELECT * FROM {of}.rows WHERE key > $1 ORDER BY key LIMIT $2"
            )),
            insert_and_tell: and_tell(&insert),
            insert,
            update_and_tell: and_tell(&update),
            update,
            lease: format!(
                "WITH {NOW}
                INSERT INTO {of}.leases AS held (key, owner, until)
                SELECT $1, $2, now + $3 FROM clock
                ON CONFLICT (key) DO UPDATE SET
                    (owner, until, awaited) = (
                        SELECT
                            CASE WHEN is_free THEN $2 ELSE held.owner END,
                            CASE WHEN is_free THEN excluded.until ELSE held.until END,
                            CASE WHEN is_free THEN held.awaited AND held.owner = $2 ELSE true END
                        FROM (
                            SELECT held.owner = $2 OR held.until <= now AS is_free FROM clock
                        ) AS decided
                    )
                RETURNING owner, until, (SELECT now FROM clock)"
            ),
            release: format!(
                "WITH gone AS (
                    DELETE FROM {of}.leases WHERE key = $1 AND owner = $2 RETURNING awaited
                )
                SELECT pg_notify('{channel}', encode($1, 'hex')) FROM gone WHERE awaited"
            ),
            drop_leases: format!(
                "WITH {NOW}, over AS MATERIALIZED (
                    SELECT key FROM {of}.leases WHERE until < (SELECT now FROM clock) - $1
                    ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED
                )
                DELETE FROM {of}.leases WHERE key IN (SELECT key FROM over)"
            ),
            claim_due: format!(
                "WITH {NOW}, due AS MATERIALIZED (
                    SELECT key FROM {of}.rows
                    WHERE due IS NOT NULL AND GREATEST(due, claimed) <= (SELECT now FROM clock)
                    ORDER BY GREATEST(due, claimed) LIMIT $1 FOR UPDATE SKIP LOCKED
                )
                UPDATE {of}.rows AS claim SET claimed = (SELECT now FROM clock) + $2
                FROM due WHERE claim.key = due.key
                RETURNING claim.key, claim.version, claim.due, claim.bytes"
            ),
            purge: format!("DELETE FROM {of}.rows WHERE key = $1 AND version = $2 RETURNING 1"),
            new_era: format!("INSERT INTO {of}.era (number) VALUES ($1) ON CONFLICT DO NOTHING"),
            // The snapshot is that of this very statement: what it does not show is seen later. New
            // are those who began after the old one was taken, and those who were under way then.
            // Not all since the oldest of these: it may be under way for days.
            changes: format!(
                "WITH {place}
                SELECT pg_is_in_recovery(), key, version, due, bytes, started, era, seen::text
                FROM place LEFT JOIN LATERAL (
                    (
                        SELECT key, version, due, bytes FROM {of}.rows
                        WHERE started = $1 AND era = $2
                            AND announced >= pg_snapshot_xmax($3::pg_snapshot)
                            AND announced < pg_snapshot_xmax(seen)
                        ORDER BY announced LIMIT $4
                    ) UNION ALL (
                        SELECT late.* FROM pg_snapshot_xip($3::pg_snapshot) AS was(under_way)
                        CROSS JOIN LATERAL (
                            SELECT key, version, due, bytes FROM {of}.rows
                            WHERE started = $1 AND era = $2 AND announced = was.under_way
                            ORDER BY announced LIMIT $4
                        ) AS late
                    )
                    LIMIT $4
                ) AS told ON true"
            ),
            place: format!(
                "WITH {place}
                SELECT pg_is_in_recovery(), NULL::bytea, started, era, seen::text FROM place"
            ),
            greet: format!("SELECT pg_notify('{channel}', $1)"),
            listen: format!("LISTEN \"{channel}\""),
        }
    }
}

/// Rows, and whether they are those of a replica: it may be behind, and then what it shows was
/// replaced. That is told without a row, too.
fn read(rows: &str) -> String {
    format!(
        "SELECT pg_is_in_recovery(), key, version, due, bytes
        FROM (SELECT) AS here LEFT JOIN LATERAL ({rows}) AS found ON true
        ORDER BY key"
    )
}
