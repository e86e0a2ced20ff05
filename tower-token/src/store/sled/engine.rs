//! sled itself; named in this file only.

use std::fs::{self, File};
use std::io;
use std::iter;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fs2::FileExt as _;
use sled::{Batch, Db};

use super::super::contract::{
    Expected, Group, Row, RowKey, SealedRow, StoreError, StoreErrorKind, Version,
};
use super::layout::{Head, chunk_key, cut, due_first, due_key, due_row, due_until};
use crate::clock::Timestamp;

/// Held for as long as the folder is open; its file stays.
const LOCK: &str = "tower-token.lock";
/// Marks a folder as ours, and says how rows lie in it.
const FORMAT_KEY: &[u8] = b"tower-token format";
const FORMAT: &[u8] = b"2";
/// Every version up to this one may have been used.
const VERSIONS_KEY: &[u8] = b"tower-token versions";
/// How many versions are set aside at a time.
const VERSIONS: u64 = 1 << 16;

/// An open folder. Fields drop in order: the lock goes last.
pub(super) struct Engine {
    db: Db,
    /// Our own handle of sled's file, to sync it.
    file: File,
    next_version: AtomicU64,
    reserved: AtomicU64,
    _lock: File,
}

impl Engine {
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let made = make_folder(folder)
            .map_err(|error| unavailable(folder, "cannot be made").with_source(error))?;
        // Another program's database is not for us to tidy up.
        let ours = folder.join(LOCK).exists();
        let lock = lock(folder)?;
        if ours {
            remove_unfinished_snapshots(folder)
                .map_err(|error| unavailable(folder, "cannot be cleaned").with_source(error))?;
        }
        // Damaged files make sled panic. `panic = "abort"` would defeat this.
        let db = catch_unwind(AssertUnwindSafe(|| open_db(folder)))
            .unwrap_or_else(|_| Err(damaged(folder, "sled gave up reading it")))?;
        let file = File::options()
            .write(true)
            .open(folder.join("db"))
            .map_err(|error| unavailable(folder, "has no db file").with_source(error))?;
        let engine = Self {
            db,
            file,
            next_version: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            _lock: lock,
        };
        engine.check_format(folder)?;
        engine.sync()?;
        // The files' own entries in their folders must outlive a power cut, too.
        for folder in iter::once(folder).chain(made.iter().map(PathBuf::as_path)) {
            sync_folder(folder)
                .map_err(|error| unavailable(folder, "cannot be synced").with_source(error))?;
        }
        Ok(engine)
    }

    fn check_format(&self, folder: &Path) -> Result<(), StoreError> {
        match self.db.get(FORMAT_KEY).map_err(from_sled)? {
            Some(format) if format == FORMAT => {}
            Some(_) => return Err(damaged(folder, "it is of another version of tower-token")),
            None if self.db.is_empty() => {
                self.db.insert(FORMAT_KEY, FORMAT).map_err(from_sled)?;
            }
            None => {
                return Err(damaged(
                    folder,
                    "it is a sled database, but not a token store",
                ));
            }
        }
        let used = self.db.get(VERSIONS_KEY).map_err(from_sled)?;
        let used = used.and_then(|value| Some(u64::from_be_bytes(value.as_ref().try_into().ok()?)));
        self.next_version
            .store(used.unwrap_or(0) + 1, Ordering::Relaxed);
        self.reserved.store(used.unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let mut last = None;
        // A row that is written meanwhile leaves its old chunks behind: the head tells.
        for _ in 0..16 {
            let Some(value) = self.db.get(key.as_bytes()).map_err(from_sled)? else {
                return Ok(None);
            };
            let head = head_of(&value);
            if let Some(bytes) = self.assemble(key, &head)? {
                return Ok(Some(Row::new(head.version, head.due, bytes)));
            }
            last = Some((head.version, head.due));
        }
        // A part of it is missing. What does not open can still be replaced.
        Ok(last.map(|(version, due)| Row::new(version, due, Bytes::new())))
    }

    /// The row that `head` begins, or nothing if some of its chunks are gone.
    fn assemble(&self, key: &RowKey, head: &Head<'_>) -> Result<Option<Bytes>, StoreError> {
        let mut bytes = head.inline.to_vec();
        for index in 0..head.chunks {
            match self
                .db
                .get(chunk_key(key, head.version, index))
                .map_err(from_sled)?
            {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
        Ok(Some(Bytes::from(bytes)))
    }

    pub(super) fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.rows(self.db.scan_prefix(group.as_bytes()), usize::MAX)
    }

    pub(super) fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(&key.as_bytes()[..]));
        self.rows(self.db.range::<&[u8], _>((from, Bound::Unbounded)), limit)
    }

    /// Every row that was due by `now`, the first one first.
    pub(super) fn due(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = Result<RowKey, StoreError>> + use<> {
        let until = due_until(now + Duration::from_millis(1));
        self.db
            .range(due_first()..&until)
            .keys()
            .map(|entry| entry.map_err(from_sled))
            .filter_map(|entry| entry.map(|entry| due_row(&entry)).transpose())
    }

    fn rows(&self, values: sled::Iter, limit: usize) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let mut rows = Vec::new();
        for entry in values {
            if rows.len() == limit {
                break;
            }
            let (key, _) = entry.map_err(from_sled)?;
            // Chunks and our own marks have keys of other lengths.
            let Some(key) = RowKey::from_bytes(&key) else {
                continue;
            };
            if let Some(row) = self.load(&key)? {
                rows.push((key, row));
            }
        }
        Ok(rows)
    }

    /// Applies a save, or a removal, without making it durable. Only the writer thread calls
    /// this, so nothing comes between the look and the write.
    pub(super) fn apply(
        &self,
        key: &RowKey,
        row: Option<&SealedRow>,
        expected: Expected,
    ) -> Result<Option<Version>, StoreError> {
        let old = self.db.get(key.as_bytes()).map_err(from_sled)?;
        let old = old.as_deref().map(head_of);
        if !expected.matches(old.as_ref().map(|head| head.version)) {
            return Ok(None);
        }
        let version = self.take_version()?;
        let mut batch = Batch::default();
        if let Some(row) = row {
            let (head, chunks) = cut(version, row);
            let moved = old.as_ref().and_then(|old| old.due) != row.due();
            if chunks.is_empty() && !moved && old.as_ref().is_none_or(|old| old.chunks == 0) {
                // Not a batch: that takes a lock which every reader shares.
                self.db.insert(key.as_bytes(), head).map_err(from_sled)?;
                return Ok(Some(version));
            }
            for (index, chunk) in (0u16..).zip(chunks) {
                batch.insert(chunk_key(key, version, index), chunk);
            }
            if let Some(old) = old {
                forget(&mut batch, key, &old);
            }
            if let Some(due) = row.due() {
                batch.insert(due_key(due, key), &[]);
            }
            batch.insert(&key.as_bytes()[..], head);
        } else if let Some(old) = old {
            forget(&mut batch, key, &old);
            batch.remove(&key.as_bytes()[..]);
        }
        self.db.apply_batch(batch).map_err(from_sled)?;
        Ok(Some(version))
    }

    /// The next version. Versions are set aside on the disk before they are used, so
    /// that none is used twice, whatever was lost.
    fn take_version(&self) -> Result<Version, StoreError> {
        let version = self.next_version.fetch_add(1, Ordering::Relaxed);
        if version > self.reserved.load(Ordering::Relaxed) {
            let reserved = version + VERSIONS;
            self.db
                .insert(VERSIONS_KEY, &reserved.to_be_bytes())
                .map_err(from_sled)?;
            self.reserved.store(reserved, Ordering::Relaxed);
        }
        Ok(Version(version))
    }

    /// Takes a chunk from one row and the head from another, as damage would.
    #[cfg(test)]
    pub(super) fn harm(&self, chunk_of: &RowKey, head_of: &RowKey) {
        let row = self.load(chunk_of).unwrap().unwrap();
        self.db.remove(chunk_key(chunk_of, row.version, 1)).unwrap();
        self.db.insert(head_of.as_bytes(), b"short").unwrap();
    }

    /// Puts everything that was applied on the disk. sled's flush ends in
    /// `sync_file_range` on Linux, which a power cut undoes (sled 1452).
    /// `sync_data` is `fdatasync` there, and a full barrier on macOS.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(from_sled)?;
        self.file.sync_data().map_err(|error| {
            StoreError::new(
                StoreErrorKind::Unavailable,
                "the token store cannot be synced",
            )
            .with_source(error)
        })
    }
}

