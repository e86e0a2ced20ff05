//! The rows of a store in an engine that is open.

use std::fs::File;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::super::contract::{
    Expected, Group, Row, RowKey, SealedRow, StoreError, StoreErrorKind, Version,
};
use super::disk::{Disk, Step};
use super::engine::{Change, Engine, from_io, guarded};
use super::folder::Folder;
use super::layout::{Head, chunk_key, cut, due_first, due_key, due_row, due_until};
use super::tail::Tail;
use crate::clock::Timestamp;

/// Marks a store as ours, and says how rows lie in it.
const FORMAT_KEY: &[u8] = b"tower-token format";
const FORMAT: &[u8] = b"2";
/// Every version up to this one may have been used.
const VERSIONS_KEY: &[u8] = b"tower-token versions";
/// How many versions are set aside at a time.
const VERSIONS: u64 = 1 << 16;
/// The last version of the last round, behind all of it.
const LAST_KEY: &[u8] = b"tower-token last";

pub(super) struct Rows<E> {
    engine: E,
    next_version: AtomicU64,
    reserved: AtomicU64,
    /// The last version that was put on the disk.
    synced: AtomicU64,
    tail: Tail,
    /// A handle of the engine's file of our own.
    file: File,
    disk: Arc<dyn Disk>,
}

/// What became of a save.
pub(super) enum Applied {
    Saved(Version),
    Conflict,
    /// What is there cannot be read, so nothing was written.
    Unreadable(StoreError),
}

impl<E: Engine> Rows<E> {
    pub(super) fn open(folder: &mut Folder) -> Result<Self, StoreError> {
        let disk = folder.disk();
        let rows = guarded(|| {
            folder.tidy::<E>()?;
            disk.before(Step::Open).map_err(from_io)?;
            let opened = guarded(|| {
                let engine = E::open(folder)?;
                check_format(&engine, folder).map(|()| engine)
            });
            let engine = opened.inspect_err(|error| {
                // It may have been a sync of the engine's own.
                if error.kind() == StoreErrorKind::Unavailable {
                    folder.suspect();
                }
            })?;
            folder.is_ours();
            let used = number(&engine, VERSIONS_KEY)?;
            let rows = Self {
                engine,
                next_version: AtomicU64::new(used + 1),
                reserved: AtomicU64::new(used),
                synced: AtomicU64::new(used),
                tail: folder.tail()?,
                file: folder.file::<E>()?,
                disk: Arc::clone(&disk),
            };
            let last = rows.check_tail(folder)?;
            guarded(|| rows.commit(rows.begin()?)).inspect_err(|_| folder.suspect())?;
            // After: it must not say more than what is on the disk.
            rows.tail.write(last).map_err(from_io)?;
            rows.tail.sync().map_err(from_io)?;
            folder.sync()?;
            Ok(rows)
        })?;
        folder.opened = true;
        Ok(rows)
    }

    /// Whether what was acknowledged last is there. Where the engine ends.
    fn check_tail(&self, folder: &Folder) -> Result<u64, StoreError> {
        let last = number(&self.engine, LAST_KEY)?;
        let noted = self.tail.read().map_err(from_io)?;
        if noted > last {
            let what = format!(
                "its end was cut off, and acknowledged writes are missing: it ends at {last} \
                 instead of {noted} (removing {} accepts that they are lost)",
                Tail::FILE
            );
            return Err(unusable(folder, &what));
        }
        Ok(last)
    }

