//! The examples as a person runs them: a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tests::BoxError;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Builds an example, and says where it is.
pub async fn build(example: &str) -> Result<PathBuf, BoxError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "-p", "examples"])
        .args(["--bin", example])
        .status()
        .await?;
    if !built.success() {
        return Err(format!("{example} does not build").into());
    }
    // This test is target/debug/deps/browser-..; what is built for people is two above.
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).ok_or("no target")?;
    Ok(folder.join(example))
}

/// How every run of return-user is started, over a folder.
#[derive(Debug, Clone)]
pub struct Run {
    pub program: PathBuf,
    pub data: PathBuf,
    pub port: u16,
    pub mesh_port: u16,
    pub access_ttl: Duration,
}

/// A running example; killed when dropped.
#[derive(Debug)]
pub struct App {
    child: Child,
}

impl Run {
    /// The origin of its page.
    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// The origin of the stand-in of Mesh.
    pub fn mesh(&self) -> String {
        format!("http://127.0.0.1:{}", self.mesh_port)
    }

    /// Starts it, and waits until it says that it is ready.
    pub async fn start(&self) -> Result<App, BoxError> {
        let mut command = Command::new(&self.program);
        command
            .args(["--port", &self.port.to_string()])
            .args(["--mesh-port", &self.mesh_port.to_string()])
            .args(["--access-ttl", &self.access_ttl.as_secs().to_string()])
            .arg("--data")
            .arg(&self.data);
        App::start(&mut command, &self.origin()).await
    }
}

impl App {
    /// Starts an example, and waits until it names the origin of its page.
    pub async fn start(command: &mut Command, origin: &str) -> Result<Self, BoxError> {
        let command = command.stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        while let Some(line) = lines.next_line().await? {
            if line.contains(origin) {
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Self { child });
            }
        }
        Err("the example ended before it was ready".into())
    }

    /// SIGKILL: nothing of it gets to run again.
    pub async fn kill(mut self) -> Result<(), BoxError> {
        Ok(self.child.kill().await?)
    }

    /// Ends it as Ctrl-C does, and waits until it has.
    pub async fn interrupt(mut self) -> Result<(), BoxError> {
        let id = self.child.id().ok_or("it has ended already")?;
        Command::new("kill")
            .args(["-INT", &id.to_string()])
            .status()
            .await?;
        match self.child.wait().await?.success() {
            true => Ok(()),
            false => Err("the example did not end well".into()),
        }
    }
}
