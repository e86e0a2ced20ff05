//! A PostgreSQL of the test's own, a PgBouncer before it, and a proxy that breaks connections.
//!
//! Nothing of it outlives this process, however that ends.

mod guarded;
mod pooler;
mod proxy;
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

pub use self::pooler::Pooler;
pub use self::proxy::Proxy;
pub use self::server::Server;
use crate::BoxError;

/// Of the one role, which may do everything. In every URL: it must not be printed by others.
pub const PASSWORD: &str = "rig-s3cret-of-postgres";

const ROLE: &str = "postgres";

/// Nothing that is waited for takes longer.
const MINUTE: Duration = Duration::from_secs(60);

/// What one statement answers in the database at `url`, which may lead by the pooler or the
/// proxy: a line for each row, its columns separated by `|`.
pub async fn sql(url: &str, statement: &str) -> Result<String, BoxError> {
    let (address, database) = parts(url);
    let (host, port) = address.split_once(':').ok_or("the URL has no port")?;
    let done = tokio::process::Command::new(program("psql")?)
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", ROLE])
        .args(["-h", host, "-p", port, "-d", database, "-c", statement])
        .env("PGPASSWORD", PASSWORD)
        .kill_on_drop(true)
        .output()
        .await?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        return Err(format!("{statement}: {said}").into());
    }
    Ok(String::from_utf8(done.stdout)?.trim_end().to_owned())
}

/// Waits until `statement` answers so, which it has to do within a minute.
pub async fn until(url: &str, statement: &str, answer: impl ToString) -> Result<(), BoxError> {
    let answer = answer.to_string();
    let answers = async {
        while sql(url, statement).await? != answer {}
        Ok(())
    };
    let answered = timeout(MINUTE, answers).await;
    answered.map_err(|_| format!("{statement}: not {answer} within a minute"))?
}

/// Waits until the one store there has heard itself, as it does where there is no pooler. Before
/// anything is saved: what is looked for is what its connection has done last.
pub async fn hears_itself(url: &str) -> Result<(), BoxError> {
    let greeted = "select count(*) from pg_stat_activity
        where state = 'idle' and query like 'SELECT pg_notify%'";
    until(url, greeted, 1).await
}

/// Where `database` is at `address`.
fn url(address: &str, database: &str) -> String {
    format!("postgres://{ROLE}:{PASSWORD}@{address}/{database}")
}

/// Host and port of a URL as [`url`] makes it, or of an address, and the database.
fn parts(url: &str) -> (&str, &str) {
    let after = url.rsplit_once('@').map_or(url, |(_, after)| after);
    after.split_once('/').unwrap_or((after, ROLE))
}

/// A program of PostgreSQL's. Debian keeps those of its server out of the PATH.
fn program(name: &str) -> Result<PathBuf, BoxError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path);
    let also = [
        "/usr/sbin",
        "/usr/local/sbin",
        "/opt/homebrew/opt/postgresql@16/bin",
    ];
    let mut of_debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    of_debian.sort();
    // The newest first, and before Debian's wrappers of the same names.
    let of_debian = of_debian.into_iter().rev();
    of_debian
        .chain(in_path)
        .chain(also.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            format!(
                "{name} is not there: run scripts/test, or install PostgreSQL's server and \
                 PgBouncer (Debian: apt-get install postgresql pgbouncer)"
            )
            .into()
        })
}
