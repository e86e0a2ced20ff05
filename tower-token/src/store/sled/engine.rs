//! sled itself; named in this file only.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sled::Db;

use super::super::contract::{StoreError, StoreErrorKind};
use super::super::embedded::{Change, Disk, Engine, Folder, damaged, from_io, guarded};

pub(in super::super) struct Sled {
    db: Db,
    /// Our own handle of sled's file, to sync it.
    file: File,
    disk: Arc<dyn Disk>,
}

impl Engine for Sled {
    const NAME: &'static str = "sled";
    const FILE: &'static str = "db";
    /// From about 8 KB on sled moves values to files that it never syncs.
    const MAX_VALUE: usize = 4_096;
    /// What is written can be read at once, and by everybody.
    type Round = ();

    fn open(folder: &Folder) -> Result<Self, StoreError> {
        Ok(Self {
            db: open_db(folder.path())?,
            file: folder.file::<Self>()?,
            disk: folder.disk(),
        })
    }

    /// A kill while sled writes a snapshot leaves a file that stops the next open (sled 1527,
    /// 1533). It was never renamed, so nothing in it counts.
    fn tidy(folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn is_new(&self) -> Result<bool, StoreError> {
        // Besides sled's own tree there may be others; we have none.
        Ok(self.db.is_empty() && self.db.tree_names().len() <= 1)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = again(|| self.db.get(key))?;
        Ok(value.map(Bytes::from_owner))
    }

    fn pick<T>(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
        pick: impl Fn(&[u8]) -> Option<T>,
        found: &mut Vec<T>,
    ) -> Result<(), StoreError> {
        let mut keys = self.db.range::<&[u8], _>(range).keys();
        while found.len() < limit
            && let Some(key) = again(|| keys.next().transpose())?
        {
            found.extend(pick(&key));
        }
        Ok(())
    }

    fn begin(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn look(&self, (): &(), key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.get(key)
    }

    /// Not as a batch: one that fails in the middle, at a page that cannot be read, is kept in
    /// part, and not from its beginning.
    fn write(&self, (): &mut (), changes: Vec<Change>) -> Result<(), StoreError> {
        for change in changes {
            let Change { key, value, .. } = &change;
            let write = || {
                again(|| match value {
                    Some(value) => self.db.insert(key, &value[..]),
                    None => self.db.remove(key),
                })
            };
            if change.is_hint {
                // If its page is lost, the rest is not to be lost as well; if more than that
                // failed, so does what follows.
                let _ = guarded(write);
            } else {
                write()?;
            }
        }
        Ok(())
    }

    /// sled's flush ends in `sync_file_range` on Linux, which a power cut undoes (sled 1452).
    fn commit(&self, (): ()) -> Result<(), StoreError> {
        self.db.flush().map_err(from_sled)?;
        self.disk.sync(&self.file).map_err(from_io)
    }
}

fn open_db(folder: &Path) -> Result<Db, StoreError> {
    let config = sled::Config::new()
        .path(folder)
        // The writer thread flushes; a second flusher would only compete with it.
        .flush_every_ms(None);
    let mut tries = 0;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            // We hold our own lock, so this is a former handle of this process that has
            // not let go yet.
            Err(sled::Error::Io(error)) if is_lock(&error) && tries < 40 => {
                tries += 1;
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(from_sled(error)),
        }
    }
}

/// sled wraps its lock error in text.
fn is_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.to_string().contains("could not acquire lock")
}

/// sled cleans up on the way, and tells whoever comes by that it met a damaged page: once for
/// each. What it was asked for may be done by then, and can be done again.
fn again<T>(mut ask: impl FnMut() -> sled::Result<T>) -> Result<T, StoreError> {
    match ask() {
        Err(sled::Error::Corruption { .. }) => ask(),
        other => other,
    }
    .map_err(from_sled)
}

fn from_sled(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(error) => from_io(error),
        sled::Error::Unsupported(_) => StoreError::new(
            StoreErrorKind::Damaged,
            "the token store is of another version of sled",
        )
        .with_source(error),
        sled::Error::Corruption { .. } => damaged("the token store is damaged").with_source(error),
        _ => StoreError::new(
            StoreErrorKind::Unavailable,
            "the token store cannot be read or written: look at its disk",
        )
        .with_source(error),
    }
}
