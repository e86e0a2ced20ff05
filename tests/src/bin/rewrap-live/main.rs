//! Rotates the data key twice, and destroys the former ones, while many grants are refreshed
//! and read as fast as that goes.
//!
//! ```text
//! cargo run --release -p tests --bin rewrap-live -- --grants 20000
//! ```
//!
//! One sled store, on which three instances stand: two that refresh, and one that reads. Each
//! looks at the keyset by itself. At the end the store is opened anew, and has to hold the
//! newest token of every grant, under the active key. The last line counts what went wrong;
//! all of it has to be zero.

#![allow(clippy::print_stdout)]

mod traffic;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tests::BoxError;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_token::{
    DataKeyState, KeyRing, KeyRotation, Provider, SealedStore, SledStore, TokenManager,
};

use self::traffic::{Meter, Service, key, number, read, refresh};

/// Short, so that a rotation takes seconds. Every instance has the same.
const POLL: Duration = Duration::from_millis(500);
/// How long the rates before and after are taken.
const WINDOW: Duration = Duration::from_secs(2);
/// Between two steps of a rewrap: what leaves the store to its users.
const PAUSE: Duration = Duration::from_millis(5);
const REFRESHERS: usize = 16;
const READERS: usize = 4;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool, BoxError> {
    let mut arguments = std::env::args().skip(1);
    let grants = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => 20_000,
        (Some("--grants"), Some(grants)) => grants.parse()?,
        _ => return Err("usage: rewrap-live [--grants N]".into()),
    };
    let folder = tempfile::tempdir()?;
    let ring = KeyRing::generate()?;
    let service = Service::new(grants);
    let (meter, rewrapped) = live(folder.path(), &ring, &service).await?;
    let settled = settled(folder.path(), &ring, &service, &meter).await?;
    println!(
        "rows {} rewrapped {rewrapped} failed_reads {} lost_writes {} under_retired {}",
        settled.rows,
        meter.failed_reads(),
        settled.lost_writes,
        settled.under_retired
    );
    let sound = settled.rows == grants as u64
        && rewrapped > 0
        && meter.failed_reads() == 0
        && settled.lost_writes == 0
        && settled.under_retired == 0;
    Ok(sound)
}

/// A process, as far as its store can tell.
async fn instance(
    rows: &Arc<SledStore>,
    ring: &KeyRing,
    service: &Service,
    cached: usize,
) -> Result<(TokenManager, KeyRotation), BoxError> {
    let store = SealedStore::builder()
        .key_poll(POLL)
        .open(Arc::clone(rows), ring.clone())
        .await?;
    let rotation = store.key_rotation();
    let manager = TokenManager::builder()
        .store(store)
        .provider(Provider::new("p", service.clone()))
        .cache_capacity(cached)
        .build()
        .await?;
    Ok((manager, rotation))
}

/// Two rotations under traffic; how many rows were rewrapped.
async fn live(folder: &Path, ring: &KeyRing, service: &Service) -> Result<(Meter, u64), BoxError> {
    let rows = Arc::new(SledStore::open(folder).await?);
    let (ours, rotation) = instance(&rows, ring, service, service.grants()).await?;
    let (siblings, _) = instance(&rows, ring, service, service.grants()).await?;
    // Remembers next to nothing, so that it reads and opens what is stored.
    let (reading, _) = instance(&rows, ring, service, 1).await?;
    let meter = Meter::new(service.grants());
    connect(&ours, service).await?;
    println!("{} grants connected", service.grants());

    let mut traffic = JoinSet::new();
    for at in 0..REFRESHERS {
        let manager = if at % 2 == 0 { &ours } else { &siblings };
        traffic.spawn(refresh(manager.clone(), meter.clone()));
    }
    for _ in 0..READERS {
        traffic.spawn(read(reading.clone(), meter.clone()));
    }
    let window = meter.window();
    sleep(WINDOW).await;
    window.print("before");
    let mut rewrapped = 0;
    for time in ["first", "second"] {
        let window = meter.window();
        rewrapped += rotate(&rotation).await?;
        window.print(&format!("during the {time} rotation"));
    }
    let window = meter.window();
    sleep(WINDOW).await;
    window.print("after");
    meter.stop();
    while let Some(ended) = traffic.join_next().await {
        ended?;
    }
    for manager in [ours, siblings, reading] {
        manager.shutdown(Duration::from_secs(10)).await?;
    }
    Ok((meter, rewrapped))
}

async fn connect(manager: &TokenManager, service: &Service) -> Result<(), BoxError> {
    let mut connects = JoinSet::new();
    for at in 0..service.grants() {
        let (manager, tokens) = (manager.clone(), Service::tokens(at, 0));
        connects.spawn(async move { manager.connect(&key(at), tokens).await });
        if connects.len() >= 256
            && let Some(done) = connects.join_next().await
        {
            done??;
        }
    }
    while let Some(done) = connects.join_next().await {
        done??;
    }
    Ok(())
}

/// As the runbook has it; how many rows were rewrapped.
async fn rotate(rotation: &KeyRotation) -> Result<u64, BoxError> {
    let a_little = Duration::from_millis(20);
    let new = rotation.add_key().await?;
    sleep(POLL + a_little).await;
    rotation.activate(new.id).await?;
    sleep(POLL + a_little).await;
    let (mut rewrapped, mut passes) = (0, 0);
    loop {
        let mut rewrap = rotation.rewrap();
        while rewrap.step().await? {
            sleep(PAUSE).await;
        }
        passes += 1;
        let progress = rewrap.progress();
        rewrapped += progress.rewrapped;
        println!(
            "data key {}, pass {passes}: {} rows, {} rewrapped, {} left, {} unreadable",
            new.id, progress.examined, progress.rewrapped, progress.left, progress.unreadable
        );
        if progress.left == 0 {
            break;
        }
    }
    sleep(POLL + a_little).await;
    for key in rotation.data_keys().await? {
        if key.state == DataKeyState::Retired {
            rotation.destroy(key.id).await?;
            println!("data key {} destroyed", key.id);
        }
    }
    Ok(rewrapped)
}

struct Settled {
    rows: u64,
    lost_writes: u64,
    under_retired: u64,
}

/// What a process finds that starts after all of it.
async fn settled(
    folder: &Path,
    ring: &KeyRing,
    service: &Service,
    meter: &Meter,
) -> Result<Settled, BoxError> {
    let rows = Arc::new(SledStore::open(folder).await?);
    let (manager, rotation) = instance(&rows, ring, service, service.grants()).await?;
    let mut lost_writes = service.reused();
    for at in 0..service.grants() {
        let stored = manager.token(&key(at)).await;
        let stored = stored.ok().and_then(|token| number(at, token.expose()));
        let newest = stored == Some(service.issued(at)) && stored >= Some(meter.newest(at));
        lost_writes += u64::from(!newest);
    }
    let keys = rotation.data_keys().await?;
    let active = keys.iter().find(|key| key.state == DataKeyState::Active);
    let by_key = rotation.rows_by_key().await?;
    let rows: u64 = by_key.values().sum();
    let under_active = active.and_then(|key| by_key.get(&key.id));
    manager.shutdown(Duration::from_secs(10)).await?;
    Ok(Settled {
        rows,
        lost_writes,
        under_retired: rows - under_active.copied().unwrap_or(0),
    })
}
