//! A `connected-service` process that a test talks to and may kill.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tower_token::KeyRing;

use crate::BoxError;

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Read as it comes: a pipe that is full would stop the child.
    stderr: JoinHandle<Vec<u8>>,
    said: Vec<u8>,
}

impl Service {
    /// Starts `program` over `folder`, with the token service at `base`. Returns once it
    /// is ready, or with all that it printed if it ended before.
    pub async fn start(
        program: &str,
        folder: &Path,
        ring: Option<&KeyRing>,
        base: &str,
    ) -> Result<Self, BoxError> {
        let mut command = Command::new(program);
        command.arg(folder).arg(base).env_remove("TOWER_TOKEN_KEYS");
        // A proxy that is not there: plain http to loopback must not go by it.
        command
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("http_proxy", "http://127.0.0.1:9");
        command.env_remove("NO_PROXY").env_remove("no_proxy");
        if let Some(ring) = ring {
            command.env("TOWER_TOKEN_KEYS", ring.encode().expose());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let mut errors = child.stderr.take().ok_or("no stderr")?;
        let stderr = tokio::spawn(async move {
            let mut text = Vec::new();
            // What was read until the child was killed is all there is.
            let _ = errors.read_to_end(&mut text).await;
            text
        });
        let mut service = Self {
            child,
            stdin,
            stdout,
            stderr,
            said: Vec::new(),
        };
        match service.line().await {
            Ok(line) if line == "ready" => Ok(service),
            _ => Err(String::from_utf8_lossy(&service.finish().await?)
                .into_owned()
                .into()),
        }
    }

    async fn line(&mut self) -> Result<String, BoxError> {
        let line = self.stdout.next_line().await?.ok_or("the service ended")?;
        self.said.extend_from_slice(line.as_bytes());
        self.said.push(b'\n');
        Ok(line)
    }

    /// Gives one command, and returns its one line of answer.
    pub async fn ask(&mut self, command: &str) -> Result<String, BoxError> {
        self.tell(command).await?;
        self.line().await
    }

    /// Gives one command without waiting for the answer.
    pub async fn tell(&mut self, command: &str) -> Result<(), BoxError> {
        self.stdin
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        Ok(self.stdin.flush().await?)
    }

    /// Ends it by SIGKILL: nothing of it gets to run again.
    pub async fn kill(mut self) -> Result<(), BoxError> {
        Ok(self.child.kill().await?)
    }

    /// Lets it end by itself, and returns everything it printed.
    pub async fn finish(self) -> Result<Vec<u8>, BoxError> {
        let Self {
            mut child,
            stdin,
            mut stdout,
            stderr,
            mut said,
        } = self;
        drop(stdin);
        while let Some(line) = stdout.next_line().await? {
            said.extend_from_slice(line.as_bytes());
        }
        child.wait().await?;
        said.extend(stderr.await?);
        Ok(said)
    }
}