/// Removes what lies beside the head of a row.
fn forget(batch: &mut Batch, key: &RowKey, old: &Head<'_>) {
    for index in 0..old.chunks {
        batch.remove(chunk_key(key, old.version, index));
    }
    if let Some(due) = old.due {
        batch.remove(due_key(due, key));
    }
}

/// The head that `value` is. One that is none counts as an empty row: it does not open, and
/// can be replaced.
fn head_of(value: &[u8]) -> Head<'_> {
    Head::parse(value).unwrap_or(Head {
        version: Version(0),
        due: None,
        chunks: 0,
        inline: &[],
    })
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

/// Makes the folder, and returns those that got a new entry by that.
fn make_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = folder.ancestors().take_while(|folder| !folder.exists());
    let parents = missing
        .filter_map(Path::parent)
        .map(|parent| match parent.as_os_str() {
            here if here.is_empty() => PathBuf::from("."),
            _ => parent.to_owned(),
        });
    let parents = parents.collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    Ok(parents)
}

/// One process per folder. Taken before anything is touched: what looks left over may be
/// another process's work under way.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK))
        .map_err(|error| unavailable(folder, "cannot be written").with_source(error))?;
    // A former handle of this process may need a moment to let go.
    let contended = fs2::lock_contended_error().raw_os_error();
    for _ in 0..20 {
        match file.try_lock_exclusive() {
            Ok(()) => return Ok(file),
            Err(error) if error.raw_os_error() == contended => {
                thread::sleep(Duration::from_millis(25));
            }
            Err(error) => return Err(unavailable(folder, "cannot be locked").with_source(error)),
        }
    }
    Err(StoreError::new(
        StoreErrorKind::InUse,
        format!(
            "{} is open in another process: an embedded store serves one process at a time, \
             several need a shared store",
            folder.display()
        ),
    ))
}

