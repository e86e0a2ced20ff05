//! What is in the system's cache, and may not be on the disk, is written once more.

use std::io::{self, SeekFrom};

/// How much is written anew at a time.
const PIECE: usize = 1 << 20;
/// And where that cannot be read.
const STEP: usize = 4 << 10;

/// Writes every byte of a file over itself, but for what cannot be read: that was not in the
/// cache, and the engine says what it makes of it.
pub(super) fn rewrite(mut file: impl io::Read + io::Write + io::Seek, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let (mut at, mut in_steps_until) = (0, 0);
    while at < len {
        let most = if at < in_steps_until { STEP } else { PIECE };
        let most = usize::try_from(len - at).map_or(most, |left| left.min(most));
        let piece = &mut buffer[..most];
        file.seek(SeekFrom::Start(at))?;
        match file.read_exact(piece) {
            Ok(()) => {
                file.seek(SeekFrom::Start(at))?;
                file.write_all(piece)?;
                at += most as u64;
            }
            Err(_) if at >= in_steps_until => in_steps_until = at + most as u64,
            Err(_) => at += most as u64,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    /// A file some of whose bytes cannot be read.
    struct Scratched(io::Cursor<Vec<u8>>, std::ops::Range<u64>);

    impl io::Read for Scratched {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let (from, len) = (self.0.position(), self.0.get_ref().len() as u64);
            let until = len.min(from + into.len() as u64);
            if from < self.1.end && self.1.start < until {
                return Err(io::Error::other("as told"));
            }
            self.0.read(into)
        }
    }

    impl io::Write for Scratched {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Over itself, in the place where it was read.
            let at = usize::try_from(self.0.position()).unwrap();
            assert!(self.0.get_ref()[at..at + bytes.len()] == *bytes);
            let written = self.0.write(bytes)?;
            self.0.get_mut()[at..at + written].fill(b'w');
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl io::Seek for Scratched {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn what_cannot_be_read_is_stepped_over_when_the_rest_is_written_anew() {
        let len = 2 * PIECE + 3;
        for bad in [
            PIECE + 5_000..PIECE + 5_001,
            len - 1..len,
            0..1,
            0..PIECE + 1,
            0..len,
        ] {
            let range = bad.start as u64..bad.end as u64;
            let mut file = Scratched(io::Cursor::new(vec![b'r'; len]), range);
            rewrite(&mut file, len as u64).unwrap();
            let bytes = file.0.into_inner();
            assert_eq!(bytes.len(), len);
            let around = bad.start / STEP * STEP..bad.end.next_multiple_of(STEP).min(len);
            for (at, byte) in bytes.into_iter().enumerate() {
                assert_eq!(byte == b'r', around.contains(&at), "{at} of {bad:?}");
            }
        }
    }

    #[test]
    fn what_is_written_anew_is_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for len in [0, 1, PIECE, 2 * PIECE + 3] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            rewrite(&file, len as u64).unwrap();
            assert!(fs::read(&path).unwrap() == bytes, "{len}");
        }
    }
}
