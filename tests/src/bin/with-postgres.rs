//! Runs a command with a PostgreSQL of its own, which is thrown away afterwards:
//!
//! ```text
//! cargo run -p tests --bin with-postgres -- cargo run -p examples --bin fleet
//! ```
//!
//! The command finds its address in `DATABASE_URL`, and its exit code is this one's.

use std::process::ExitCode;

use tests::BoxError;
use tests::postgres::Server;
use tokio::process::Command;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().ok_or("say which command to run")?;
    let server = Server::start().await?;
    let url = server.database().await?;
    let mut command = Command::new(program);
    let status = command
        .args(words)
        .env("DATABASE_URL", url)
        .kill_on_drop(true)
        .status()
        .await?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
