//! A program that ends with this process, and the folder that it works in.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::BoxError;

/// Runs the program, and beside it a reader of our stdin: each line names a signal. The end of
/// it, which is the end of this process, is the last signal.
const GUARD: &str = r#"
last=$1 log=$2
exec 2>>"$log"
shift 2
exec 3<&0
"$@" </dev/null >>"$log" 2>&1 3<&- &
child=$!
{
    while read -r signal <&3; do
        [ "$signal" != none ] || exit 0
        kill -s "$signal" "$child"
    done
    kill -s "$last" "$child"
} 2>/dev/null &
exec 3<&-
wait "$child"
"#;

/// Removes the folder when stdin ends. What still runs in it may be writing its last.
const REMOVER: &str = r#"
cat >/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" 2>/dev/null && exit
    sleep 0.3
done
"#;

/// Who runs the servers: they refuse to be run by root.
#[derive(Debug, Clone, Copy)]
pub(super) struct User(Option<(u32, u32)>);

impl User {
    /// For whoever is not root, themselves.
    fn of(folder: &Path) -> Result<Self, BoxError> {
        if fs::metadata(folder)?.uid() != 0 {
            return Ok(Self(None));
        }
        let known = fs::read_to_string("/etc/passwd")?;
        let ids = known.lines().find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        match ids {
            Some(ids) => Ok(Self(Some(ids))),
            None => Err("PostgreSQL does not run as root, and there is no user `postgres`".into()),
        }
    }

    /// A command run by them, without our terminal's signals.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command.process_group(0).stdin(Stdio::null());
        command
    }

    fn own(self, path: &Path) -> Result<(), BoxError> {
        match self.0 {
            Some((user, group)) => Ok(chown(path, Some(user), Some(group))?),
            None => Ok(()),
        }
    }
}

/// A temporary folder of theirs. It goes with this value, and with this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    pub(super) user: User,
    remover: Child,
}

impl Folder {
    pub(super) fn new() -> Result<Self, BoxError> {
        let made = TempDir::with_prefix("rig-")?;
        let user = User::of(made.path())?;
        user.own(made.path())?;
        let remover = user
            .command("sh")
            .args(["-c", REMOVER, "sh"])
            .arg(made.path())
            .stdin(Stdio::piped())
            .spawn()?;
        let path = made.keep();
        Ok(Self {
            path,
            user,
            remover,
        })
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new file that its user may read, and nobody else.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, BoxError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.join(name);
        let mut options = fs::File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        self.user.own(&path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.remover.stdin.take());
        // A folder that stays is no reason to fail.
        let _ = self.remover.wait();
    }
}

/// A running program.
#[derive(Debug)]
pub(super) struct Guarded(Child);

impl Guarded {
    /// Starts `program` by `user`, its output appended to `log`. It ends by the signal `last`
    /// with this value, or with this process.
    pub(super) fn start<A: AsRef<OsStr>>(
        user: User,
        last: &str,
        log: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, BoxError> {
        let mut command = user.command("sh");
        command.args(["-c", GUARD, "sh", last]).arg(log);
        command.arg(program).args(arguments).stdin(Stdio::piped());
        // What it might not be allowed to enter is not where it works.
        command.current_dir("/");
        Ok(Self(command.spawn()?))
    }

    pub(super) fn runs(&mut self) -> Result<bool, BoxError> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Ends it by SIGKILL, and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<(), BoxError> {
        if let Some(stdin) = &mut self.0.stdin {
            stdin.write_all(b"KILL\n")?;
        }
        self.0.wait()?;
        // Its number may be somebody else's by now.
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.write_all(b"none\n")?;
        }
        Ok(())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
