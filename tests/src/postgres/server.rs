//! A throwaway PostgreSQL.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::guarded::{Folder, Guarded};
use super::{PASSWORD, ROLE, program, sql, url};
use crate::BoxError;
use crate::port::free_port;

/// How often it is looked whether it answers, and how often at most.
const POLL: Duration = Duration::from_millis(50);
const POLLS: u32 = 600;
/// For how many of these it is started again when it ended.
const STARTS: u32 = 200;

/// A PostgreSQL on a free port of loopback, its data in a temporary folder, with syncs. It ends
/// with this value, and with this process.
#[derive(Debug)]
pub struct Server {
    // Ends before its folder goes.
    running: Option<Guarded>,
    folder: Folder,
    port: u16,
    databases: AtomicU32,
}

impl Server {
    /// Makes its data folder, and starts it. Returns when it answers.
    pub async fn start() -> Result<Self, BoxError> {
        let folder = Folder::new()?;
        let password = folder.write("password", PASSWORD)?;
        let mut initdb = folder.user.command(program("initdb")?);
        initdb
            .current_dir("/")
            .args(["--no-sync", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--auth=scram-sha-256", "--username", ROLE, "--pwfile"]);
        initdb.arg(password).arg("-D").arg(folder.join("data"));
        let made = tokio::process::Command::from(initdb).output().await?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(format!("initdb failed: {said}").into());
        }
        let mut server = Self {
            running: None,
            folder,
            port: free_port()?,
            databases: AtomicU32::new(0),
        };
        server.run().await?;
        Ok(server)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of the database that is there from the beginning.
    pub fn url(&self) -> String {
        url(&self.address(), ROLE)
    }

    /// The URL of a new, empty database.
    pub async fn database(&self) -> Result<String, BoxError> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("db{number}");
        sql(&self.url(), &format!("create database {name}")).await?;
        Ok(url(&self.address(), &name))
    }

    /// Kills it by SIGKILL, as a crash would: what it acknowledged is on the disk. Nobody listens
    /// at its port until [`restart`](Self::restart).
    pub async fn kill(&mut self) -> Result<(), BoxError> {
        if let Some(mut running) = self.running.take() {
            tokio::task::spawn_blocking(move || running.kill()).await??;
        }
        Ok(())
    }

    /// Starts it again over the same data and on the same port; kills it before if it runs.
    /// Returns when it answers.
    pub async fn restart(&mut self) -> Result<(), BoxError> {
        self.kill().await?;
        self.run().await
    }

    /// Starts it again as a replica of nobody: it shows what it has, and takes no writes.
    pub async fn restart_as_replica(&mut self) -> Result<(), BoxError> {
        self.kill().await?;
        self.folder.write("data/standby.signal", "")?;
        self.run().await
    }

    /// From now on it answers no commit: it waits for a synchronous standby that is not there.
    pub async fn await_standby(&self) -> Result<(), BoxError> {
        self.standbys("'nobody'").await?;
        // It is set by another process of the server, a moment later.
        let url = self.url();
        loop {
            let mut commit = tokio::spawn({
                let url = url.clone();
                async move { sql(&url, "create table probe(); drop table probe").await }
            });
            loop {
                let ended = tokio::time::timeout(POLL, &mut commit).await;
                if let Ok(ended) = ended {
                    ended??;
                    break;
                }
                let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
                if sql(&url, waits).await? != "0" {
                    return Ok(());
                }
            }
        }
    }

    /// What waited for the standby is committed.
    pub async fn await_nobody(&self) -> Result<(), BoxError> {
        self.standbys("''").await
    }

    async fn standbys(&self, names: &str) -> Result<(), BoxError> {
        let set = format!("alter system set synchronous_standby_names = {names}");
        sql(&self.url(), &set).await?;
        sql(&self.url(), "select pg_reload_conf()").await?;
        Ok(())
    }

    /// A standby of it that has all it has, and takes over by [`promote`](Self::promote).
    pub async fn standby(&self) -> Result<Self, BoxError> {
        let folder = Folder::new()?;
        let mut copy = folder.user.command(program("pg_basebackup")?);
        copy.current_dir("/")
            .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", ROLE])
            .arg("-D")
            .arg(folder.join("data"))
            .env("PGPASSWORD", PASSWORD);
        let copied = tokio::process::Command::from(copy).output().await?;
        if !copied.status.success() {
            let said = String::from_utf8_lossy(&copied.stderr).into_owned();
            return Err(format!("pg_basebackup failed: {said}").into());
        }
        let mut standby = Self {
            running: None,
            folder,
            port: free_port()?,
            databases: AtomicU32::new(0),
        };
        standby.run().await?;
        Ok(standby)
    }

    /// A standby takes writes from here on.
    pub async fn promote(&self) -> Result<(), BoxError> {
        match sql(&self.url(), "select pg_promote(true, 60)")
            .await?
            .as_str()
        {
            "t" => Ok(()),
            said => Err(format!("the standby was not promoted: {said}").into()),
        }
    }

    /// Answers no commit from here on that one of its standbys has not got.
    pub async fn await_any_standby(&self) -> Result<(), BoxError> {
        self.standbys("'*'").await?;
        let is_in_step = "select count(*) from pg_stat_replication where sync_state = 'sync'";
        while sql(&self.url(), is_in_step).await? == "0" {
            sleep(POLL).await;
        }
        Ok(())
    }

    /// What it wrote into its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    async fn run(&mut self) -> Result<(), BoxError> {
        let postgres = program("postgres")?;
        for poll in 0..POLLS {
            // After a kill its children may take a moment to see it, and it does not start
            // beside them.
            let runs = match &mut self.running {
                Some(running) => running.runs()?,
                None => false,
            };
            if !runs && poll < STARTS {
                self.running = Some(self.begin(&postgres)?);
            }
            if answers(self.port).await? {
                return Ok(());
            }
            sleep(POLL).await;
        }
        Err(format!("PostgreSQL does not start:\n{}", self.log()).into())
    }

    fn begin(&self, postgres: &std::path::Path) -> Result<Guarded, BoxError> {
        let port = self.port.to_string();
        let data = self.folder.join("data");
        let data = data.to_string_lossy();
        let mut arguments = vec!["-D", &data, "-h", "127.0.0.1", "-p", &port];
        for setting in [
            "unix_socket_directories=",
            "max_connections=200",
            "fsync=on",
        ] {
            arguments.extend(["-c", setting]);
        }
        // Immediate shutdown: the data goes anyway.
        Guarded::start(
            self.folder.user,
            "QUIT",
            &self.log_file(),
            postgres,
            arguments,
        )
    }
}

/// Whether a server on `port` takes connections, a PgBouncer too.
pub(super) async fn answers(port: u16) -> Result<bool, BoxError> {
    let said = tokio::process::Command::new(program("pg_isready")?)
        .args([
            "-q",
            "-h",
            "127.0.0.1",
            "-U",
            ROLE,
            "-d",
            ROLE,
            "-p",
            &port.to_string(),
        ])
        .status()
        .await?;
    Ok(said.success())
}
