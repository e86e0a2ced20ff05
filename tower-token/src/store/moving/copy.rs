//! Rows as they lie there, into the other store.

use super::place::unavailable;
use super::progress::Counts;
use crate::store::contract::{
    ByteStore, Expected, Row, RowKey, SaveOutcome, SealedRow, StoreError, Version,
};
use crate::store::keyset::Keyset;
use crate::store::pass::together;

/// How often a row may change under its copy, and how often a write may go unanswered.
const TRIES: u32 = 8;

/// What makes a row of one store that of the other.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Write(Expected),
    Remove(Version),
}

fn step(from: Option<&Row>, to: Option<&Row>) -> Step {
    match (from, to) {
        (None, None) => Step::Nothing,
        (Some(_), None) => Step::Write(Expected::Absent),
        (None, Some(there)) => Step::Remove(there.version),
        (Some(row), Some(there)) if (&row.bytes, row.due) == (&there.bytes, there.due) => {
            Step::Nothing
        }
        (Some(_), Some(there)) => Step::Write(Expected::Version(there.version)),
    }
}

/// Copies some rows that are not there yet, side by side.
pub(super) async fn new_rows(
    from: &impl ByteStore,
    to: &impl ByteStore,
    rows: Vec<(RowKey, Row)>,
    counts: &Counts,
) -> Result<(), StoreError> {
    let copied = rows.iter().map(|(key, row)| async move {
        match put(to, key, row, Expected::Absent).await? {
            true => counts.written(),
            // Something is there after all.
            false => one(from, to, key, counts).await?,
        }
        Ok(())
    });
    together(copied).await.into_iter().collect()
}

/// Makes some rows what they are in `from`, side by side.
pub(super) async fn rows(
    from: &impl ByteStore,
    to: &impl ByteStore,
    keys: &[RowKey],
    counts: &Counts,
) -> Result<(), StoreError> {
    // The keyset goes last, by itself.
    let keys = keys.iter().filter(|key| **key != Keyset::row_key());
    let copied = keys.map(|key| one(from, to, key, counts));
    together(copied).await.into_iter().collect()
}

async fn one(
    from: &impl ByteStore,
    to: &impl ByteStore,
    key: &RowKey,
    counts: &Counts,
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let (row, there) = (from.load(key).await?, to.load(key).await?);
        match (step(row.as_ref(), there.as_ref()), row) {
            (Step::Nothing, _) => return Ok(()),
            // If it changes meanwhile it is copied again.
            (Step::Write(expected), Some(row)) if put(to, key, &row, expected).await? => {
                counts.written();
                return Ok(());
            }
            (Step::Remove(version), _) if to.purge(key, version).await? => {
                counts.removed();
                return Ok(());
            }
            // Written by an attempt that was given up. Looked at again.
            (Step::Write(_) | Step::Remove(_), _) => {}
        }
    }
    Err(unavailable("a row that is moved kept changing: try again"))
}

/// Whether a row was written. One whose answer is lost is sent again, until it is known: it could
/// come after a later one otherwise.
async fn put(
    to: &impl ByteStore,
    key: &RowKey,
    row: &Row,
    expected: Expected,
) -> Result<bool, StoreError> {
    for _ in 0..TRIES {
        let sealed = SealedRow::new(row.bytes.clone(), row.due);
        match to.save(key, sealed, expected).await? {
            SaveOutcome::Saved(_) => return Ok(true),
            SaveOutcome::Conflict => return Ok(false),
            SaveOutcome::Unknown => {}
        }
    }
    Err(unavailable(
        "nobody knows whether a row that is moved was written: try again",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_row_becomes_what_it_is() {
        let row = |version, due, bytes: &'static [u8]| {
            let due = Some(Timestamp::from_unix_millis(due));
            Row::new(Version(version), due, bytes.into())
        };
        let old = row(1, 1, b"old");
        assert_eq!(step(None, None), Step::Nothing);
        assert_eq!(step(Some(&old), None), Step::Write(Expected::Absent));
        assert_eq!(step(None, Some(&old)), Step::Remove(Version(1)));
        assert_eq!(step(Some(&row(2, 1, b"old")), Some(&old)), Step::Nothing);
        let over = || Step::Write(Expected::Version(Version(1)));
        assert_eq!(step(Some(&row(1, 2, b"old")), Some(&old)), over());
        assert_eq!(step(Some(&row(1, 1, b"new")), Some(&old)), over());
    }
}
