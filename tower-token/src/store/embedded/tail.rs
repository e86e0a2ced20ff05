//! How far an engine has to reach.
//!
//! sled takes a log that was cut short for one whose last writes were torn, and opens without
//! them; redb goes by a bit that says which of two commits is the last. So the last version of
//! each round stands in the engine, behind what it is of, and once the round is synced in a
//! small file beside it. An engine that ends before what that file says has lost writes that
//! were acknowledged.
//!
//! The file is not synced with each round, which would make every save wait for the disk
//! twice. It gets there when the system writes it, within a minute or so, and at a close.
//! Until then a loss may go unnoticed, but what the file says was always on the disk before it
//! said so: a power cut raises no false alarm.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

/// A version, and the same with its bits turned over.
const LEN: usize = 16;

pub(super) struct Tail(File);

impl Tail {
    pub(super) const FILE: &str = "tower-token.tail";

    pub(super) fn new(file: File) -> Self {
        Self(file)
    }

    /// The version that the engine has to reach, as far as is known.
    pub(super) fn read(&self) -> io::Result<u64> {
        let mut bytes = Vec::new();
        (&self.0).rewind()?;
        (&self.0).take(LEN as u64).read_to_end(&mut bytes)?;
        Ok(parse(&bytes).unwrap_or(0))
    }

    /// Everything up to `version` is on the disk.
    pub(super) fn write(&self, version: u64) -> io::Result<()> {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&version.to_be_bytes());
        bytes[8..].copy_from_slice(&(!version).to_be_bytes());
        (&self.0).rewind()?;
        (&self.0).write_all(&bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// A file that was never written, or not to its end, says nothing.
fn parse(bytes: &[u8]) -> Option<u64> {
    let (version, inverse) = bytes.split_first_chunk::<8>()?;
    let version = u64::from_be_bytes(*version);
    (inverse == (!version).to_be_bytes()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_says_nothing() {
        let tail = Tail::new(tempfile::tempfile().unwrap());
        assert_eq!(tail.read().unwrap(), 0);
        for version in [7, u64::MAX, 0] {
            tail.write(version).unwrap();
            assert_eq!(tail.read().unwrap(), version);
        }
        for bytes in [&[0; 16][..], &[1; 8], &[0, 0, 0, 0, 0, 0, 0, 1]] {
            assert_eq!(parse(bytes), None);
        }
    }
}
