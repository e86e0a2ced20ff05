//! Tokens in an application's own table of users, here a JSON file:
//!
//! ```text
//! cargo run -p examples --bin custom-store
//! ```
//!
//! It implements three calls, and what it is given is sealed. One more, `keys`, would let idle
//! users be looked after, too; for several processes the table would have to compare: see
//! `tower_token::store::custom`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use examples::timeline::Timeline;
use parking_lot::Mutex;
use tower_token::store::custom::{SealedToken, SingleProcess, TokenKey, UserTokenStore};
use tower_token::testkit::{AuthServer, ManualClock};
use tower_token::{
    GrantKey, KeyRing, SealedStore, StoreError, StoreErrorKind, Timestamp, TokenManager,
};

/// A table of the application: for each key of a token its version, when it is due, and itself.
struct UsersFile {
    path: PathBuf,
    rows: Mutex<Rows>,
}

type Rows = BTreeMap<String, (u64, Option<u64>, Vec<u8>)>;

impl UsersFile {
    fn open(path: PathBuf) -> Result<Self, Box<dyn Error>> {
        // Only a file that is not there is an empty one.
        let text = if path.exists() {
            fs::read(&path)?
        } else {
            b"{}".to_vec()
        };
        let rows = Mutex::new(serde_json::from_slice(&text)?);
        Ok(Self { path, rows })
    }

    /// Changes the rows, and the file as a whole: the old one, or the new one.
    fn change(&self, change: impl FnOnce(&mut Rows)) -> Result<(), StoreError> {
        let mut rows = self.rows.lock();
        let mut next = rows.clone();
        change(&mut next);
        let beside = self.path.with_extension("new");
        let failed =
            |error| StoreError::new(StoreErrorKind::Unavailable, "not written").with_source(error);
        let text = serde_json::to_vec(&next).map_err(io::Error::from);
        let written = text.and_then(|text| fs::write(&beside, text));
        written
            .and_then(|()| fs::rename(&beside, &self.path))
            .map_err(failed)?;
        *rows = next;
        Ok(())
    }
}

impl UserTokenStore for UsersFile {
    async fn store(&self, key: &TokenKey, token: SealedToken) -> Result<(), StoreError> {
        let due = token.due.map(|due| due.as_unix_millis());
        let row = (token.version, due, token.bytes.to_vec());
        self.change(|rows| drop(rows.insert(key.to_string(), row)))
    }

    async fn retrieve(&self, key: &TokenKey) -> Result<Option<SealedToken>, StoreError> {
        let row = self.rows.lock().get(key.as_str()).cloned();
        Ok(row.map(|(version, due, bytes)| {
            SealedToken::new(version, due.map(Timestamp::from_unix_millis), bytes)
        }))
    }

    async fn clear(&self, key: &TokenKey) -> Result<(), StoreError> {
        self.change(|rows| drop(rows.remove(key.as_str())))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (timeline, clock) = (Timeline::new(), ManualClock::new());
    let server = AuthServer::builder().clock(clock.clone()).start()?;
    let (folder, ring) = (tempfile::tempdir()?, KeyRing::generate()?);
    let path = folder.path().join("users.json");
    let ada = GrantKey::new("demo", "ada");
    for start in 1..=3 {
        let table = SingleProcess::with_clock(UsersFile::open(path.clone())?, clock.clone());
        let store = SealedStore::open(table, ring.clone()).await?;
        let builder = TokenManager::builder().store(store).clock(clock.clone());
        let manager = builder.provider(server.provider("demo")).build().await?;
        if start == 1 {
            manager.connect(&ada, server.connect("ada").into()).await?;
        }
        let token = manager.token(&ada).await?;
        let rows: Rows = serde_json::from_slice(&fs::read(&path)?)?;
        let begin = &token.expose().as_bytes()[..16];
        let plain = |text: &[u8]| text.windows(16).any(|some| some == begin);
        let sealed = rows.len() == 2 && !rows.values().any(|(_, _, bytes)| plain(bytes));
        timeline.check(
            sealed,
            format_args!("start {start}: a token, sealed in the file"),
        )?;
        manager.shutdown(Duration::from_secs(5)).await?;
        clock.advance(Duration::from_secs(24 * 3_600));
    }
    let counts = server.counts();
    let once = counts.refreshes_ok == 2 && counts.reuse_detected == 0;
    timeline.check(
        once,
        "three starts, two refreshes, no refresh token sent twice",
    )
}
