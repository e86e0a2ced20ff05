//! The service that is killed.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use tests::BoxError;
use tower_token::testkit::{AuthServer, Issued};
use tower_token::{
    AccessToken, Clock, Error, ErrorKind, GrantKey, KeyRing, OAuth2, Rotation, SealedStore,
    SledStore, SystemClock, Timestamp, TokenManager, TokenResponse,
};

use super::Options;

/// How long an access token lasts: until after the last round.
pub(crate) const LIFE: Duration = Duration::from_secs(3_600);
/// How often each grant is refreshed.
const EVERY: Duration = Duration::from_millis(200);
const EVERY_STRICT: Duration = Duration::from_secs(2);
/// An exchange that was cut off is tried again after this.
const EXCHANGE_TIMEOUT: Duration = Duration::from_millis(300);

/// What the child says of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its token was refreshed.
    Healthy,
    NeedsReauth,
    Other,
}

/// The child as its parent sees it; killed when dropped.
pub(crate) struct Child {
    process: process::Child,
    said: BufReader<process::ChildStdout>,
}

impl Child {
    /// Starts this program as a service that does one `task`; returns when it has begun.
    pub(crate) fn start(
        task: &str,
        folder: &Path,
        keys: &KeyRing,
        server: &AuthServer,
        options: &Options,
    ) -> Result<Self, BoxError> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--child", task, super::text(folder)?])
            .arg(server.token_endpoint())
            .arg(server.client_id())
            .arg(if options.strict { "strict" } else { "grace" })
            .arg(options.grants.to_string())
            .env("TOWER_TOKEN_KEYS", keys.encode().expose())
            .env("CLIENT_SECRET", server.client_secret())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let said = BufReader::new(process.stdout.take().ok_or("no stdout")?);
        let mut child = Self { process, said };
        let mut line = String::new();
        child.said.read_line(&mut line)?;
        match line.trim() {
            "ready" => Ok(child),
            _ => Err(format!("the child did not start: {line}").into()),
        }
    }

    /// Hands over what a user's consent brought.
    pub(crate) fn connect(&mut self, user: &str, issued: &Issued) -> Result<(), BoxError> {
        let stdin = self.process.stdin.as_mut().ok_or("no stdin")?;
        writeln!(
            stdin,
            "{user} {} {}",
            issued.access_token, issued.refresh_token
        )?;
        Ok(())
    }

    /// SIGKILL: nothing of it gets to run again.
    pub(crate) fn kill(mut self) -> Result<(), BoxError> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Lets it end by itself; what it said of each user.
    pub(crate) fn outcomes(mut self) -> Result<Vec<(String, Outcome)>, BoxError> {
        drop(self.process.stdin.take());
        let mut outcomes = Vec::new();
        for line in self.said.by_ref().lines() {
            let line = line?;
            if let Some((user, outcome)) = line.split_once(' ') {
                let outcome = match outcome {
                    "healthy" => Outcome::Healthy,
                    "needs_reauth" => Outcome::NeedsReauth,
                    _ => Outcome::Other,
                };
                outcomes.push((user.to_owned(), outcome));
            }
        }
        if !self.process.wait()?.success() {
            return Err("the child failed".into());
        }
        Ok(outcomes)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The system's time, or a later one.
#[derive(Debug)]
struct Ahead(SystemClock, Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }
}

/// What the child process does.
pub(crate) fn run(arguments: &[String]) -> Result<(), BoxError> {
    tokio::runtime::Runtime::new()?.block_on(serve(arguments))
}

