//! A PgBouncer before a server.

use std::fs;
use std::time::Duration;

use tokio::time::sleep;

use super::guarded::{Folder, Guarded};
use super::server::answers;
use super::{PASSWORD, ROLE, parts, program, url};
use crate::BoxError;
use crate::port::free_port;

/// A PgBouncer that pools by the transaction: two statements of a client that are no transaction
/// may meet different connections, and it keeps no prepared ones. It ends with this value, and
/// with this process.
#[derive(Debug)]
pub struct Pooler {
    // Ends before its folder goes.
    running: Guarded,
    folder: Folder,
    port: u16,
    database: String,
}

impl Pooler {
    /// Starts one before all databases of the server that `server_url` is at. Returns when it
    /// answers.
    pub async fn start(server_url: &str) -> Result<Self, BoxError> {
        let (address, database) = parts(server_url);
        let (host, at) = address.split_once(':').ok_or("the URL has no port")?;
        let port = free_port()?;
        let folder = Folder::new()?;
        let users = folder.write("users", &format!("\"{ROLE}\" \"{PASSWORD}\"\n"))?;
        let settings = format!(
            "[databases]\n\
             * = host={host} port={at}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = scram-sha-256\n\
             auth_file = {}\n\
             pool_mode = transaction\n\
             default_pool_size = 20\n\
             max_client_conn = 1000\n",
            users.display()
        );
        let settings = folder.write("pgbouncer.ini", &settings)?;
        let pgbouncer = program("pgbouncer")?;
        let log = folder.join("log");
        // Immediate: what is under way may be cut off.
        let running = Guarded::start(folder.user, "TERM", &log, &pgbouncer, [settings])?;
        let mut pooler = Self {
            running,
            folder,
            port,
            database: database.to_owned(),
        };
        while !answers(port).await? {
            if !pooler.running.runs()? {
                let log = fs::read_to_string(pooler.folder.join("log")).unwrap_or_default();
                return Err(format!("PgBouncer does not start:\n{log}").into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(pooler)
    }

    /// The database of the server's URL, through this.
    pub fn url(&self) -> String {
        self.through(&self.database)
    }

    /// Another of the server's databases, by its URL or its name, through this.
    pub fn through(&self, database: &str) -> String {
        let name = match database.contains('@') {
            true => parts(database).1,
            false => database,
        };
        url(&format!("127.0.0.1:{}", self.port), name)
    }

    /// Ends it by SIGKILL: all that go by it are cut off.
    pub fn kill(&mut self) -> Result<(), BoxError> {
        self.running.kill()
    }
}
