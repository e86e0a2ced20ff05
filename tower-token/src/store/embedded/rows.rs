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
use super::folder::{Folder, was_removed};
use super::layout::{
    Head, NO_ROWS, chunk_key, chunks_of, cut, due_first, due_key, due_row, due_until,
};
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
        folder.begin::<E>()?;
        let opened = guarded(|| Self::open_in(folder));
        if opened.is_err() {
            // It may have been a sync of the engine's own.
            let _ = folder.ask::<E>();
        }
        folder.opened |= opened.is_ok();
        opened
    }

    fn open_in(folder: &mut Folder) -> Result<Self, StoreError> {
        let disk = folder.disk();
        disk.before(Step::Open).map_err(from_io)?;
        let (engine, used) = ask_or_drop(E::open(folder)?, |engine| {
            check_format(engine, folder)?;
            folder.is_ours()?;
            number(engine, VERSIONS_KEY)
        })?;
        let rows = Self {
            engine,
            next_version: AtomicU64::new(used + 1),
            reserved: AtomicU64::new(used),
            synced: AtomicU64::new(used),
            tail: folder.tail()?,
            file: folder.own_file::<E>()?,
            disk,
        };
        let (rows, ()) = ask_or_drop(rows, |rows| {
            let last = rows.check_tail(folder)?;
            guarded(|| rows.commit(rows.begin()?)).inspect_err(|_| folder.suspect())?;
            // After: it must not say more than what is on the disk.
            rows.tail.write(last).map_err(from_io)?;
            rows.tail.sync().map_err(from_io)?;
            folder.sync()
        })?;
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
        let mut torn = None;
        loop {
            let Some(value) = self.engine.get(key.as_bytes())? else {
                return Ok(None);
            };
            let head = Head::of(&value);
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

    /// When a row is due, by its head.
    pub(super) fn due_of(&self, key: &RowKey) -> Result<Option<Timestamp>, StoreError> {
        let value = self.engine.get(key.as_bytes())?;
        Ok(value.and_then(|value| Head::of(&value).due))
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

    /// Adds the keys of the first `limit` rows after `after`, and within `group`. After an error
    /// what was found before it counts.
    pub(super) fn keys(
        &self,
        after: Option<&RowKey>,
        group: Option<&Group>,
        limit: usize,
        found: &mut Vec<RowKey>,
    ) -> Result<(), StoreError> {
        let after = after.map(|key| &key.as_bytes()[..]);
        // Chunks have keys of another length.
        let mut pick = |from, until| {
            self.engine
                .pick((from, until), limit, RowKey::from_bytes, found)
        };
        if let Some(group) = group {
            let first = Bound::Included(&group.as_bytes()[..]);
            let last = last_of(group);
            return pick(
                after.map_or(first, Bound::Excluded),
                Bound::Included(last.as_bytes()),
            );
        }
        // Around what is no row: what is behind does not depend on whether that can be read.
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        if after.is_some_and(|after| after > NO_ROWS.start) {
            return pick(from, Bound::Unbounded);
        }
        pick(from, Bound::Excluded(NO_ROWS.start))?;
        pick(Bound::Included(NO_ROWS.end), Bound::Unbounded)
    }

    /// Adds the first `limit` rows that were due by `now`, after one of these. After an error
    /// what was found before it counts.
    pub(super) fn due(
        &self,
        now: Timestamp,
        after: Option<&(RowKey, Timestamp)>,
        limit: usize,
        found: &mut Vec<(RowKey, Timestamp)>,
    ) -> Result<(), StoreError> {
        let after = after.map(|(key, due)| due_key(*due, key));
        let from = after
            .as_deref()
            .map_or(Bound::Included(due_first()), Bound::Excluded);
        let until = due_until(now + Duration::from_millis(1));
        self.engine
            .pick((from, Bound::Excluded(&until)), limit, due_row, found)
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
        // Guarded by itself: nothing was written, and other rows may be sound.
        let look = || {
            self.disk.before(Step::Look).map_err(from_io)?;
            self.engine.look(round, key.as_bytes())
        };
        let old = match guarded(look) {
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
        let mut has_chunks = old.is_some_and(|old| old.chunks > 0);
        let mut changes = Vec::new();
        if let Some(row) = row {
            let (head, chunks) = cut(version, row, E::MAX_VALUE);
            has_chunks |= !chunks.is_empty();
            for (index, chunk) in (0..).zip(chunks) {
                changes.push(Change::put(chunk_key(key, version, index), chunk));
            }
            if let Some(due) = new_due.filter(|_| new_due != old_due) {
                changes.push(Change::put(due_key(due, key), []).hint());
            }
            changes.push(Change::put(*key.as_bytes(), head));
        } else {
            changes.push(Change::remove(*key.as_bytes()));
        }
        if let Some(due) = old_due.filter(|_| new_due != old_due) {
            changes.push(Change::remove(due_key(due, key)).hint());
        }
        if has_chunks {
            let left = self.chunks(key).into_iter();
            changes.extend(left.map(|chunk| Change::remove(chunk).hint()));
        }
        self.engine.write(round, changes)?;
        Ok(Applied::Saved(version))
    }

    /// The keys of a row's chunks, of what is replaced and of saves that were cut off; as far as
    /// they can be read.
    fn chunks(&self, key: &RowKey) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let (from, until) = chunks_of(key);
        let range = (from, until.as_ref().map(|until| &until[..]));
        let pick = |key: &[u8]| Some(key.to_vec());
        let _ = guarded(|| self.engine.pick(range, usize::MAX, pick, &mut chunks));
        chunks
    }

    /// Removes an entry of the index, if its row is not due then. Whether it did.
    pub(super) fn forget_due(
        &self,
        round: &mut E::Round,
        key: &RowKey,
        due: Timestamp,
    ) -> Result<bool, StoreError> {
        let Ok(value) = guarded(|| self.engine.look(round, key.as_bytes())) else {
            return Ok(false);
        };
        let is_due = value.is_some_and(|value| Head::of(&value).due == Some(due));
        if !is_due {
            let change = Change::remove(due_key(due, key)).hint();
            self.engine.write(round, vec![change])?;
        }
        Ok(!is_due)
    }

    /// The next version. Versions are set aside on the disk before they are used, so
    /// that none is used twice, whatever was lost.
    fn take_version(&self, round: &mut E::Round) -> Result<Version, StoreError> {
        let version = self.next_version.fetch_add(1, Ordering::Relaxed);
        if version > self.reserved.load(Ordering::Relaxed) {
            let reserved = version + VERSIONS;
            self.engine
                .write(round, vec![mark(VERSIONS_KEY, reserved)])?;
            self.reserved.store(reserved, Ordering::Relaxed);
        }
        Ok(Version(version))
    }

    /// Puts everything that was applied on the disk.
    pub(super) fn commit(&self, mut round: E::Round) -> Result<(), StoreError> {
        let last = self.next_version.load(Ordering::Relaxed) - 1;
        let new = last > self.synced.load(Ordering::Relaxed);
        if new {
            self.engine.write(&mut round, vec![mark(LAST_KEY, last)])?;
        }
        self.disk.before(Step::Flush).map_err(from_io)?;
        self.engine.commit(round)?;
        if was_removed(&self.file).map_err(from_io)? {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "the token store's file was removed: put its folder back, or restart",
            ));
        }
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
            Change::remove(chunk_key(chunk_of, row.version, 1)),
            Change::put(*head_of.as_bytes(), b"short"),
        ];
        self.engine.write(&mut round, changes).unwrap();
        self.engine.commit(round).unwrap();
    }

    /// Leaves an entry of the index and a chunk behind, as a crash would.
    #[cfg(test)]
    pub(super) fn leave(&self, key: &RowKey, due: Timestamp, of: Version) {
        let mut round = self.begin().unwrap();
        let changes = vec![
            Change::put(due_key(due, key), []),
            Change::put(chunk_key(key, of, 0), [1]),
        ];
        self.engine.write(&mut round, changes).unwrap();
        self.engine.commit(round).unwrap();
    }

    #[cfg(test)]
    pub(super) fn count_chunks(&self, key: &RowKey) -> usize {
        self.chunks(key).len()
    }
}

impl<E> Drop for Rows<E> {
    fn drop(&mut self) {
        // At the latest the system does it by itself.
        let _ = self.tail.sync();
    }
}

/// Asks something that is let go of if that fails: after the panic if there was one, as an engine
/// can panic at that, too, and two at once end the process.
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
        engine.write(&mut round, vec![Change::put(FORMAT_KEY, FORMAT)])?;
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

fn mark(key: &[u8], number: u64) -> Change {
    Change::put(key, number.to_be_bytes())
}

fn unusable(folder: &Folder, what: &str) -> StoreError {
    let message = format!(
        "the token store {} cannot be used: {what}; restore it from a backup, or name another \
         folder",
        folder.path().display()
    );
    StoreError::new(StoreErrorKind::Damaged, message)
}
