//! What the fuzz targets see of the store; see `crate::fuzzing`.

use super::codec::{RECORD, WireRecord, read, size, write};
use super::contract::{Group, RowKey};
use super::seal::{self, Key, Kind, Place};
pub use super::transfer::fuzzing::{export_pieces, exported, taken_in};
use crate::error::Error;
use crate::grant::Record;

/// A record as it was read, and as it is after a way through memory.
pub fn recoded(text: &[u8]) -> Result<[Vec<u8>; 2], Error> {
    let as_read = encoded(&read(RECORD, text)?)?;
    let record = Record::try_from(read::<WireRecord>(RECORD, text)?)?;
    Ok([as_read, encoded(&WireRecord::from(&record))?])
}

fn encoded(wire: &WireRecord) -> Result<Vec<u8>, Error> {
    let mut text = vec![0; size(wire)?];
    write(RECORD, wire, &mut text)?;
    Ok(text)
}

/// Seals `text`, always with one key and for one place.
pub fn sealed(text: &[u8]) -> Result<Vec<u8>, Error> {
    in_place(|key, place| {
        seal::seal(key, 7, place, text.len(), |buffer| {
            buffer.copy_from_slice(text);
            Ok(())
        })
    })
}

/// Opens what `sealed` made.
pub fn opened(record: &[u8]) -> Result<Vec<u8>, Error> {
    in_place(|key, place| Ok(seal::open(key, place, record)?.to_vec()))
}

fn in_place<T>(work: impl FnOnce(&Key, Place<'_>) -> T) -> T {
    let place = Place {
        vault: b"vault",
        row: &RowKey::new(Group([1; 16]), [2; 32]),
        kind: Kind::Grant,
    };
    work(&Key::new(&[3; 32]), place)
}