/// A kill while sled writes a snapshot leaves a file that stops the next open (sled 1527,
/// 1533). It was never renamed, so nothing in it counts.
fn remove_unfinished_snapshots(folder: &Path) -> io::Result<()> {
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

/// Windows has no such call; NTFS journals its folders.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn from_sled(error: sled::Error) -> StoreError {
    let (kind, message) = match error {
        sled::Error::Corruption { .. } => (
            StoreErrorKind::Damaged,
            "the token store is damaged: restore its folder from a backup",
        ),
        sled::Error::Unsupported(_) => (
            StoreErrorKind::Damaged,
            "the token store is of another version of sled",
        ),
        _ => (
            StoreErrorKind::Unavailable,
            "the token store cannot be read or written: look at its disk",
        ),
    };
    StoreError::new(kind, message).with_source(error)
}

fn unavailable(folder: &Path, what: &str) -> StoreError {
    let message = format!("the token store {} {what}", folder.display());
    StoreError::new(StoreErrorKind::Unavailable, message)
}

fn damaged(folder: &Path, what: &str) -> StoreError {
    let message = format!(
        "the token store {} cannot be used: {what}; restore it from a backup, or name another \
         folder",
        folder.display()
    );
    StoreError::new(StoreErrorKind::Damaged, message)
}
