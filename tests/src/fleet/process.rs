//! One process of a fleet, as who leads it sees it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tower_token::KeyRing;

use super::CHILD;
use crate::BoxError;

/// Longer than anything takes that comes to an end.
const DEADLINE: Duration = Duration::from_secs(300);

/// Goes on when stdin ends: whoever stands still does not see that who leads it is no more.
const STAND_STILL: &str = r#"kill -s STOP "$1" && echo still; read -r _; kill -s CONT "$1""#;

/// A process that stands still until this is let go.
#[derive(Debug)]
pub struct Still(Child);

impl Still {
    /// Stops the process of this id by SIGSTOP.
    pub async fn stand(id: u32) -> Result<Self, BoxError> {
        let mut guard = Command::new("sh")
            .args(["-c", STAND_STILL, "sh", &id.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = guard.stdout.take().ok_or("no stdout")?;
        match BufReader::new(stdout).lines().next_line().await? {
            Some(_) => Ok(Self(guard)),
            None => Err(format!("{id} cannot be stopped").into()),
        }
    }

    /// Lets it go on.
    pub async fn go_on(mut self) -> Result<(), BoxError> {
        drop(self.0.stdin.take());
        self.0.wait().await?;
        Ok(())
    }
}

/// A child that runs [`member::run`](super::member::run). It ends with this value, and with this
/// process: it reads our end of a pipe.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this program again as one of a fleet; `task` is what
    /// [`Setting::task`](super::Setting::task) made. Returns once it is ready.
    pub async fn start(task: &Value, ring: &KeyRing) -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            // With the password of the database in it, so it is no argument.
            .env("FLEET_TASK", task.to_string())
            .env("TOWER_TOKEN_KEYS", ring.encode().expose())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let mut process = Self {
            child,
            stdin,
            stdout,
        };
        match process.line().await?.as_deref() {
            Some("ready") => Ok(process),
            said => Err(format!("a process is not ready: {said:?}").into()),
        }
    }

    /// Its id, for as long as it is not waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its next line; none if it has ended.
    pub async fn line(&mut self) -> Result<Option<String>, BoxError> {
        Ok(timeout(DEADLINE, self.stdout.next_line())
            .await
            .map_err(|_| "a process says nothing any more")??)
    }

    /// Gives one command without waiting for what it says to it.
    pub async fn tell(&mut self, command: &str) -> Result<(), BoxError> {
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        Ok(self.stdin.flush().await?)
    }

    /// Gives one command, and returns its answer.
    pub async fn ask(&mut self, command: &str) -> Result<Value, BoxError> {
        self.tell(command).await?;
        let line = self.line().await?.ok_or("a process has ended")?;
        Ok(serde_json::from_str(&line).map_err(|_| format!("a process said {line:?}"))?)
    }

    /// Ends the process of this id by SIGKILL.
    pub async fn kill(id: u32) -> Result<(), BoxError> {
        let kill = ["-s", "KILL", &id.to_string()];
        match Command::new("kill").args(kill).status().await?.success() {
            true => Ok(()),
            false => Err(format!("{id} cannot be killed").into()),
        }
    }

    /// Waits until it has ended, which it does when it is killed, or told nothing any more.
    pub async fn ended(mut self) -> Result<(), BoxError> {
        drop(self.stdin);
        self.child.wait().await?;
        Ok(())
    }
}
