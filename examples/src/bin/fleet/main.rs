//! Several processes of one service on one PostgreSQL, and users who are served by all of them:
//!
//! ```text
//! DATABASE_URL=postgres://.. cargo run -p examples --bin fleet
//! ```
//!
//! `cargo run -p tests --bin with-postgres -- COMMAND` runs a command with a PostgreSQL of its
//! own that is thrown away afterwards, if the server is installed. Another has to be on this
//! machine, or one that may be talked to in plain (`sslmode=disable`).
//!
//! A token service and an API run in this process. Access tokens live for some seconds, and a
//! refresh token that comes twice ends its user's grant. Each instance calls the API for any of
//! the users, over and over; once a second a line says what all of them did. In the end a user
//! leaves at one instance. What is printed is asserted; the program fails otherwise.

#![allow(clippy::print_stdout)]

mod instance;
mod report;

use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use examples::timeline::Timeline;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::sleep;
use tower_token::testkit::AuthServer;
use tower_token::{
    Clock as _, GrantKey, KeyRing, PostgresStore, SealedStore, SystemClock, TokenManager,
};

use self::instance::Settings;
use self::report::Report;

/// How long access tokens live: refreshed at two thirds of it.
const LIFETIME: Duration = Duration::from_secs(6);
const TOKEN_SERVICE: Duration = Duration::from_millis(40);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(settings) = Settings::of_an_instance()? {
        return instance::run(settings).await;
    }
    let url = std::env::var("DATABASE_URL").map_err(|_| {
        "DATABASE_URL is not set: say where a PostgreSQL is, or run it by `cargo run -p tests \
         --bin with-postgres -- cargo run -p examples --bin fleet`"
    })?;
    if !instance::may_be_plain(&url) {
        return Err(
            "DATABASE_URL leaves this machine or asks for TLS, and what the fleet leaves \
             behind is removed on a plain connection: use a PostgreSQL of this machine without \
             sslmode, or say sslmode=disable"
                .into(),
        );
    }
    let [instances, users, seconds] = arguments(
        [("--instances", 4), ("--users", 100), ("--seconds", 20)],
        std::env::args().skip(1),
    )?;

    let server = AuthServer::builder()
        .access_ttl(LIFETIME)
        .latency(TOKEN_SERVICE)
        .start()?;
    let settings = Settings {
        url,
        // Of its own, and removed in the end.
        schema: format!("fleet_{:08x}", std::process::id()),
        keys: KeyRing::generate()?,
        token_endpoint: server.token_endpoint(),
        client: (server.client_id().into(), server.client_secret().into()),
        api: server.api(),
        users,
    };
    let shown = fleet(&server, &settings, instances, seconds).await;
    settings.remove().await?;
    shown
}

/// Whole numbers by their names, or what they are otherwise.
fn arguments<const N: usize>(
    mut known: [(&str, usize); N],
    mut given: impl Iterator<Item = String>,
) -> Result<[usize; N], Box<dyn Error>> {
    while let Some(name) = given.next() {
        let of_name = known.iter_mut().find(|(known, _)| *known == name);
        let (_, value) = of_name.ok_or_else(|| format!("{name} is not known"))?;
        let number = given
            .next()
            .ok_or_else(|| format!("{name} takes a number"))?;
        *value = number.parse()?;
        if *value == 0 {
            return Err(format!("{name} takes at least 1").into());
        }
    }
    Ok(known.map(|(_, value)| value))
}

async fn fleet(
    server: &AuthServer,
    settings: &Settings,
    instances: usize,
    seconds: usize,
) -> Result<(), Box<dyn Error>> {
    let timeline = Timeline::new();
    // This process is an instance as well, at which users connect and leave.
    let manager = settings.manager().await?;
    for user in 0..settings.users {
        let tokens = server.connect(&user.to_string());
        manager.connect(&settings.key(user), tokens.into()).await?;
    }
    let mut fleet = Vec::new();
    for _ in 0..instances {
        fleet.push(Instance::start(settings)?);
    }
    timeline.say(format_args!(
        "{instances} instances, {} users; tokens live for {} s",
        settings.users,
        LIFETIME.as_secs()
    ));
    println!("\n{}", Report::HEAD);
    let mut all = Report::default();
    for second in 1..=seconds {
        sleep(Duration::from_secs(1)).await;
        let mut report = Report::default();
        for instance in &mut fleet {
            report += instance.report().await?;
        }
        println!("{second:>4}  {report}");
        all += report;
    }
    println!(" all  {all}\n");

    let counts = server.counts();
    timeline.check(
        counts.reuse_detected == 0 && counts.refreshes_failed == 0,
        format_args!(
            "{} exchanges at the token service, and no refresh token came twice",
            counts.refreshes_ok
        ),
    )?;
    timeline.check(
        all.failed == 0 && all.calls > 0,
        format_args!("{} calls, and none failed", all.calls),
    )?;
    logout(&timeline, settings, &manager, &mut fleet).await?;
    for instance in fleet {
        instance.end().await?;
    }
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// A user leaves here, and is forgotten everywhere.
async fn logout(
    timeline: &Timeline,
    settings: &Settings,
    manager: &TokenManager,
    fleet: &mut [Instance],
) -> Result<(), Box<dyn Error>> {
    manager.disconnect(&settings.key(0)).await?;
    let clock = SystemClock::new();
    let left = clock.now();
    let since = || clock.now().since(left);
    for instance in fleet {
        while instance.serves(0).await? {
            if since() > Duration::from_secs(5) {
                return Err("a user who left is still served".into());
            }
        }
    }
    timeline.say(format_args!(
        "user 0 left, and {} ms later nobody served them any more",
        since().as_millis()
    ));
    Ok(())
}

/// A process of its own, which is asked by lines.
struct Instance {
    process: Child,
    asked: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Instance {
    fn start(settings: &Settings) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(std::env::current_exe()?)
            .envs(settings.to_env())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let asked = process.stdin.take().ok_or("no stdin")?;
        let answers = process.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            asked,
            answers: BufReader::new(answers).lines(),
            process,
        })
    }

    async fn ask(&mut self, line: &str) -> Result<String, Box<dyn Error>> {
        self.asked.write_all(format!("{line}\n").as_bytes()).await?;
        self.asked.flush().await?;
        let answer = self.answers.next_line().await?;
        Ok(answer.ok_or("an instance ended")?)
    }

    /// What it did since it was asked last.
    async fn report(&mut self) -> Result<Report, Box<dyn Error>> {
        self.ask("report").await?.parse()
    }

    /// Whether it has a token for a user.
    async fn serves(&mut self, user: usize) -> Result<bool, Box<dyn Error>> {
        Ok(self.ask(&format!("serves {user}")).await? == "yes")
    }

    async fn end(self) -> Result<(), Box<dyn Error>> {
        let Self {
            mut process, asked, ..
        } = self;
        drop(asked);
        match process.wait().await?.success() {
            true => Ok(()),
            false => Err("an instance failed".into()),
        }
    }
}

impl Settings {
    async fn manager(&self) -> Result<TokenManager, Box<dyn Error>> {
        let store = PostgresStore::builder(&self.url)
            .schema(&self.schema)
            .max_connections(8)
            .open()
            .await?;
        let store = SealedStore::open_shared(store, self.keys.clone()).await?;
        Ok(TokenManager::builder()
            .store(store)
            .provider(self.provider())
            .build()
            .await?)
    }

    fn key(&self, user: usize) -> GrantKey {
        GrantKey::new("demo", user.to_string())
    }
}
