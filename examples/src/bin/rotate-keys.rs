//! A store's keys are changed, all of them, while its users are served:
//!
//! ```text
//! cargo run -p examples --bin rotate-keys
//! ```
//!
//! A token service runs in this process, whose access tokens live for two seconds, so that
//! there is always a refresh under way. What is printed is asserted; the program fails
//! otherwise. The docs of `KeyRotation` say why each step is where it is.
//!
//! With `-- generate` it only prints a new outer key, for `TOWER_TOKEN_KEYS` or a file.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use examples::timeline::Timeline;
use tokio::time::sleep;
use tower_token::testkit::AuthServer;
use tower_token::{
    DataKeyState, ErrorKind, GrantKey, KeyRing, KeyRotation, Recovery, SealedStore, SledStore,
    TokenManager,
};

/// How soon every instance sees a change of the keyset: a minute by default.
const POLL: Duration = Duration::from_secs(2);
const LIFETIME: Duration = Duration::from_secs(2);
const USERS: usize = 200;
/// Those who use the service just now.
const ACTIVE: usize = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("generate") {
        println!("{}", KeyRing::generate()?.encode().expose());
        return Ok(());
    }
    let timeline = Timeline::new();
    let server = AuthServer::builder().access_ttl(LIFETIME).start()?;
    let folder = tempfile::tempdir()?;
    let rows = Arc::new(SledStore::open(folder.path()).await?);
    let old = KeyRing::generate()?;

    timeline.part("Users are connected, and served");
    let (manager, store) = start(&server, &rows, old.clone()).await?;
    for user in 0..USERS {
        let consent = server.connect(&user.to_string());
        manager.connect(&key(user), consent.into()).await?;
    }
    let traffic = Traffic::start(manager);
    timeline.say(format_args!(
        "{USERS} users; {ACTIVE} are active, and their tokens are refreshed all the time"
    ));

    timeline.part("Change the data key");
    let rotation = store.key_rotation();
    let former = rotation.data_keys().await?[0];
    let new = rotation.add_key().await?;
    timeline.say(format_args!(
        "data key {} added; it seals nothing yet",
        new.id
    ));
    let early = rotation.activate(new.id).await.err();
    let early = early.filter(|error| error.kind() == ErrorKind::TooSoon);
    let early = early.ok_or("it became active too soon")?;
    timeline.say(format_args!("  at once? {early}"));
    until(|| rotation.activate(new.id)).await?;
    timeline.say(format_args!(
        "data key {} is active; {} opens what it sealed",
        new.id, former.id
    ));
    sleep(POLL).await;
    let rewrapped = rewrap(&rotation).await?;
    let rows_by_key = rotation.rows_by_key().await?;
    timeline.check(
        rewrapped > 0 && rows_by_key.into_iter().eq([(new.id, USERS as u64)]),
        format_args!("{rewrapped} rows sealed anew, the others by their refreshes: all under it"),
    )?;
    until(|| rotation.destroy(former.id)).await?;
    let state = rotation.data_keys().await?[0].state;
    timeline.check(
        state == DataKeyState::Destroyed,
        format_args!("data key {} destroyed", former.id),
    )?;

    timeline.part("Change the outer key");
    traffic.stop(&timeline).await?;
    let new = KeyRing::generate()?;
    let (manager, store) = start(&server, &rows, new.clone().with_older(old.clone())?).await?;
    let traffic = Traffic::start(manager);
    timeline.say("the service was started again, with the new key and the old one");
    store.key_rotation().rewrap_keyset().await?;
    timeline.say("the keyset is wrapped by the new one: one row was written");
    sleep(POLL).await;
    traffic.stop(&timeline).await?;
    let refused = SealedStore::open(Arc::clone(&rows), old).await.err();
    let refused = refused.filter(|error| error.kind() == ErrorKind::Key);
    timeline.check(refused.is_some(), "nothing starts with the old one")?;
    let (manager, _) = start(&server, &rows, new).await?;
    let mut served = 0;
    for user in 0..USERS {
        served += usize::from(manager.token(&key(user)).await.is_ok());
    }
    timeline.check(
        served == USERS && server.counts().reuse_detected == 0,
        format_args!("with the new one all {served} users are there, without a login"),
    )?;
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// What a service does when it starts. It keeps its store, to rotate the keys.
async fn start(
    server: &AuthServer,
    rows: &Arc<SledStore>,
    keys: KeyRing,
) -> Result<(TokenManager, SealedStore), Box<dyn Error>> {
    let store = SealedStore::builder().key_poll(POLL);
    let store = store.open(Arc::clone(rows), keys).await?;
    let manager = TokenManager::builder()
        .store(store.clone())
        .provider(server.provider("demo"))
        .build()
        .await?;
    Ok((manager, store))
}

fn key(user: usize) -> GrantKey {
    GrantKey::new("demo", user.to_string())
}

/// Does a step as soon as it may be done.
async fn until<S>(step: impl Fn() -> S) -> Result<(), tower_token::Error>
where
    S: Future<Output = Result<(), tower_token::Error>>,
{
    loop {
        match step().await {
            Err(error) if error.kind() == ErrorKind::TooSoon => match error.recovery() {
                Recovery::Retry { after: Some(after) } => sleep(after).await,
                _ => return Err(error),
            },
            done => return done,
        }
    }
}

/// Seals everything anew, a few rows at a time; how many there were.
async fn rewrap(rotation: &KeyRotation) -> Result<u64, tower_token::Error> {
    let mut rewrapped = 0;
    loop {
        let mut pass = rotation.rewrap().rows_per_step(10);
        while pass.step().await? {
            sleep(Duration::from_millis(10)).await;
        }
        rewrapped += pass.progress().rewrapped;
        // One whose refresh was under way was left to it.
        if pass.progress().left == 0 {
            return Ok(rewrapped);
        }
    }
}

/// Asks for one active user's token after the other.
struct Traffic {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Result<(), tower_token::Error>>,
}

impl Traffic {
    fn start(manager: TokenManager) -> Self {
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&served));
        let task = tokio::spawn(async move {
            for user in (0..ACTIVE).cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                manager.token(&key(user)).await?;
                count.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        });
        Self { stop, served, task }
    }

    async fn stop(self, timeline: &Timeline) -> Result<(), Box<dyn Error>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await??;
        let served = self.served.load(Ordering::Relaxed);
        timeline.check(
            served > 0,
            format_args!("{served} tokens were asked for meanwhile, and none failed"),
        )
    }
}
