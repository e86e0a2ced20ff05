//! The folder of a store, and our lock on it, which is kept for as long as the store lives,
//! whether or not an engine is open in it at the moment.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fs2::FileExt as _;

use super::super::contract::{StoreError, StoreErrorKind};
use super::disk::{Disk, Step};
use super::engine::{Engine, from_io};
use super::rewrite::rewrite;
use super::tail::Tail;

/// Its file stays.
const LOCK: &str = "tower-token.lock";
/// What its first byte says: whether all that was written is on the disk. What a sync that failed
/// has left in the system's cache reads as if it were, for a later process, too. The byte is in
/// the cache as well, so it is there for as long as it is needed.
const SUSPECT: u8 = b'!';
const SOUND: u8 = b'.';
/// The files of all engines, by which a store of another one is told.
const FILES: [(&str, &str); 2] = [("db", "sled"), ("rows.redb", "redb")];

pub(in super::super) struct Folder {
    path: PathBuf,
    lock: File,
    /// Our own handle of the engine's file, from before the engine had one: it is told of every
    /// failure to put on the disk what was written, also of those that the engine met.
    file: Option<File>,
    /// Whether what reads as if it were on the disk may not be there.
    suspect: bool,
    /// Whether a store of ours was found in it. Another program's database is not for us to
    /// tidy up.
    ours: bool,
    /// Whether this process had it open: then it cannot be empty.
    pub(super) opened: bool,
    /// Folders that got a new entry when this one was made.
    made: Vec<PathBuf>,
    disk: Arc<dyn Disk>,
}

impl Folder {
    /// Makes it if it is not there. One process per folder: this comes before anything is
    /// touched, as what looks left over may be another process's work under way.
    pub(super) fn take<E: Engine>(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let made = make(path).map_err(|error| failed(path, "cannot be made", error))?;
        let lock = lock(path)?;
        let mark = mark_of(&lock).map_err(|error| failed(path, "cannot be read", error))?;
        let mut folder = Self {
            path: path.to_owned(),
            lock,
            file: None,
            suspect: mark == Some(SUSPECT),
            ours: mark.is_some(),
            opened: false,
            made,
            disk,
        };
        if !path.join(E::FILE).exists() {
            folder.is_of_no_other()?;
        } else if folder.suspect {
            folder.recover::<E>()?;
        }
        Ok(folder)
    }

    /// Another engine would begin anew beside what is there.
    fn is_of_no_other(&self) -> Result<(), StoreError> {
        match FILES.iter().find(|(file, _)| self.path.join(file).exists()) {
            None => Ok(()),
            Some((_, engine)) => Err(StoreError::new(
                StoreErrorKind::Damaged,
                format!(
                    "{} is a folder of {engine}: open it with the store of that, or name another",
                    self.path.display()
                ),
            )),
        }
    }

    /// Before the engine is opened. From here on, whoever comes after a kill has to doubt what reads as
    /// if it were on the disk: the sync that it came upon may have failed.
    pub(super) fn begin<E: Engine>(&mut self) -> Result<(), StoreError> {
        let is_new = !self.path.join(E::FILE).exists();
        if self.ours || is_new {
            self.mark(SUSPECT)?;
        }
        self.tidy::<E>()?;
        self.file = match is_new {
            true => None,
            false => Some(self.file::<E>()?),
        };
        self.ask::<E>()
            .map_err(|error| failed(&self.path, "cannot be synced", error))
    }

