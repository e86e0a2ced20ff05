//! A store is backed up while it is used, and restored on another machine:
//!
//! ```text
//! cargo run -p examples --bin backup
//! ```
//!
//! A token service runs in this process, and the two machines are two folders. What is printed is
//! asserted; the program fails otherwise. The docs of `tower_token::backup_and_migration` say what
//! a backup brings back, and what not.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use examples::timeline::Timeline;
use tower_token::testkit::AuthServer;
use tower_token::{
    ErrorKind, GrantKey, KeyRing, SealedStore, SledStore, TokenManager, TransferProgress,
};

const LIFETIME: Duration = Duration::from_secs(3);
const USERS: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let timeline = Timeline::new();
    let server = AuthServer::builder().access_ttl(LIFETIME).start()?;
    let folder = tempfile::tempdir()?;
    let [here, there, backup] = ["here", "there", "backup"].map(|name| folder.path().join(name));
    // Kept apart from the store, and from its backups.
    let keys = KeyRing::generate()?;

    timeline.part("One machine");
    let store = SealedStore::open(SledStore::open(&here).await?, keys.clone()).await?;
    let manager = start(&server, &store).await?;
    for user in 0..USERS {
        let consent = server.connect(&user.to_string());
        manager.connect(&key(user), consent.into()).await?;
    }
    manager.disconnect(&key(0)).await?;
    timeline.say(format_args!("{USERS} users connected, one left again"));
    let written = export(&store, &backup).await?;
    timeline.check(
        written == USERS as u64,
        format_args!("{written} records are in the backup, with the keyset and no outer key"),
    )?;
    manager.shutdown(Duration::from_secs(5)).await?;
    drop((manager, store));
    std::fs::remove_dir_all(&here)?;
    timeline.say("the machine is gone");

    timeline.part("Another machine");
    let refused = restore(&backup, &there, KeyRing::generate()?).await.err();
    timeline.check(
        is(refused.as_deref(), ErrorKind::Key),
        "with another outer key nothing is restored",
    )?;
    let cut = folder.path().join("cut");
    let bytes = std::fs::read(&backup)?;
    std::fs::write(&cut, &bytes[..bytes.len() - 1])?;
    let refused = restore(&cut, &folder.path().join("elsewhere"), keys.clone()).await;
    timeline.check(
        is(refused.err().as_deref(), ErrorKind::InvalidExport),
        "a backup that lacks its last byte is not taken for whole",
    )?;
    let store = restore(&backup, &there, keys).await?;
    let manager = start(&server, &store).await?;
    tokio::time::sleep(LIFETIME).await;
    let mut served = 0;
    for user in 1..USERS {
        served += usize::from(manager.token(&key(user)).await.is_ok());
    }
    timeline.check(
        served == USERS - 1 && server.counts().reuse_detected == 0,
        format_args!("{served} users are served with tokens that were refreshed, without a login"),
    )?;
    let gone = manager.token(&key(0)).await.err();
    timeline.check(
        gone.is_some_and(|error| error.kind() == ErrorKind::NotConnected),
        "the one who left is gone",
    )?;
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// Writes the store to a file; how many records it has.
async fn export(store: &SealedStore, path: &Path) -> Result<u64, Box<dyn Error>> {
    let mut file = File::create_new(path)?;
    let mut export = store.export();
    while let Some(chunk) = export.chunk().await? {
        file.write_all(&chunk)?;
    }
    // A backup is one when it is on the disk.
    file.sync_all()?;
    Ok(export.progress().written)
}

/// Makes a store of what is in a file.
async fn restore(path: &Path, to: &Path, keys: KeyRing) -> Result<SealedStore, Box<dyn Error>> {
    let rows = SledStore::open(to).await?;
    let mut import = SealedStore::builder().restore(rows, keys).await?;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => {
                let store = import.finish().await?;
                let TransferProgress {
                    unreadable,
                    blocked,
                    ..
                } = import.progress();
                return match unreadable + blocked {
                    0 => Ok(store),
                    rows => Err(format!("{rows} rows could not be restored").into()),
                };
            }
            n => import.write(&buffer[..n]).await?,
        }
    }
}

async fn start(server: &AuthServer, store: &SealedStore) -> Result<TokenManager, Box<dyn Error>> {
    let manager = TokenManager::builder()
        .store(store.clone())
        .provider(server.provider("demo"))
        .build()
        .await?;
    Ok(manager)
}

fn key(user: usize) -> GrantKey {
    GrantKey::new("demo", user.to_string())
}

fn is(error: Option<&(dyn Error + 'static)>, kind: ErrorKind) -> bool {
    let error = error.and_then(|error| error.downcast_ref::<tower_token::Error>());
    error.is_some_and(|error| error.kind() == kind)
}
