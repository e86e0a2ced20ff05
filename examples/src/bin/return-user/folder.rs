//! The one folder that everything is kept in.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use examples::private::{private_folder, write_private};
use fs2::FileExt as _;
use tower_token::KeyRing;

/// Says that a folder is ours; without it nothing in a folder is touched.
const MARK: &str = "return-user.txt";
const MARK_TEXT: &str = "The data of tower-token's example return-user. --reset deletes it.\n";

const GRANTS: &str = "grants";
const SESSIONS: &str = "sessions";
const MESH: &str = "mesh.json";
/// What a stand-in that was killed may leave.
const MESH_NEW: &str = "mesh.json.new";
const KEY: &str = "key";
const LOCK: &str = "lock";

/// The data folder, ours alone while this lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens the folder at `path`, or makes it. `reset` deletes what is ours in it first.
    /// A folder with other things in it is refused, and so is one that is in use.
    pub(crate) fn open(path: &Path, reset: bool) -> Result<Self, String> {
        let name = path.display();
        let failed = |error: io::Error| format!("the data folder {name}: {error}");
        private_folder(path).map_err(failed)?;
        if !path.join(MARK).is_file() {
            if fs::read_dir(path).map_err(failed)?.next().is_some() {
                return Err(format!(
                    "{name} is not a data folder of this program, and not empty: nothing in it \
                     was touched. Choose another one with --data"
                ));
            }
            fs::write(path.join(MARK), MARK_TEXT).map_err(failed)?;
        }
        let lock = File::create(path.join(LOCK)).map_err(failed)?;
        lock.try_lock_exclusive().map_err(|_| {
            format!("{name} is in use by another return-user: stop that one, or choose another folder with --data")
        })?;
        let folder = Self {
            path: path.canonicalize().map_err(failed)?,
            _lock: lock,
        };
        if reset {
            folder.reset().map_err(failed)?;
        }
        private_folder(&folder.sessions()).map_err(failed)?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the grants are sealed.
    pub(crate) fn grants(&self) -> PathBuf {
        self.path.join(GRANTS)
    }

    /// Where the sessions are.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.path.join(SESSIONS)
    }

    /// What the stand-in of Mesh knows.
    pub(crate) fn mesh(&self) -> PathBuf {
        self.path.join(MESH)
    }

    /// The outer key, made at the first start. Beside the grants it protects nobody: a
    /// service of yours keeps it elsewhere.
    pub(crate) fn key(&self) -> Result<KeyRing, Box<dyn std::error::Error>> {
        let path = self.path.join(KEY);
        if !path.exists() {
            write_private(&path, KeyRing::generate()?.encode().expose().as_bytes())?;
        }
        Ok(KeyRing::from_file(&path)?)
    }

    /// Only what this program makes is deleted, by name.
    fn reset(&self) -> io::Result<()> {
        for folder in [GRANTS, SESSIONS] {
            there(fs::remove_dir_all(self.path.join(folder)))?;
        }
        for file in [MESH, MESH_NEW, KEY] {
            there(fs::remove_file(self.path.join(file)))?;
        }
        Ok(())
    }
}

/// What is not there need not be deleted.
fn there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_kept_and_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new/data");
        let first = Folder::open(&path, false).unwrap().key().unwrap();
        let folder = Folder::open(&path, false).unwrap();
        let again = folder.key().unwrap();
        assert_eq!(first.encode().expose(), again.encode().expose());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(path.join(KEY)), 0o600);
            assert_eq!(mode(path), 0o700);
        }
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let _folder = Folder::open(home.path(), false).unwrap();
        for reset in [false, true] {
            let said = Folder::open(home.path(), reset).unwrap_err();
            assert!(said.contains("in use"), "{said}");
        }
    }

    #[test]
    fn somebody_elses_folder_is_not_touched() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("key"), "mine").unwrap();
        for reset in [false, true] {
            let said = Folder::open(home.path(), reset).unwrap_err();
            assert!(said.contains("nothing in it was touched"), "{said}");
        }
        let left: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(fs::read(home.path().join("key")).unwrap(), b"mine");
    }

    #[test]
    fn a_reset_deletes_what_is_ours_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path(), false).unwrap();
        folder.key().unwrap();
        fs::create_dir(folder.grants()).unwrap();
        fs::write(folder.grants().join("db"), "x").unwrap();
        fs::write(folder.sessions().join("s"), "x").unwrap();
        fs::write(folder.mesh(), "{}").unwrap();
        fs::write(home.path().join("notes.txt"), "mine").unwrap();
        drop(folder);
        let folder = Folder::open(home.path(), true).unwrap();
        assert!(!folder.grants().exists() && !folder.mesh().exists());
        assert!(!home.path().join(KEY).exists());
        assert_eq!(fs::read_dir(folder.sessions()).unwrap().count(), 0);
        assert!(home.path().join("notes.txt").exists());
    }
}