    /// Asks the disk whether all that was written is on it, and remembers if not.
    pub(super) fn ask<E: Engine>(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            // The engine may have made it since.
            self.suspect |= self.path.join(E::FILE).exists();
        }
        self.ask_file()
    }

    fn ask_file(&mut self) -> io::Result<()> {
        let synced = self
            .file
            .as_ref()
            .map_or(Ok(()), |file| self.disk.sync(file));
        synced.inspect_err(|_| self.suspect = true)
    }

    /// A flush or a sync failed.
    pub(super) fn suspect(&mut self) {
        self.suspect = true;
    }

    /// A store of ours was found in it, or it was empty.
    pub(super) fn is_ours(&mut self) -> Result<(), StoreError> {
        self.ours = true;
        self.mark(SUSPECT)
    }

    fn mark(&self, as_what: u8) -> Result<(), StoreError> {
        mark(&self.lock, as_what).map_err(|error| failed(&self.path, "cannot be written", error))
    }

    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }

    pub(in super::super) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// Our own handle of the engine's file, which is there now.
    pub(super) fn own_file<E: Engine>(&mut self) -> Result<File, StoreError> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.file::<E>()?,
        };
        let copy = file.try_clone();
        self.file = Some(file);
        copy.map_err(|error| failed(&self.path, "cannot be read", error))
    }

    /// A new handle of it.
    pub(in super::super) fn file<E: Engine>(&self) -> Result<File, StoreError> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.path.join(E::FILE));
        file.map_err(|error| failed(&self.path, "has lost its file", error))
    }

    /// The same, made if it is not there: sled makes its own.
    #[cfg(feature = "redb")]
    pub(in super::super) fn make_file<E: Engine>(&self) -> Result<File, StoreError> {
        let file = open_or_make(&self.path.join(E::FILE));
        file.map_err(|error| failed(&self.path, "cannot be written", error))
    }

    pub(super) fn tail(&self) -> Result<Tail, StoreError> {
        let file = open_or_make(&self.path.join(Tail::FILE));
        file.map(Tail::new)
            .map_err(|error| failed(&self.path, "cannot be written", error))
    }

    fn tidy<E: Engine>(&self) -> Result<(), StoreError> {
        if !self.ours {
            return Ok(());
        }
        E::tidy(&self.path).map_err(|error| failed(&self.path, "cannot be cleaned", error))
    }

    /// The files' own entries in their folders must outlive a power cut, too.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let folders = self.made.iter().map(PathBuf::as_path);
        for folder in folders.chain([self.path.as_path()]) {
            sync_folder(folder).map_err(|error| failed(folder, "cannot be synced", error))?;
        }
        // Whoever made it may not have done that. It may be in a folder that is not for us to
        // open.
        let _ = sync_folder(&self.path.join(".."));
        Ok(())
    }

    /// After a failed write, and before the engine is opened again.
    ///
    /// What a failed sync leaves in the system's cache reads as if it were on the disk, and
    /// no later sync writes it. So all of it is written once more; it is enough to do that once.
    pub(super) fn recover<E: Engine>(&mut self) -> Result<(), StoreError> {
        self.check_place()?;
        let file = self.file::<E>()?;
        // The engine's own lock: free when the last of its threads has let go of its file.
        hold(&file, 40).map_err(|error| failed(&self.path, "is still being written", error))?;
        if !self.suspect {
            return Ok(());
        }
        self.disk.before(Step::Rewrite).map_err(from_io)?;
        file.metadata()
            .and_then(|is| rewrite(&file, is.len()))
            .and_then(|()| self.disk.sync(&file))
            .map_err(|error| failed(&self.path, "cannot be written", error))?;
        self.suspect = false;
        Ok(())
    }

    /// Whether all that was written is on the disk, after the last of it.
    fn is_sound(&mut self) -> bool {
        let is_released = |file| hold(file, 40).is_ok();
        !self.suspect && self.file.as_ref().is_some_and(is_released) && self.ask_file().is_ok()
    }

    /// Whether the folder is the one that we locked: where a disk was unmounted, another one
    /// may stand in its place, or nothing.
    fn check_place(&self) -> Result<(), StoreError> {
        let there = same_file(&self.lock, &self.path.join(LOCK));
        if there.map_err(|error| failed(&self.path, "is gone", error))? {
            return Ok(());
        }
        let message = format!(
            "the token store {} is not the folder that was opened: put that back, or restart",
            self.path.display()
        );
        Err(StoreError::new(StoreErrorKind::Unavailable, message))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.ours {
            // The only thing that was put into a folder that is refused. The next open would
            // take it for a sign of ours.
            let _ = fs::remove_file(self.path.join(LOCK));
        } else if self.is_sound() {
            let _ = mark(&self.lock, SOUND);
        }
    }
}

/// Returns the folders that got a new entry.
fn make(folder: &Path) -> io::Result<Vec<PathBuf>> {
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

fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    loop {
        let file =
            open_or_make(&path).map_err(|error| failed(folder, "cannot be written", error))?;
        match hold(&file, 20) {
            // Whoever had it may have taken it away with a folder that was not ours.
            Ok(()) if same_file(&file, &path).is_ok_and(|same| same) => return Ok(file),
            Ok(()) => {}
            Err(error) if is_contended(&error) => {
                let message = format!(
                    "{} is open in another process: an embedded store serves one process at a \
                     time, several need a shared store",
                    folder.display()
                );
                return Err(StoreError::new(StoreErrorKind::InUse, message));
            }
            Err(error) => return Err(failed(folder, "cannot be locked", error)),
        }
    }
}

/// A file of ours. What is in it is nobody else's business.
fn open_or_make(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The mark in the file, if there is one.
fn mark_of(mut lock: &File) -> io::Result<Option<u8>> {
    let mut found = Vec::new();
    lock.rewind()?;
    lock.take(1).read_to_end(&mut found)?;
    Ok(found.first().copied())
}

fn mark(mut lock: &File, as_what: u8) -> io::Result<()> {
    lock.rewind()?;
    lock.write_all(&[as_what])
}

/// Locks a file. A former handle of this process may need a moment to let go.
fn hold(file: &File, tries: u32) -> io::Result<()> {
    for _ in 1..tries {
        match file.try_lock_exclusive() {
            Err(error) if is_contended(&error) => thread::sleep(Duration::from_millis(25)),
            other => return other,
        }
    }
    file.try_lock_exclusive()
}

fn is_contended(error: &io::Error) -> bool {
    error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

/// Windows has no such call; NTFS journals its folders.
fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Elsewhere than on Unix a folder that is in use cannot be moved away.
fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (file, path) = (file.metadata()?, fs::metadata(path)?);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Ok((file.dev(), file.ino()) == (path.dev(), path.ino()))
    }
    #[cfg(not(unix))]
    Ok(file.is_file() && path.is_file())
}

/// Whether a file is in no folder any more: what is written to it is gone when it is closed.
pub(super) fn was_removed(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    return Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) == 0);
    #[cfg(not(unix))]
    file.metadata().map(|_| false)
}

/// What failed at a folder, and what to do about it.
pub(super) fn failed(folder: &Path, what: &str, error: io::Error) -> StoreError {
    let message = format!(
        "the token store {} {what}: {}",
        folder.display(),
        advice(error.kind())
    );
    StoreError::new(StoreErrorKind::Unavailable, message).with_source(error)
}

/// What an operator does about an error.
pub(super) fn advice(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        io::ErrorKind::PermissionDenied => "let this process read and write the folder",
        io::ErrorKind::ReadOnlyFilesystem => "mount its disk for writing",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "a file stands in its place; name a folder"
        }
        io::ErrorKind::NotFound => "put it back where it was",
        _ => "look at its disk",
    }
}
