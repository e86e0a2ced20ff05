//! What outlives a restart: a file, or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::ledger::Ledger;
use crate::testkit::wire::random_token;

/// The client, and the books. Without `Debug`, since it is secret throughout.
#[derive(Serialize, Deserialize)]
struct State {
    client_id: String,
    client_secret: String,
    ledger: Ledger,
}

/// The state, and the file it is kept in.
pub(super) struct Book {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    state: Mutex<State>,
    file: Option<PathBuf>,
    behind: AtomicBool,
}

impl Book {
    /// Goes on from a file that is there, or else makes it.
    pub(super) fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let state = match file.as_deref().map(fs::read) {
            Some(Ok(text)) => serde_json::from_slice(&text).map_err(io::Error::other)?,
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Some(Err(_)) | None => State {
                client_id: random_token()?,
                client_secret: random_token()?,
                ledger: Ledger::default(),
            },
        };
        if let Some(file) = &file {
            save(file, &state)?;
        }
        Ok(Self {
            client_id: state.client_id.clone(),
            client_secret: state.client_secret.clone(),
            state: Mutex::new(state),
            file,
            behind: AtomicBool::new(false),
        })
    }

    /// Looks something up.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.state.lock().ledger)
    }

    /// Changes the books, and the file before anyone else sees it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut state = self.state.lock();
        let outcome = change(&mut state.ledger);
        if let Some(file) = &self.file {
            let saved = save(file, &state).is_ok();
            self.behind.store(!saved, Ordering::Relaxed);
        }
        outcome
    }

    /// Whether the file lacks the latest change: then nothing may be promised.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }
}

/// Writes a new file, and puts it in the place of the old one: a process that is killed
/// leaves either of them whole.
fn save(file: &Path, state: &State) -> io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut text = serde_json::to_vec_pretty(state).map_err(io::Error::other)?;
    text.push(b'\n');
    let mut written = create(&new)?;
    written.write_all(&text)?;
    written.sync_all()?;
    fs::rename(&new, file)
}

/// For nobody else to read: it holds tokens.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A time as milliseconds since 1970.
pub(super) mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::clock::Timestamp;

    pub(in super::super) fn serialize<S: Serializer>(
        at: &Timestamp,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(at.as_unix_millis())
    }

    pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Timestamp, D::Error> {
        u64::deserialize(from).map(Timestamp::from_unix_millis)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::broker::MeshBroker;
    use super::super::ledger::Terms;
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn the_file_has_what_was_promised_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.json");
        let book = Book::open(Some(file.clone())).unwrap();
        let (now, terms) = (
            Timestamp::from_unix_millis(0),
            Terms {
                access_ttl: Duration::from_secs(1),
                refresh_ttl: Duration::from_secs(2),
                rotates: true,
            },
        );
        let mut count = 0;
        let mut mint = || {
            count += 1;
            count.to_string()
        };
        let broker = MeshBroker::Northwind;
        book.change(|ledger| drop(ledger.connect("ada", broker, &terms, now, &mut mint)));
        assert!(!book.is_behind());
        let id = book.client_id.clone();
        drop(book);

        let again = Book::open(Some(file.clone())).unwrap();
        assert_eq!(again.client_id, id);
        let standing = |ledger: &Ledger| ledger.connections("ada", "sandbox", now);
        assert_eq!(again.read(standing), 1);

        // Where the file cannot be written the book says so, until it can be again.
        fs::remove_dir_all(folder.path()).unwrap();
        again.change(|ledger| ledger.end("ada"));
        assert!(again.is_behind());
        fs::create_dir(folder.path()).unwrap();
        again.change(|_| ());
        assert!(!again.is_behind());

        fs::write(&file, "{").unwrap();
        assert!(Book::open(Some(file)).is_err());
    }
}
