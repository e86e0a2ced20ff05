//! File systems of a test's own: in memory, or from an image. They are mounted on folders that
//! this made, and unmounted when they are dropped.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::BoxError;

/// A file system that is mounted.
#[derive(Debug)]
pub struct Mounted {
    folder: TempDir,
}

impl Mounted {
    /// One in memory, of `kib` KiB. Takes root.
    pub fn in_memory(kib: u32) -> Result<Self, BoxError> {
        let size = format!("size={kib}k");
        Self::mount(&["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// The one in `image`, by a loop device. Takes root.
    pub fn image(image: &Path) -> Result<Self, BoxError> {
        let image = image.to_str().ok_or("an odd path")?;
        Self::mount(&["-t", "ext4", "-o", "loop", image])
    }

    fn mount(what: &[&str]) -> Result<Self, BoxError> {
        let folder = tempfile::tempdir()?;
        run(Command::new("mount").args(what).arg(folder.path()))?;
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Says that something was not run, also where a test's own output is not shown when it passes.
pub fn not_run(what: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "not run: {what}, which takes root to mount a file system of its own"
    );
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, if something in it is still open: then it goes when that does.
        let umount = |lazy: &[&str]| run(Command::new("umount").args(lazy).arg(self.path()));
        if umount(&[]).is_err() {
            let _ = umount(&["-l"]);
        }
    }
}

/// Runs a program of the system to its end.
pub fn run(command: &mut Command) -> Result<(), BoxError> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?}: {}", command.get_program(), said.trim()).into())
}
