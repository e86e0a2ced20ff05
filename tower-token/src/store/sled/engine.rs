//! sled itself; named in this file only.

use std::fs::File;
use std::io;
use std::iter;
use std::ops::{Bound, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sled::{Db, IVec};

use super::super::contract::{
    Expected, Group, Row, RowKey, SealedRow, StoreError, StoreErrorKind, Version,
};
use super::disk::{Disk, Step};
use super::folder::{Folder, advice, was_removed};
use super::layout::{Head, chunk_key, chunk_version, cut, due_first, due_key, due_row, due_until};
use super::tail::Tail;
use crate::clock::Timestamp;

/// Marks a folder as ours, and says how rows lie in it.
const FORMAT_KEY: &[u8] = b"tower-token format";
const FORMAT: &[u8] = b"2";
/// Every version up to this one may have been used.
const VERSIONS_KEY: &[u8] = b"tower-token versions";
/// How many versions are set aside at a time.
const VERSIONS: u64 = 1 << 16;

/// The last version of the last group, behind all of it.
const LAST_KEY: &[u8] = b"tower-token last";

/// Where all of our own lies, the index too: no row's key begins like that, save by a chance
/// of one in 2^96.
const OWN: Range<&[u8]> = b"tower-token ".as_slice()..b"tower-token!".as_slice();

/// sled, open in a folder that is ours.
pub(super) struct Engine {
    db: Db,
    /// Our own handle of sled's file, to sync it.
    file: File,
    next_version: AtomicU64,
    reserved: AtomicU64,
    tail: Tail,
    /// The last version that was put on the disk.
    synced: AtomicU64,
    disk: Arc<dyn Disk>,
}

/// What became of a save.
pub(super) enum Applied {
    Saved(Version),
    Conflict,
    /// What is there cannot be read, so nothing was written.
    Unreadable(StoreError),
}

impl Engine {
    pub(super) fn open(folder: &mut Folder) -> Result<Self, StoreError> {
        folder.begin()?;
        let opened = guarded(|| Self::open_in(folder));
        if opened.is_err() {
            // It may have been a sync of sled's own.
            let _ = folder.ask();
        }
        folder.opened |= opened.is_ok();
        opened
    }

    fn open_in(folder: &mut Folder) -> Result<Self, StoreError> {
        folder.disk.before(Step::Open).map_err(from_io)?;
        let db = open_db(folder.path())?;
        let (db, used) = ask_or_drop(db, |db| {
            check_format(db, folder)?;
            folder.is_ours()?;
            number(db, VERSIONS_KEY)
        })?;
        let engine = Self {
            db,
            file: folder.db()?,
            next_version: AtomicU64::new(used + 1),
            reserved: AtomicU64::new(used),
            tail: folder.tail()?,
            synced: AtomicU64::new(used),
            disk: Arc::clone(&folder.disk),
        };
        let (engine, ()) = ask_or_drop(engine, |engine| {
            let last = engine.check_tail(folder)?;
            guarded(|| engine.sync()).inspect_err(|_| folder.suspect())?;
            // After: it must not say more than what is on the disk.
            engine.note_tail(last)?;
            folder.sync()
        })?;
        Ok(engine)
    }

    /// Whether what was acknowledged last is there. Where the log ends.
    fn check_tail(&self, folder: &Folder) -> Result<u64, StoreError> {
        let last = number(&self.db, LAST_KEY)?;
        let noted = self.tail.read().map_err(from_io)?;
        if noted > last {
            let what = format!(
                "its log was cut off, and acknowledged writes are missing: it ends at {last} \
                 instead of {noted} (removing {} accepts that they are lost)",
                Tail::FILE
            );
            return Err(damaged(folder.path(), &what));
        }
        Ok(last)
    }

    fn note_tail(&self, last: u64) -> Result<(), StoreError> {
        self.tail.write(last).map_err(from_io)?;
        self.tail.sync().map_err(from_io)
    }

    pub(super) fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let mut torn = None;
        loop {
            let Some(value) = again(|| self.db.get(key.as_bytes()))? else {
                return Ok(None);
            };
            let head = head_of(&value);
            if let Some(bytes) = self.assemble(key, &head)? {
                return Ok(Some(Row::new(head.version, head.due, bytes)));
            }
            // A row that is written meanwhile leaves its old chunks behind: another head tells.
            if torn == Some(head.version) {
                // A part of it is missing. What does not open can still be replaced.
                return Ok(Some(Row::new(head.version, head.due, Bytes::new())));
            }
            torn = Some(head.version);
        }
    }

    /// The row that `head` begins, or nothing if some of its chunks are gone.
    fn assemble(&self, key: &RowKey, head: &Head<'_>) -> Result<Option<Bytes>, StoreError> {
        let mut bytes = head.inline.to_vec();
        for index in 0..head.chunks {
            match again(|| self.db.get(chunk_key(key, head.version, index)))? {
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
        let [before, behind] = self.ranges(after);
        self.rows(before.chain(behind), limit)
    }

    /// All after a key, but for our own marks and the index: what is behind them does not
    /// depend on whether they can be read.
    fn ranges(&self, after: Option<&RowKey>) -> [sled::Iter; 2] {
        let after = after.map(|key| &key.as_bytes()[..]);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = match after {
            Some(key) if key > OWN.end => from,
            _ => Bound::Included(OWN.end),
        };
        let before = (
            from,
            Bound::Excluded(after.unwrap_or_default().max(OWN.start)),
        );
        [before, (behind, Bound::Unbounded)].map(|range| self.db.range::<&[u8], _>(range))
    }

    /// The same rows as of [`due`](Self::due), from what can be read of the rows themselves, in
    /// no order of time.
    pub(super) fn due_by_heads(&self, now: Timestamp) -> Vec<(RowKey, Timestamp)> {
        let heads = self.ranges(None).into_iter().flat_map(|range| {
            // As far as it can be read, from both ends.
            let mut range = range;
            let mut heads: Vec<_> = iter::from_fn(|| range.next()?.ok()).collect();
            heads.extend(iter::from_fn(|| range.next_back()?.ok()));
            heads
        });
        heads
            .filter_map(|(key, head)| {
                let due = head_of(&head).due.filter(|due| *due <= now)?;
                Some((RowKey::from_bytes(&key)?, due))
            })
            .collect()
    }

    /// Every row that was due by `now`, and since when, the first one first.
    pub(super) fn due(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = Result<(RowKey, Timestamp), StoreError>> + use<> {
        let until = due_until(now + Duration::from_millis(1));
        patient(self.db.range(due_first()..&until).keys())
            .filter_map(|entry| entry.map(|entry| due_row(&entry)).transpose())
    }

    fn rows(
        &self,
        values: impl Iterator<Item = sled::Result<(IVec, IVec)>>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        let mut rows = Vec::new();
        for entry in patient(values) {
            if rows.len() == limit {
                break;
            }
            let (key, _) = entry?;
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
    ///
    /// Not as a batch: one that fails in the middle, at a page that cannot be read, is kept in
    /// part. In this order the row is the old one or the new one, wherever it ends.
    pub(super) fn apply(
        &self,
        key: &RowKey,
        row: Option<&SealedRow>,
        expected: Expected,
    ) -> Result<Applied, StoreError> {
        // Guarded by itself: nothing was written, and other rows may be sound.
        let look = || {
            self.disk.before(Step::Look).map_err(from_io)?;
            again(|| self.db.get(key.as_bytes()))
        };
        let old = match guarded(look) {
            Ok(old) => old,
            Err(error) => return Ok(Applied::Unreadable(error)),
        };
        let old = old.as_deref().map(head_of);
        if !expected.matches(old.as_ref().map(|head| head.version)) {
            return Ok(Applied::Conflict);
        }
        self.disk.before(Step::Apply).map_err(from_io)?;
        let version = self.take_version()?;
        let old_due = old.as_ref().and_then(|old| old.due);
        let new_due = row.and_then(SealedRow::due);
        let mut has_chunks = old.is_some_and(|old| old.chunks > 0);
        match row {
            Some(row) => {
                let (head, chunks) = cut(version, row);
                has_chunks |= !chunks.is_empty();
                for (index, chunk) in (0u16..).zip(chunks) {
                    let key = chunk_key(key, version, index);
                    again(|| self.db.insert(&key, chunk))?;
                }
                if let Some(due) = new_due.filter(|_| new_due != old_due) {
                    hint(|| again(|| self.db.insert(due_key(due, key), &[])));
                }
                again(|| self.db.insert(key.as_bytes(), &head[..]))?;
            }
            None => drop(again(|| self.db.remove(key.as_bytes()))?),
        }
        if let Some(due) = old_due.filter(|_| new_due != old_due) {
            hint(|| again(|| self.db.remove(due_key(due, key))));
        }
        if has_chunks {
            hint(|| self.forget_chunks(key, version));
        }
        Ok(Applied::Saved(version))
    }

    /// Removes the chunks of every version of a row but this one: of what was replaced, and of
    /// saves that were cut off.
    fn forget_chunks(&self, key: &RowKey, but: Version) -> Result<(), StoreError> {
        for chunk in patient(self.db.scan_prefix(key.as_bytes()).keys()) {
            let chunk = chunk?;
            if chunk_version(&chunk).is_some_and(|version| version != but) {
                again(|| self.db.remove(&chunk))?;
            }
        }
        Ok(())
    }

    /// Removes an entry of the index, if its row is not due then.
    pub(super) fn forget_due(&self, key: &RowKey, due: Timestamp) -> Result<(), StoreError> {
        let value = again(|| self.db.get(key.as_bytes()))?;
        if value.as_deref().map(head_of).and_then(|head| head.due) != Some(due) {
            again(|| self.db.remove(due_key(due, key)))?;
        }
        Ok(())
    }

    /// The next version. Versions are set aside on the disk before they are used, so
    /// that none is used twice, whatever was lost.
    fn take_version(&self) -> Result<Version, StoreError> {
        let version = self.next_version.fetch_add(1, Ordering::Relaxed);
        if version > self.reserved.load(Ordering::Relaxed) {
            let reserved = version + VERSIONS;
            again(|| self.db.insert(VERSIONS_KEY, &reserved.to_be_bytes()))?;
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

    /// Leaves an entry of the index behind, as a crash would.
    #[cfg(test)]
    pub(super) fn leave_due(&self, key: &RowKey, due: Timestamp) -> Result<(), StoreError> {
        again(|| self.db.insert(due_key(due, key), &[])).map(drop)
    }

    /// The same with a chunk.
    #[cfg(test)]
    pub(super) fn leave_chunk(&self, key: &RowKey, of: Version) -> Result<(), StoreError> {
        again(|| self.db.insert(chunk_key(key, of, 0), &[1])).map(drop)
    }

    #[cfg(test)]
    pub(super) fn chunks(&self, key: &RowKey) -> usize {
        self.db.scan_prefix(key.as_bytes()).count() - usize::from(self.load(key).unwrap().is_some())
    }

    /// Puts everything that was applied on the disk. sled's flush ends in
    /// `sync_file_range` on Linux, which a power cut undoes (sled 1452).
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let last = self.next_version.load(Ordering::Relaxed) - 1;
        let new = last > self.synced.load(Ordering::Relaxed);
        if new {
            let last = &last.to_be_bytes();
            again(|| self.db.insert(LAST_KEY, last))?;
        }
        self.disk.before(Step::Flush).map_err(from_io)?;
        self.db.flush().map_err(from_sled)?;
        self.sync_file()?;
        if new {
            self.tail.write(last).map_err(from_io)?;
            self.synced.store(last, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What sled has written by now, and no more.
    pub(super) fn sync_file(&self) -> Result<(), StoreError> {
        self.disk.sync(&self.file).map_err(from_io)?;
        match was_removed(&self.file).map_err(from_io)? {
            false => Ok(()),
            true => Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "the token store's file was removed: put its folder back, or restart",
            )),
        }
    }
}

fn check_format(db: &Db, folder: &Folder) -> Result<(), StoreError> {
    let path = folder.path();
    // Besides sled's own tree there may be others; we have none.
    let is_empty = db.is_empty() && db.tree_names().len() <= 1;
    match db.get(FORMAT_KEY).map_err(from_sled)? {
        Some(format) if format == FORMAT => Ok(()),
        Some(_) => Err(damaged(path, "it is of another version of tower-token")),
        None if is_empty && folder.opened => Err(damaged(path, "it was emptied")),
        None if is_empty => {
            db.insert(FORMAT_KEY, FORMAT).map_err(from_sled)?;
            Ok(())
        }
        None => Err(damaged(
            path,
            "it is a sled database, but not a token store",
        )),
    }
}

/// One of our own marks; 0 where there is none yet.
fn number(db: &Db, key: &[u8]) -> Result<u64, StoreError> {
    let value = db.get(key).map_err(from_sled)?;
    let number = value.and_then(|value| Some(u64::from_be_bytes(value.as_ref().try_into().ok()?)));
    Ok(number.unwrap_or(0))
}

impl Drop for Engine {
    fn drop(&mut self) {
        // At the latest the system does it by itself.
        let _ = self.tail.sync();
    }
}

/// Damaged files make sled panic, on whatever is asked of it. `panic = "abort"` would defeat this.
pub(super) fn guarded<T>(ask: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_| {
        Err(StoreError::new(
            StoreErrorKind::Damaged,
            "the token store is damaged, sled gave up reading it: restore its folder from a \
             backup, or name another",
        ))
    })
}

/// Asks something that is let go of if that fails: after the panic if there was one, as sled can
/// panic at that, too, and two at once end the process.
fn ask_or_drop<T, A>(
    asked: T,
    ask: impl FnOnce(&T) -> Result<A, StoreError>,
) -> Result<(T, A), StoreError> {
    match guarded(|| ask(&asked)) {
        Ok(answer) => Ok((asked, answer)),
        Err(error) => {
            let _ = guarded(move || {
                drop(asked);
                Ok(())
            });
            Err(error)
        }
    }
}

/// sled cleans up on the way, and tells whoever comes by that it met a damaged page: once for
/// each. What it was asked for may be done by then, and can be done again.
fn again<T>(ask: impl Fn() -> sled::Result<T>) -> Result<T, StoreError> {
    match ask() {
        Err(sled::Error::Corruption { .. }) => ask(),
        other => other,
    }
    .map_err(from_sled)
}

/// The same on the way through a range.
fn patient<T>(
    mut values: impl Iterator<Item = sled::Result<T>>,
) -> impl Iterator<Item = Result<T, StoreError>> {
    iter::from_fn(move || {
        let value = match values.next() {
            Some(Err(sled::Error::Corruption { .. })) => values.next(),
            other => other,
        };
        value.map(|value| value.map_err(from_sled))
    })
}

/// Does what a row can do without. If its page is lost, the row is not to be lost as well; if
/// more than that failed, so does what follows.
fn hint<T>(ask: impl FnOnce() -> Result<T, StoreError>) {
    let _ = guarded(ask);
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

fn from_io(error: io::Error) -> StoreError {
    let message = format!(
        "the token store cannot be read or written: {}",
        advice(error.kind())
    );
    StoreError::new(StoreErrorKind::Unavailable, message).with_source(error)
}

fn from_sled(error: sled::Error) -> StoreError {
    let damaged = |message| StoreError::new(StoreErrorKind::Damaged, message);
    match error {
        sled::Error::Io(error) => from_io(error),
        sled::Error::Unsupported(_) => {
            damaged("the token store is of another version of sled").with_source(error)
        }
        sled::Error::Corruption { .. } => {
            damaged("the token store is damaged: restore its folder from a backup, or name another")
                .with_source(error)
        }
        _ => StoreError::new(
            StoreErrorKind::Unavailable,
            "the token store cannot be read or written: look at its disk",
        )
        .with_source(error),
    }
}

fn damaged(folder: &Path, what: &str) -> StoreError {
    let message = format!(
        "the token store {} cannot be used: {what}; restore it from a backup, or name another \
         folder",
        folder.display()
    );
    StoreError::new(StoreErrorKind::Damaged, message)
}
