//! How a row lies in sled: in values of at most 4 KiB.
//!
//! sled moves values of about 8 KB to files that it never syncs, so a longer row is cut into
//! chunks. Chunk keys carry the row's version: a reader never joins chunks of two versions.
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

use super::super::contract::{RowKey, SealedRow, Version};
use crate::clock::Timestamp;

pub(super) const MAX_VALUE: usize = 4_096;
const HEAD: usize = 18;
/// A row that is never due.
const NEVER: u64 = u64::MAX;
/// What a single-value row can carry.
const INLINE: usize = MAX_VALUE - HEAD;

// The count of chunks is two bytes long.
const _: () = assert!(SealedRow::MAX_LEN / MAX_VALUE < u16::MAX as usize);

/// The head of a row, as it was read.
pub(super) struct Head<'a> {
    pub(super) version: Version,
    pub(super) due: Option<Timestamp>,
    pub(super) chunks: u16,
    pub(super) inline: &'a [u8],
}

impl<'a> Head<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let (version, rest) = value.split_first_chunk::<8>()?;
        let (due, rest) = rest.split_first_chunk::<8>()?;
        let (chunks, inline) = rest.split_first_chunk::<2>()?;
        Some(Self {
            version: Version(u64::from_be_bytes(*version)),
            due: Some(u64::from_be_bytes(*due))
                .filter(|due| *due != NEVER)
                .map(Timestamp::from_unix_millis),
            chunks: u16::from_be_bytes(*chunks),
            inline,
        })
    }
}

/// The head's value, and the chunks behind it if the row is long.
pub(super) fn cut(version: Version, row: &SealedRow) -> (Vec<u8>, Vec<&[u8]>) {
    let bytes = row.bytes();
    let chunks: Vec<&[u8]> = if bytes.len() <= INLINE {
        Vec::new()
    } else {
        bytes.chunks(MAX_VALUE).collect()
    };
    let inline = if chunks.is_empty() { &bytes[..] } else { &[] };
    let mut head = Vec::with_capacity(HEAD + inline.len());
    head.extend_from_slice(&version.0.to_be_bytes());
    let due = row.due().map_or(NEVER, Timestamp::as_unix_millis);
    head.extend_from_slice(&due.to_be_bytes());
    // Cannot be exceeded: see the assertion above.
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

/// The version of the row that a chunk is of, if this is the key of one.
pub(super) fn chunk_version(key: &[u8]) -> Option<Version> {
    let (version, _) = key.get(RowKey::LEN..)?.split_first_chunk::<8>()?;
    Some(Version(u64::from_be_bytes(*version)))
}

/// No row's key begins with it, save by a chance of one in 2^120.
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

    #[test]
    fn no_value_is_longer_than_4_kib_and_nothing_is_lost() {
        for len in [
            0,
            1,
            INLINE,
            INLINE + 1,
            MAX_VALUE,
            MAX_VALUE + 1,
            40_000,
            SealedRow::MAX_LEN,
        ] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let row = SealedRow::new(bytes.clone(), None);
            let (head, chunks) = cut(Version(7), &row);
            assert!(head.len() <= MAX_VALUE && chunks.iter().all(|c| c.len() <= MAX_VALUE));
            let parsed = Head::parse(&head).unwrap();
            assert_eq!(
                (parsed.version, usize::from(parsed.chunks)),
                (Version(7), chunks.len())
            );
            assert_eq!([parsed.inline, &chunks.concat()].concat(), bytes);
        }
    }
}
