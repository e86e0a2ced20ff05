//! The tables, and how older ones become these.

use std::fmt;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::connect::{Connections, Lent};
use super::error::{damaged, misconfigured};
use super::schema::Schema;
use crate::store::contract::StoreError;

/// In the order of their numbers, which begin at 1. One that was released is never changed.
const ALL: [(&str, &str); 1] = [(
    "rows_and_leases",
    include_str!("migrations/0001_rows_and_leases.sql"),
)];

/// Held by whoever changes the tables: whatever the schema, one after the other.
const LOCK: i64 = i64::from_be_bytes(*b"tower-tk");

/// A step to the tables that this version of the library needs, to be applied by hand or by a
/// tool where a service may not change tables itself. It prints as SQL; each is to be applied
/// once, in the order of numbers, in a transaction of its own, and notes that it was.
///
/// ```
/// use tower_token::PostgresStore;
///
/// for migration in PostgresStore::migrations("tower_token") {
///     println!("-- {:04} {}\nBEGIN;\n{migration}COMMIT;", migration.number(), migration.name());
/// }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresMigration {
    number: i32,
    name: &'static str,
    sql: String,
}

impl PostgresMigration {
    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number.unsigned_abs()
    }

    /// What it is about.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for PostgresMigration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}

pub(super) fn all(of: &Schema) -> Vec<PostgresMigration> {
    let numbered = (1..).zip(ALL);
    let migration = |(number, (name, sql)): (i32, (&'static str, &str))| {
        let schema = of.quoted();
        let mut sql = sql
            .replace("{schema}", &schema)
            .replace("{name}", of.name());
        sql.push_str(&format!(
            "\nINSERT INTO {schema}.migrations (number, name) VALUES ({number}, '{name}');\n"
        ));
        PostgresMigration { number, name, sql }
    };
    numbered.map(migration).collect()
}

/// Brings the tables to what is needed, or only looks whether they are.
pub(super) async fn migrate(
    connections: &Connections,
    schema: &Schema,
    may_change: bool,
) -> Result<(), StoreError> {
    let needed = all(schema);
    // One connection for all of it: whatever ends early leaves nothing behind.
    let mut lent = connections.lend().await?;
    if is_done(applied(&mut lent, schema).await?, &needed)? {
        return Ok(());
    }
    if !may_change {
        return Err(misconfigured(format!(
            "the tables in the schema {} are older than this version of tower-token: apply the \
             migrations that are missing (PostgresStore::migrations prints them), or open the \
             store without without_migrations",
            schema.name()
        )));
    }
    lent.batch(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK})"))
        .await?;
    // Somebody else may have been quicker.
    let done = applied(&mut lent, schema).await?;
    is_done(done, &needed)?;
    let missing = needed.iter().filter(|migration| migration.number > done);
    let sql: Vec<String> = missing.map(PostgresMigration::to_string).collect();
    lent.batch(&format!("{}; COMMIT", sql.concat())).await
}

/// The number of the last that was applied.
async fn applied(lent: &mut Lent, schema: &Schema) -> Result<i32, StoreError> {
    // By a look at the tables of tables: a name may be remembered from before the lock, as one
    // that is nobody's.
    let is_there = format!(
        "SELECT EXISTS (
            SELECT FROM pg_class JOIN pg_namespace AS of ON of.oid = relnamespace
            WHERE nspname = '{}' AND relname = 'migrations'
        )",
        schema.name()
    );
    if !first(&lent.tell(&is_there, &[]).await?)? {
        return Ok(0);
    }
    let table = schema.quoted();
    let highest = format!("SELECT COALESCE(max(number), 0) FROM {table}.migrations");
    first(&lent.tell(&highest, &[]).await?)
}

fn first<'a, T: FromSql<'a>>(rows: &'a [Row]) -> Result<T, StoreError> {
    let value = rows.first().and_then(|row| row.try_get(0).ok());
    value.ok_or_else(|| damaged("PostgreSQL does not say which tables there are"))
}

fn is_done(applied: i32, needed: &[PostgresMigration]) -> Result<bool, StoreError> {
    let last = needed.last().map_or(0, |migration| migration.number);
    match applied > last {
        true => Err(misconfigured(format!(
            "the tables were made by a newer version of tower-token ({applied} migrations, and \
             this one knows {last}): use that version, or another schema"
        ))),
        false => Ok(applied == last),
    }
}
