//! Where sessions live: a file each in the data folder, so that they outlive the process.
//!
//! A service of yours has a database for that; tower-sessions knows several.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use examples::private::write_private;
use tower_sessions::SessionStore;
use tower_sessions::cookie::time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

/// Sessions in a folder that only its owner can read.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    folder: PathBuf,
}

impl Sessions {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Ids are base64 for URLs, so they name files.
    fn file(&self, id: &Id) -> PathBuf {
        self.folder.join(id.to_string())
    }

    async fn write(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|error| Error::Encode(error.to_string()))?;
        let path = self.file(&record.id);
        let written = tokio::task::spawn_blocking(move || write_private(&path, &bytes)).await;
        written
            .map_err(|error| Error::Backend(error.to_string()))?
            .map_err(|error| backend(&error))
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        while self.file(&record.id).exists() {
            record.id = Id::default();
        }
        self.write(record).await
    }

    async fn save(&self, record: &Record) -> Result<()> {
        // A request that began before a sign-out must not bring the session back.
        match self.file(&record.id).exists() {
            true => self.write(record).await,
            false => Ok(()),
        }
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let record = read(&self.file(id)).await?;
        Ok(record.filter(|record| record.expiry_date > OffsetDateTime::now_utc()))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        remove(&self.file(id)).await
    }
}

/// A file that is not a session counts as none.
async fn read(path: &Path) -> Result<Option<Record>> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(backend(&error)),
    }
}

async fn remove(path: &Path) -> Result<()> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(backend(&error)),
        _ => Ok(()),
    }
}

fn backend(error: &io::Error) -> Error {
    Error::Backend(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(user: &str, seconds: i64) -> Record {
        let now = OffsetDateTime::now_utc();
        Record {
            id: Id::default(),
            data: [(String::from("user"), user.into())].into(),
            expiry_date: match u64::try_from(seconds) {
                Ok(seconds) => now + Duration::from_secs(seconds),
                Err(_) => now - Duration::from_secs(seconds.unsigned_abs()),
            },
        }
    }

    #[tokio::test]
    async fn a_session_outlives_its_store_and_not_its_end() {
        let home = tempfile::tempdir().unwrap();
        let store = || Sessions::new(home.path().to_owned());
        let (mut kept, mut over) = (record("ada", 60), record("ada", -1));
        store().create(&mut kept).await.unwrap();
        store().create(&mut over).await.unwrap();
        assert_eq!(store().load(&kept.id).await.unwrap(), Some(kept.clone()));
        assert_eq!(store().load(&over.id).await.unwrap(), None);
        store().delete(&kept.id).await.unwrap();
        store().save(&kept).await.unwrap();
        assert_eq!(store().load(&kept.id).await.unwrap(), None);
    }
}
