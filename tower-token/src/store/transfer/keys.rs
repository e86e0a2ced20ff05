//! Keys of an export: the one that its tags are made by, and those of its rows.

use super::format::invalid;
use crate::error::Error;
use crate::store::contract::RowKey;
use crate::store::keyset::Keyset;
use crate::store::seal::{self, Key, Kind, Place};
use crate::store::sealed::place;

/// Seals the key of an export by the data key that is active.
pub(super) fn seal_key(keyset: &Keyset, key: &Key) -> Result<Vec<u8>, Error> {
    let row_key = Keyset::row_key();
    sealed(keyset, export_key(keyset, &row_key), key.as_bytes())
}

/// Opens what [`seal_key`] sealed under this keyset.
pub(super) fn open_key(keyset: &Keyset, sealed_key: &[u8]) -> Result<Key, Error> {
    let row_key = Keyset::row_key();
    let by = seal::key_id(sealed_key).ok();
    let by = by.and_then(|id| keyset.by_id(id).ok());
    let text = by.map(|by| seal::open(by, export_key(keyset, &row_key), sealed_key));
    let text = text.and_then(Result::ok);
    let key = text.and_then(|text| text.first_chunk().map(Key::new));
    key.ok_or_else(|| invalid("the beginning of the export was damaged or changed"))
}

/// Seals `text` for a row by the data key that is active.
pub(super) fn seal_row(keyset: &Keyset, row_key: &RowKey, text: &[u8]) -> Result<Vec<u8>, Error> {
    sealed(keyset, place(keyset, row_key), text)
}

fn sealed(keyset: &Keyset, place: Place<'_>, text: &[u8]) -> Result<Vec<u8>, Error> {
    let (id, key) = keyset.active()?;
    let copy = |buffer: &mut [u8]| {
        buffer.copy_from_slice(text);
        Ok(())
    };
    seal::seal(key, id, place, text.len(), copy)
}

fn export_key<'a>(keyset: &'a Keyset, row: &'a RowKey) -> Place<'a> {
    Place {
        vault: keyset.vault(),
        row,
        kind: Kind::ExportKey,
    }
}
