//! How a row lies in an engine: as one value, or in several where values may only be so long.
//!
//! Chunk keys carry the row's version: a reader never joins chunks of two versions.
//!
//! A row is what its head says. New chunks and the new entry of the index are written before the
//! head, and old ones removed after it, so that it is whole wherever that is cut off. What is
//! left over then counts for nothing: chunks go with the next save of a row that has some,
//! an entry that its head contradicts when it falls due.
//!
//! ```text
//! head   row key                            -> version 8 | due 8 | chunk count 2 | bytes, if no chunks
//! chunk  row key | version 8 | index 2      -> bytes
//! due    label 15 | due 8 | row key         -> nothing
//! ```

use std::ops::{Bound, Range};

use bytes::Bytes;

use super::super::contract::{RowKey, SealedRow, Version};
use crate::clock::Timestamp;

const HEAD: usize = 18;
/// A row that is never due.
const NEVER: u64 = u64::MAX;

/// The head of a row, as it was read.
pub(super) struct Head {
    pub(super) version: Version,
    pub(super) due: Option<Timestamp>,
    pub(super) chunks: u16,
    pub(super) inline: Bytes,
}

impl Head {
    /// The head that `value` is. One that is none counts as an empty row: it does not open, and
    /// can be replaced.
    pub(super) fn of(value: &Bytes) -> Self {
        Self::parse(value).unwrap_or(Self {
            version: Version(0),
            due: None,
            chunks: 0,
            inline: Bytes::new(),
        })
    }

    fn parse(value: &Bytes) -> Option<Self> {
        let (version, rest) = value.split_first_chunk::<8>()?;
        let (due, rest) = rest.split_first_chunk::<8>()?;
        let (chunks, inline) = rest.split_first_chunk::<2>()?;
        Some(Self {
            version: Version(u64::from_be_bytes(*version)),
            due: Some(u64::from_be_bytes(*due))
                .filter(|due| *due != NEVER)
                .map(Timestamp::from_unix_millis),
            chunks: u16::from_be_bytes(*chunks),
            inline: value.slice_ref(inline),
        })
    }
}

/// The head's value, and the chunks behind it if the row is longer than `max`.
pub(super) fn cut(version: Version, row: &SealedRow, max: usize) -> (Vec<u8>, Vec<&[u8]>) {
    let bytes = row.bytes();
    let chunks: Vec<&[u8]> = if bytes.len() <= max - HEAD {
        Vec::new()
    } else {
        bytes.chunks(max).collect()
    };
    let inline = if chunks.is_empty() { &bytes[..] } else { &[] };
    let mut head = Vec::with_capacity(HEAD + inline.len());
    head.extend_from_slice(&version.0.to_be_bytes());
    let due = row.due().map_or(NEVER, Timestamp::as_unix_millis);
    head.extend_from_slice(&due.to_be_bytes());
    // Not exceeded by the longest row in chunks of 4 KiB.
    head.extend_from_slice(
        &u16::try_from(chunks.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    head.extend_from_slice(inline);
    (head, chunks)
}

pub(super) fn chunk_key(key: &RowKey, version: Version, index: u16) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(RowKey::LEN + HEAD);
    chunk.extend_from_slice(key.as_bytes());
    chunk.extend_from_slice(&version.0.to_be_bytes());
    chunk.extend_from_slice(&index.to_be_bytes());
    chunk
}

/// Where all chunks of a row lie.
pub(super) fn chunks_of(key: &RowKey) -> (Bound<&[u8]>, Bound<Vec<u8>>) {
    let last = chunk_key(key, Version(u64::MAX), u16::MAX);
    (Bound::Excluded(key.as_bytes()), Bound::Included(last))
}

/// Where all lies that is no row, nor a chunk of one: the index, and our own marks. No row's key
/// begins like that, save by a chance of one in 2^96.
pub(super) const NO_ROWS: Range<&[u8]> = b"tower-token ".as_slice()..b"tower-token!".as_slice();

const DUE: &[u8; 15] = b"tower-token due";

/// The entry of a due row in the order of time.
pub(super) fn due_key(due: Timestamp, key: &RowKey) -> Vec<u8> {
    let mut entry = due_until(due);
    entry.extend_from_slice(key.as_bytes());
    entry
}

/// Below it are the entries of all that was due before `due`, from [`due_first`] on.
pub(super) fn due_until(due: Timestamp) -> Vec<u8> {
    [&DUE[..], &due.as_unix_millis().to_be_bytes()].concat()
}

pub(super) fn due_first() -> &'static [u8] {
    DUE
}

/// The row that an entry of [`due_key`] names, and when it is due.
pub(super) fn due_row(entry: &[u8]) -> Option<(RowKey, Timestamp)> {
    let (due, key) = entry.strip_prefix(DUE)?.split_first_chunk::<8>()?;
    let due = Timestamp::from_unix_millis(u64::from_be_bytes(*due));
    Some((RowKey::from_bytes(key)?, due))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4_096;

    #[test]
    fn no_value_is_too_long_and_nothing_is_lost() {
        for len in [
            0,
            1,
            MAX - HEAD,
            MAX - HEAD + 1,
            MAX,
            MAX + 1,
            40_000,
            SealedRow::MAX_LEN,
        ] {
            for max in [MAX, usize::MAX] {
                let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let row = SealedRow::new(bytes.clone(), None);
                let (head, chunks) = cut(Version(7), &row, max);
                assert!(head.len() <= max && chunks.iter().all(|c| c.len() <= max));
                let parsed = Head::parse(&Bytes::from(head)).unwrap();
                assert_eq!(
                    (parsed.version, usize::from(parsed.chunks)),
                    (Version(7), chunks.len())
                );
                assert_eq!([&parsed.inline[..], &chunks.concat()].concat(), bytes);
            }
        }
    }

    #[test]
    fn an_entry_says_which_row_is_due_and_when() {
        let key = RowKey::from_bytes(&[7; RowKey::LEN]).unwrap();
        let due = Timestamp::from_unix_millis(1_234);
        assert_eq!(due_row(&due_key(due, &key)), Some((key, due)));
    }
}
