//! redb itself; named in this file only.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _,
    StorageBackend, TableDefinition, WriteTransaction,
};

use super::super::contract::{StoreError, StoreErrorKind};
use super::super::embedded::{Change, Disk, Engine, Folder, damaged, from_io};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("tower-token");

pub(in super::super) struct Redb {
    /// As of the last commit. To begin a read anew would wait for the disk while the file
    /// grows: redb syncs that under a lock.
    table: RwLock<Option<Table>>,
    db: Database,
}

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl Engine for Redb {
    const NAME: &'static str = "redb";
    const FILE: &'static str = "rows.redb";
    /// Values of many MiB are written and synced as small ones are.
    const MAX_VALUE: usize = usize::MAX;
    type Round = WriteTransaction;

    fn open(folder: &Folder) -> Result<Self, StoreError> {
        let file = folder.make_file::<Self>()?;
        let backend = Backend {
            file: file.try_clone().map_err(from_io)?,
            inner: FileBackend::new(file).map_err(from_redb)?,
            disk: folder.disk(),
        };
        let opened = Builder::new().create_with_backend(backend);
        let redb = Self {
            table: RwLock::new(None),
            db: opened.map_err(from_redb)?,
        };
        if !redb.is_new()? {
            redb.look_anew()?;
        }
        Ok(redb)
    }

    fn is_new(&self) -> Result<bool, StoreError> {
        let read = self.db.begin_read().map_err(from_redb)?;
        let tables = read.list_tables().map_err(from_redb)?.count();
        let others = read.list_multimap_tables().map_err(from_redb)?.count();
        Ok(tables + others == 0)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(table) = &*self.table.read() else {
            return Ok(None);
        };
        let value = table.get(key).map_err(from_redb)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn pick<T>(
        &self,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        limit: usize,
        pick: impl Fn(&[u8]) -> Option<T>,
        found: &mut Vec<T>,
    ) -> Result<(), StoreError> {
        let Some(table) = &*self.table.read() else {
            return Ok(());
        };
        let mut entries = table.range::<&[u8]>(range).map_err(from_redb)?;
        while found.len() < limit
            && let Some(entry) = entries.next()
        {
            let (key, _) = entry.map_err(from_redb)?;
            found.extend(pick(key.value()));
        }
        Ok(())
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut round = self.db.begin_write().map_err(from_redb)?;
        let durability = round.set_durability(Durability::Immediate);
        durability.map_err(from_redb)?;
        // Or a crash would make the next open read all of the file.
        round.set_quick_repair(true);
        Ok(round)
    }

    fn look(&self, round: &WriteTransaction, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let table = round.open_table(TABLE).map_err(from_redb)?;
        let value = table.get(key).map_err(from_redb)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn write(&self, round: &mut WriteTransaction, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut table = round.open_table(TABLE).map_err(from_redb)?;
        // All at once, so a hint that fails is a failure like any other.
        for Change { key, value, .. } in changes {
            match value {
                Some(value) => table.insert(&key[..], &value[..]).map(drop),
                None => table.remove(&key[..]).map(drop),
            }
            .map_err(from_redb)?;
        }
        Ok(())
    }

    fn commit(&self, round: WriteTransaction) -> Result<(), StoreError> {
        round.commit().map_err(from_redb)?;
        self.look_anew()
    }
}

impl Redb {
    fn look_anew(&self) -> Result<(), StoreError> {
        let read = self.db.begin_read().map_err(from_redb)?;
        let table = read.open_table(TABLE).map_err(from_redb)?;
        *self.table.write() = Some(table);
        Ok(())
    }
}

/// redb's own, but for the sync. The folder's lock keeps other processes out.
struct Backend {
    inner: FileBackend,
    file: File,
    disk: Arc<dyn Disk>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

fn from_redb(error: impl Into<redb::Error>) -> StoreError {
    use redb::Error;

    match error.into() {
        // The file is shorter than it says, or is none of redb's.
        Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            damaged("the token store is damaged").with_source(error)
        }
        Error::Io(error) => from_io(error),
        error @ (Error::Corrupted(_)
        | Error::TableDoesNotExist(_)
        | Error::TableTypeMismatch { .. }
        | Error::TypeDefinitionChanged { .. }
        | Error::TableIsMultimap(_)) => {
            damaged("the token store is damaged, or was not made by tower-token").with_source(error)
        }
        error @ Error::UpgradeRequired(_) => StoreError::new(
            StoreErrorKind::Damaged,
            "the token store is of another version of redb",
        )
        .with_source(error),
        // After an error that was told.
        error => StoreError::new(
            StoreErrorKind::Unavailable,
            "the token store cannot be read or written: look at its disk",
        )
        .with_source(error),
    }
}
