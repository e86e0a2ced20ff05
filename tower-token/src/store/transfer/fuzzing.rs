//! What the fuzz targets see of exports; see `crate::fuzzing`.

use super::format::{self, Body, Chain, SEALED_KEY};
use super::reader::{self, Piece, Reader};
use crate::store::contract::{Group, Row, RowKey, Version};
use crate::store::seal::Key;

/// How long each piece of an export is, if it comes `len` bytes at a time, and whether what
/// comes then is refused.
pub fn export_pieces(bytes: &[u8], len: usize) -> (Vec<usize>, bool) {
    reader::pieces(bytes, len)
}

/// An export of these rows, whatever they are, always by one key.
pub fn exported(rows: &[&[u8]]) -> Vec<u8> {
    let sealed_key = [0; SEALED_KEY];
    let (mut export, mut chain) = format::head(key(), &sealed_key, b"keyset");
    for row in rows {
        let row = Row::new(Version(0), None, row.to_vec().into());
        chain.row(&mut export, &row_key(), &row);
    }
    chain.end(&mut export, rows.len() as u64, 0);
    export.to_vec()
}

/// The rows of an export, if it is as `exported` made it, to its end.
pub fn taken_in(export: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut reader = Reader::default();
    reader.push(export);
    let Ok(Some(Piece::Head(head))) = reader.next() else {
        return None;
    };
    let mut chain = Chain::of(key(), &head).ok()?;
    let (mut taken, mut is_done) = (Vec::new(), false);
    while let Some(piece) = reader.next().ok()? {
        let Piece::Frame(frame) = piece else {
            return None;
        };
        match chain.check(&frame).ok()? {
            Body::Row(_, row) => taken.push(row.bytes.to_vec()),
            Body::End { rows, .. } => is_done = rows == taken.len() as u64,
        }
    }
    is_done.then_some(taken)
}

fn key() -> Key {
    Key::new(&[3; Key::LEN])
}

fn row_key() -> RowKey {
    RowKey::new(Group([1; 16]), [2; 32])
}
