//! What the engine asks of the disk. A seam: tests put one here that fails.

use std::fs::File;
use std::io;

/// What may fail, or be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) enum Step {
    /// The engine's file is written anew.
    Rewrite,
    /// The engine is opened, for the first time or again.
    Open,
    /// A round waits for those who were just answered, whatever this comes to.
    Wait,
    /// What a save replaces is looked at.
    Look,
    /// A save is handed to the engine.
    Apply,
    /// The engine puts what it was handed on the disk.
    Flush,
}

pub(in super::super) trait Disk: Send + Sync + 'static {
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