async fn serve(arguments: &[String]) -> Result<(), BoxError> {
    let [task, folder, token_endpoint, client_id, rotation, grants] = arguments else {
        return Err("not for calling by hand".into());
    };
    let grants = grants.parse()?;
    let strict = rotation == "strict";
    let provider = OAuth2::new("demo", token_endpoint)
        .client_secret_basic(client_id, std::env::var("CLIENT_SECRET")?)
        .exchange_timeout(EXCHANGE_TIMEOUT)
        .rotation(if strict {
            Rotation::Strict
        } else {
            Rotation::Grace(super::GRACE)
        });
    // To report is to look at the grants after their tokens have expired.
    let ahead = if task == "report" {
        2 * LIFE
    } else {
        Duration::ZERO
    };
    let store = SledStore::open(folder).await?;
    let manager = TokenManager::builder()
        .store(SealedStore::open(store, KeyRing::from_env("TOWER_TOKEN_KEYS")?).await?)
        .provider(provider)
        .clock(Ahead(SystemClock::new(), ahead))
        .build()
        .await?;
    println!("ready");
    match task.as_str() {
        "connect" => connect(&manager).await?,
        "refresh" => refresh_on(&manager, grants, strict).await?,
        _ => {
            for (user, outcome) in settle(&manager, grants, ahead).await? {
                println!("{user} {outcome}");
            }
        }
    }
    manager.shutdown(Duration::from_secs(30)).await?;
    Ok(())
}

async fn connect(manager: &TokenManager) -> Result<(), BoxError> {
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let [user, access_token, refresh_token] = words[..] else {
            return Err("a user, an access token, a refresh token".into());
        };
        let response = TokenResponse::new(access_token)
            .refresh_token(refresh_token)
            .expires_in(LIFE);
        manager
            .connect(&GrantKey::new("demo", user), response)
            .await?;
    }
    Ok(())
}

/// Every grant that there is.
fn keys(grants: usize) -> impl Iterator<Item = GrantKey> {
    (0..grants).map(|n| GrantKey::new("demo", super::user(n)))
}

/// Asks for younger tokens than there are, until it is killed, or nobody is left to do that.
async fn refresh_on(manager: &TokenManager, grants: usize, strict: bool) -> Result<(), BoxError> {
    let every = if strict { EVERY_STRICT } else { EVERY };
    for (n, key) in (0..).zip(keys(grants)) {
        let manager = manager.clone();
        // One after the other, so that every moment is somebody's.
        let phase = every * n / u32::try_from(grants).unwrap_or(1);
        tokio::spawn(async move {
            tokio::time::sleep(phase).await;
            loop {
                // Whatever it comes to: the parent keeps the books.
                let _ = refreshed(&manager, &key, Duration::ZERO).await;
                tokio::time::sleep(every).await;
            }
        });
    }
    // Its end is the end of the parent, which says nothing.
    let end = || io::copy(&mut io::stdin(), &mut io::sink());
    tokio::task::spawn_blocking(end).await??;
    Ok(())
}

/// Brings every grant to a state that says what it is.
async fn settle(
    manager: &TokenManager,
    grants: usize,
    ahead: Duration,
) -> Result<Vec<(String, &'static str)>, BoxError> {
    let tasks: Vec<_> = keys(grants)
        .map(|key| {
            let manager = manager.clone();
            tokio::spawn(
                async move { (key.subject().to_owned(), one(&manager, &key, ahead).await) },
            )
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await?);
    }
    Ok(outcomes)
}

async fn one(manager: &TokenManager, key: &GrantKey, ahead: Duration) -> &'static str {
    let now = || SystemClock::new().now();
    let begun = now();
    let mut first = None;
    while now().since(begun) < super::GRACE {
        match refreshed(manager, key, ahead).await {
            // The first may be the answer that a kill had lost.
            Ok(token) if first.is_some_and(|first| token.serial() > first) => return "healthy",
            Ok(token) => first = Some(first.unwrap_or(token.serial())),
            Err(error) if error.kind() == ErrorKind::NeedsReauth => return "needs_reauth",
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    "other"
}

/// A token that is valid for longer than the present one.
async fn refreshed(
    manager: &TokenManager,
    key: &GrantKey,
    ahead: Duration,
) -> Result<AccessToken, Error> {
    let token = manager.token(key).await?;
    let now = Ahead(SystemClock::new(), ahead).now();
    let left = token.expires_at().map(|at| at.since(now));
    let longer = left.unwrap_or_default() + Duration::from_millis(10);
    manager.token_valid_for(key, longer).await
}
