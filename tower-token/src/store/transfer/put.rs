//! Writing what comes from another store.

use super::decide::{Decision, decide, under};
use super::progress::TransferProgress;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::grant::Record;
use crate::store::contract::{RowKey, SaveOutcome};
use crate::store::keyset::Keyset;
use crate::store::pass::together;
use crate::store::sealed::SealedStore;
use crate::store::sent::Sent;

/// How often a row may change under a write before it is left to the next pass.
const TRIES: u32 = 4;

/// A record as it was found in another store.
pub(super) struct Incoming {
    /// Of its row there.
    pub(super) row_key: RowKey,
    pub(super) due: Option<Timestamp>,
    pub(super) record: Result<Record, Error>,
}

/// What became of a record.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Written,
    Same,
    Newer,
    Diverged,
    /// Its row kept changing.
    Left,
    /// Its row, which is this one, does not open.
    Blocked(RowKey),
    Unreadable,
}

/// Writes records that were sealed under the keys of `from`, side by side, and counts them.
pub(super) async fn put_all(
    target: &SealedStore,
    from: &Keyset,
    records: Vec<Incoming>,
    progress: &mut TransferProgress,
) -> Result<(), Error> {
    let rows: Vec<_> = records.iter().map(|incoming| incoming.row_key).collect();
    let fates = records
        .into_iter()
        .map(async |incoming| match incoming.record {
            Ok(record) => put(target, from, record, incoming.due).await,
            Err(_) => Ok(Fate::Unreadable),
        });
    let fates = together(fates).await;
    progress.add(rows.into_iter().zip(fates))
}

async fn put(
    target: &SealedStore,
    from: &Keyset,
    record: Record,
    due: Option<Timestamp>,
) -> Result<Fate, Error> {
    let seen = target.keys.seen();
    let keyset = &seen.keyset;
    let mut record = under(record, from, keyset);
    let key = record.grant.key.clone();
    let (mut is_sent, sent) = (false, Sent::default());
    for _ in 0..TRIES {
        let found = match is_sent {
            true => target.load_to_settle(&key).await,
            false => target.load(&key).await,
        };
        let found = match found {
            Err(error) if error.kind() == ErrorKind::Damaged => {
                return Ok(Fate::Blocked(keyset.row(&key)));
            }
            found => found?,
        };
        let expected = match decide(found.as_ref(), &record) {
            Decision::Write(expected, epoch) => {
                record.grant.epoch = epoch;
                expected
            }
            Decision::Same if is_sent => return Ok(Fate::Written),
            Decision::Same => return Ok(Fate::Same),
            Decision::Newer => return Ok(Fate::Newer),
            Decision::Diverged => return Ok(Fate::Diverged),
            Decision::Unknown => return Ok(Fate::Blocked(keyset.row(&key))),
        };
        match target.save(&record, due, expected, &sent).await? {
            SaveOutcome::Saved(_) => return Ok(Fate::Written),
            SaveOutcome::Conflict => {}
            SaveOutcome::Unknown => is_sent = true,
        }
    }
    Ok(Fate::Left)
}
