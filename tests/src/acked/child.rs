//! What the child does.

#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tower_token::{
    ByteStore, Clock as _, Expected, RedbStore, SaveOutcome, SledStore, StoreError, SystemClock,
    Version,
};

use super::{Grants, KEYS, digest, random, row_key};
use crate::BoxError;

/// How many save at a time.
const TASKS: usize = 8;

/// How long a claim lasts: longer than a look.
const LONG: Duration = Duration::from_secs(3_600);

/// What a child is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// To save rows until it is killed.
    Write,
    /// To say what it finds in each row.
    Look,
}

impl Task {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Look => "look",
        }
    }
}

impl FromStr for Task {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        match text {
            "write" => Ok(Self::Write),
            "look" => Ok(Self::Look),
            _ => Err("write or look".into()),
        }
    }
}

/// Does `task` on the store of this name in `folder`.
pub async fn serve(task: Task, store: &str, folder: &str) -> Result<(), BoxError> {
    match store {
        "sled" => serve_on(task, SledStore::open(folder)).await,
        "redb" => serve_on(task, RedbStore::open(folder)).await,
        _ => Err("the store is sled or redb".into()),
    }
}

async fn serve_on<S: ByteStore>(
    task: Task,
    open: impl Future<Output = Result<S, StoreError>>,
) -> Result<(), BoxError> {
    // Before, so that nothing but the store's open comes between the two lines.
    let grants = Arc::new(Grants::new().await?);
    println!("opening");
    let store = match open.await {
        Ok(store) => Arc::new(store),
        Err(error) => {
            println!("refused {:?} {error}", error.kind());
            return Err("the store was not opened".into());
        }
    };
    println!("ready");
    match task {
        Task::Write => {
            let writers: Vec<_> = (0..TASKS)
                .map(|_| tokio::spawn(write(Arc::clone(&store), Arc::clone(&grants))))
                .collect();
            for writer in writers {
                writer.await??;
            }
        }
        Task::Look => {
            let numbers: HashMap<_, _> = (0..KEYS).map(|key| (row_key(key), key)).collect();
            let now = SystemClock::new().now();
            // What cannot be claimed is seen below.
            let claimed = store.claim_due(2 * KEYS, LONG).await.unwrap_or_default();
            for (key, row) in claimed {
                println!("claimed {} {}", numbers[&key], row.version.0);
            }
            for key in 0..KEYS {
                match store.load(&row_key(key)).await {
                    // How a row is told that lost a part, so that it can be replaced.
                    Ok(Some(row)) if row.bytes.is_empty() => println!("unreadable {key}"),
                    Ok(Some(row)) => {
                        let is_due = row.due.is_some_and(|due| due <= now);
                        let what = if is_due { "due" } else { "found" };
                        println!("{what} {key} {} {}", row.version.0, digest(&row.bytes));
                    }
                    Ok(None) => println!("absent {key}"),
                    Err(_) => println!("unreadable {key}"),
                }
            }
            store.close().await;
            println!("done");
        }
    }
    Ok(())
}

async fn write<S: ByteStore>(store: Arc<S>, grants: Arc<Grants>) -> Result<(), BoxError> {
    loop {
        let key = random(KEYS as u64) as usize;
        let found = store.load(&row_key(key)).await?;
        let expected = found.map_or(Expected::Absent, |row| Expected::Version(row.version));
        // Two that expect the same: one of them at most may win, whoever else is at it.
        let (one, other) = tokio::join!(
            save(&*store, &grants, key, expected),
            save_or_remove(&*store, &grants, key, expected)
        );
        one?;
        other?;
    }
}

/// One in eight is a removal.
async fn save_or_remove(
    store: &impl ByteStore,
    grants: &Grants,
    key: usize,
    expected: Expected,
) -> Result<(), BoxError> {
    match expected {
        Expected::Version(version) if random(8) == 0 => {
            println!("removing {key} {}", version.0);
            match store.purge(&row_key(key), version).await {
                Ok(true) => println!("removed {key} {}", version.0),
                Ok(false) => {}
                Err(_) => println!("failed {key}"),
            }
            Ok(())
        }
        _ => save(store, grants, key, expected).await,
    }
}

async fn save(
    store: &impl ByteStore,
    grants: &Grants,
    key: usize,
    expected: Expected,
) -> Result<(), BoxError> {
    // From 1 KiB to 64 KiB, as many small ones as large ones.
    let len = (1 << 10) << random(6);
    let row = grants.grant(len + random(len as u64) as usize).await?;
    let digest = digest(row.bytes());
    let expects = match expected {
        Expected::Absent => 0,
        Expected::Version(Version(version)) => version,
    };
    println!("begun {key} {expects} {digest}");
    match store.save(&row_key(key), row, expected).await {
        Ok(SaveOutcome::Saved(Version(version))) => {
            println!("saved {key} {expects} {digest} {version}");
        }
        Ok(SaveOutcome::Conflict) => {}
        Ok(SaveOutcome::Unknown) | Err(_) => println!("failed {key}"),
    }
    Ok(())
}