    pub(super) fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        let mut last = None;
        // A row that is written meanwhile leaves its old chunks behind: the head tells.
        for _ in 0..16 {
            let Some(value) = self.engine.get(key.as_bytes())? else {
                return Ok(None);
            };
            let head = Head::of(&value);
            if let Some(bytes) = self.assemble(key, &head)? {
                return Ok(Some(Row::new(head.version, head.due, bytes)));
            }
            last = Some((head.version, head.due));
        }
        // A part of it is missing. What does not open can still be replaced.
        Ok(last.map(|(version, due)| Row::new(version, due, Bytes::new())))
    }

    /// The row that `head` begins, or nothing if some of its chunks are gone.
    fn assemble(&self, key: &RowKey, head: &Head) -> Result<Option<Bytes>, StoreError> {
        if head.chunks == 0 {
            return Ok(Some(head.inline.clone()));
        }
        let mut bytes = Vec::new();
        for index in 0..head.chunks {
            match self.engine.get(&chunk_key(key, head.version, index))? {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
        Ok(Some(Bytes::from(bytes)))
    }

    /// The keys of the first `limit` rows after `after`, and within `group`.
    pub(super) fn keys(
        &self,
        after: Option<&RowKey>,
        group: Option<&Group>,
        limit: usize,
    ) -> Result<Vec<RowKey>, StoreError> {
        let from = match (after, group) {
            (Some(after), _) => Bound::Excluded(&after.as_bytes()[..]),
            (None, Some(group)) => Bound::Included(&group.as_bytes()[..]),
            (None, None) => Bound::Unbounded,
        };
        let last = group.map(last_of);
        let until = last.as_ref().map_or(Bound::Unbounded, |last| {
            Bound::Included(&last.as_bytes()[..])
        });
        // Chunks and our own marks have keys of other lengths.
        self.engine.pick((from, until), limit, RowKey::from_bytes)
    }

    /// The first `limit` rows that were due by `now`, after one of these.
    pub(super) fn due(
        &self,
        now: Timestamp,
        after: Option<&(RowKey, Timestamp)>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Timestamp)>, StoreError> {
        let after = after.map(|(key, due)| due_key(*due, key));
        let from = after
            .as_deref()
            .map_or(Bound::Included(due_first()), Bound::Excluded);
        let until = due_until(now + Duration::from_millis(1));
        self.engine
            .pick((from, Bound::Excluded(&until)), limit, due_row)
    }

    pub(super) fn begin(&self) -> Result<E::Round, StoreError> {
        self.engine.begin()
    }

    /// Applies a save, or a removal, without making it durable. Only the writer thread calls
    /// this, so nothing comes between the look and the write.
    pub(super) fn apply(
        &self,
        round: &mut E::Round,
        key: &RowKey,
        row: Option<&SealedRow>,
        expected: Expected,
    ) -> Result<Applied, StoreError> {
        let looked = self.disk.before(Step::Look).map_err(from_io);
        let old = match looked.and_then(|()| self.engine.look(round, key.as_bytes())) {
            Ok(old) => old.as_ref().map(Head::of),
            Err(error) => return Ok(Applied::Unreadable(error)),
        };
        if !expected.matches(old.as_ref().map(|head| head.version)) {
            return Ok(Applied::Conflict);
        }
        self.disk.before(Step::Apply).map_err(from_io)?;
        let version = self.take_version(round)?;
        let old_due = old.as_ref().and_then(|old| old.due);
        let new_due = row.and_then(SealedRow::due);
        let mut changes = Vec::new();
        if let Some(old) = &old {
            let chunks = (0..old.chunks).map(|index| chunk_key(key, old.version, index));
            changes.extend(chunks.map(|chunk| (chunk, None)));
        }
        if old_due != new_due {
            changes.extend(old_due.map(|due| (due_key(due, key), None)));
            changes.extend(new_due.map(|due| (due_key(due, key), Some(Vec::new()))));
        }
        let (head, chunks) = match row {
            Some(row) => {
                let (head, chunks) = cut(version, row, E::MAX_VALUE);
                (Some(head), chunks)
            }
            None => (None, Vec::new()),
        };
        for (index, chunk) in (0..).zip(chunks) {
            changes.push((chunk_key(key, version, index), Some(chunk.to_vec())));
        }
        changes.push((key.as_bytes().to_vec(), head));
        self.engine.write(round, changes)?;
        Ok(Applied::Saved(version))
    }

    /// The next version. Versions are set aside on the disk before they are used, so
    /// that none is used twice, whatever was lost.
    fn take_version(&self, round: &mut E::Round) -> Result<Version, StoreError> {
        let version = self.next_version.fetch_add(1, Ordering::Relaxed);
        if version > self.reserved.load(Ordering::Relaxed) {
            let reserved = version + VERSIONS;
            self.engine.write(round, mark(VERSIONS_KEY, reserved))?;
            self.reserved.store(reserved, Ordering::Relaxed);
        }
        Ok(Version(version))
    }

    /// Puts everything that was applied on the disk.
    pub(super) fn commit(&self, mut round: E::Round) -> Result<(), StoreError> {
        let last = self.next_version.load(Ordering::Relaxed) - 1;
        let new = last > self.synced.load(Ordering::Relaxed);
        if new {
            self.engine.write(&mut round, mark(LAST_KEY, last))?;
        }
        self.disk.before(Step::Flush).map_err(from_io)?;
        self.engine.commit(round)?;
        if new {
            self.tail.write(last).map_err(from_io)?;
            self.synced.store(last, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Puts what the engine has written by now on the disk. Our handle is told of every
    /// failure to do that since it was opened, also of those that the engine met.
    pub(super) fn sync_file(&self) -> Result<(), StoreError> {
        self.disk.sync(&self.file).map_err(from_io)
    }

    /// Takes a chunk from one row and the head from another, as damage would.
    #[cfg(test)]
    pub(super) fn harm(&self, chunk_of: &RowKey, head_of: &RowKey) {
        let row = self.load(chunk_of).unwrap().unwrap();
        let mut round = self.begin().unwrap();
        let changes = vec![
            (chunk_key(chunk_of, row.version, 1), None),
            (head_of.as_bytes().to_vec(), Some(b"short".to_vec())),
        ];
        self.engine.write(&mut round, changes).unwrap();
        self.engine.commit(round).unwrap();
    }
}

impl<E> Drop for Rows<E> {
    fn drop(&mut self) {
        // At the latest the system does it by itself.
        let _ = self.tail.sync();
    }
}

/// Behind the keys of all rows in a group.
fn last_of(group: &Group) -> RowKey {
    RowKey::new(*group, [u8::MAX; 32])
}

fn check_format<E: Engine>(engine: &E, folder: &Folder) -> Result<(), StoreError> {
    if engine.is_new()? {
        if folder.opened {
            return Err(unusable(folder, "it was emptied"));
        }
        let mut round = engine.begin()?;
        let format = vec![(FORMAT_KEY.to_vec(), Some(FORMAT.to_vec()))];
        engine.write(&mut round, format)?;
        return engine.commit(round);
    }
    match engine.get(FORMAT_KEY)? {
        Some(format) if format == FORMAT => Ok(()),
        Some(_) => Err(unusable(folder, "it is of another version of tower-token")),
        None => {
            let what = format!("it is a {} database, but not a token store", E::NAME);
            Err(unusable(folder, &what))
        }
    }
}

/// One of our own marks; 0 where there is none yet.
fn number(engine: &impl Engine, key: &[u8]) -> Result<u64, StoreError> {
    let value = engine.get(key)?;
    let number = value.and_then(|value| Some(u64::from_be_bytes(value[..].try_into().ok()?)));
    Ok(number.unwrap_or(0))
}

fn mark(key: &[u8], number: u64) -> Vec<Change> {
    vec![(key.to_vec(), Some(number.to_be_bytes().to_vec()))]
}

fn unusable(folder: &Folder, what: &str) -> StoreError {
    let message = format!(
        "the token store {} cannot be used: {what}; restore it from a backup, or name another \
         folder",
        folder.path().display()
    );
    StoreError::new(StoreErrorKind::Damaged, message)
}
