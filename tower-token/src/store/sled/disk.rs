//! What the engine asks of the disk. A seam: tests put one here that fails.

use std::fs::File;
use std::io;

/// What may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// sled's file is written anew.
    Rewrite,
    /// sled is opened, for the first time or again.
    Open,
    /// What a save replaces is looked at.
    Look,
    /// A save is handed to sled.
    Apply,
    /// sled writes what it was handed.
    Flush,
}

pub(super) trait Disk: Send + Sync + 'static {
    /// Asked before each step; an error is what the step comes to.
    fn before(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }

    /// Puts what was written on the disk. `sync_data` is `fdatasync` on Linux, and a full
    /// barrier on macOS.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// The disk as it is.
pub(super) struct Real;

impl Disk for Real {}
