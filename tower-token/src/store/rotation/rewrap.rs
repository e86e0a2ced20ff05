//! Sealing everything anew, behind live traffic.

use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::Record;
use crate::store::codec::{self, WireRecord};
use crate::store::contract::{Row, RowKey, SaveOutcome};
use crate::store::keyset::Keyset;
use crate::store::pass::{self, NAMED, together};
use crate::store::sealed::SealedStore;
use crate::store::sent::Sent;

/// How many rows a step takes, unless told otherwise.
const ROWS: usize = 64;
/// How often a row may change under a step before it is left to the next pass.
const TRIES: u32 = 4;

/// One pass over all rows; see [`KeyRotation::rewrap`](super::KeyRotation::rewrap).
///
/// Whatever was done when it is dropped stays done, and another pass does only the rest. Rows
/// that live traffic writes meanwhile are left as they were written: that is under the active
/// key, by every instance that has looked at the keyset since the activation.
#[derive(Debug)]
pub struct Rewrap {
    store: SealedStore,
    rows: usize,
    progress: RewrapProgress,
}

/// How far a [`Rewrap`] has come.
#[non_exhaustive]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RewrapProgress {
    /// How many rows it has looked at.
    pub examined: u64,
    /// How many of them it has sealed anew.
    pub rewrapped: u64,
    /// How many are still under a retired key, because a refresh of theirs was under way or
    /// they went on changing. Another pass takes them up.
    pub left: u64,
    /// How many do not open, and were left as they are. While a row names a key, that key
    /// cannot be destroyed.
    pub unreadable: u64,
    /// The first hundred of those, for [`remove_unreadable`](super::KeyRotation::remove_unreadable).
    pub unreadable_rows: Vec<RowKey>,
    /// The last row it has looked at, for [`Rewrap::after`].
    pub cursor: Option<RowKey>,
    is_done: bool,
}

impl RewrapProgress {
    /// About how much of the store was looked at, from 0 to 1: rows lie evenly in the order of
    /// their keys.
    pub fn fraction(&self) -> f64 {
        pass::fraction(self.cursor, self.is_done)
    }
}

/// What became of a row.
enum Fate {
    /// Nothing had to be done about it, or it is gone.
    Fine,
    Rewrapped,
    Left,
    Unreadable,
}

impl Rewrap {
    pub(super) fn new(store: SealedStore) -> Self {
        Self {
            store,
            rows: ROWS,
            progress: RewrapProgress::default(),
        }
    }

    /// Begins after the [`cursor`](RewrapProgress::cursor) of a pass that was stopped. Not
    /// needed, since a row that is done costs no more than its read.
    #[must_use]
    pub fn after(mut self, cursor: RowKey) -> Self {
        self.progress.cursor = Some(cursor);
        self
    }

    /// How many rows a step reads, and writes at once: 64 by default, at least one.
    #[must_use]
    pub fn rows_per_step(mut self, rows: usize) -> Self {
        self.rows = rows.max(1);
        self
    }

    /// How far it has come.
    pub fn progress(&self) -> &RewrapProgress {
        &self.progress
    }

    /// Looks at some more rows; whether there were any.
    ///
    /// Pause between steps to leave the store to its users. After an error the same rows are
    /// taken up again.
    pub async fn step(&mut self) -> Result<bool, Error> {
        let after = self.progress.cursor;
        let page = self.store.store.scan(after.as_ref(), self.rows).await?;
        let Some((last, _)) = page.last() else {
            self.progress.is_done = true;
            return Ok(false);
        };
        let last = *last;
        // By what is active now, whoever made it so.
        self.store.keys.look(&*self.store.store).await?;
        let rows = page.into_iter();
        let rows: Vec<_> = rows.filter(|(key, _)| *key != Keyset::row_key()).collect();
        let fates = rows.iter().map(|(key, row)| self.rewrap(*key, row.clone()));
        let fates = together(fates).await;
        // What is done is done, also where one of them fails and all are looked at again.
        let rewrapped = |fate: &&_| matches!(fate, Ok(Fate::Rewrapped));
        self.progress.rewrapped += fates.iter().filter(rewrapped).count() as u64;
        let fates: Vec<_> = fates.into_iter().collect::<Result<_, _>>()?;
        let progress = &mut self.progress;
        for ((row_key, _), fate) in rows.iter().zip(fates) {
            progress.examined += 1;
            match fate {
                Fate::Fine | Fate::Rewrapped => {}
                Fate::Left => progress.left += 1,
                Fate::Unreadable => {
                    progress.unreadable += 1;
                    if progress.unreadable_rows.len() < NAMED {
                        progress.unreadable_rows.push(*row_key);
                    }
                }
            }
        }
        progress.cursor = Some(last);
        Ok(true)
    }

    /// The rest of the pass, without a pause.
    pub async fn finish(mut self) -> Result<RewrapProgress, Error> {
        while self.step().await? {}
        Ok(self.progress)
    }

    async fn rewrap(&self, row_key: RowKey, mut row: Row) -> Result<Fate, Error> {
        let (mut text, sent) = (None, Sent::default());
        for _ in 0..TRIES {
            // After the row, which it is to tell of.
            self.store.keys.current(&*self.store.store).await?;
            let opener = self.store.opener_of(&row).await?;
            if opener.is_sealed_for_now(&row) {
                return Ok(Fate::Fine);
            }
            // A write of ours took too long. Somebody else's may hide what is newer.
            let is_ours = opener.is_orphan(&row) && sent.knows(&row.bytes);
            let text = match text.take().filter(|_| is_ours) {
                Some(before) => text.insert(before),
                None => match opener.text(&row_key, &row) {
                    Ok(found) => text.insert(found),
                    Err(_) => return Ok(Fate::Unreadable),
                },
            };
            if has_intent(text, self.store.keys.now()) {
                return Ok(Fate::Left);
            }
            let saved = self.store.seal_again(&row_key, &row, text, &sent).await?;
            if let SaveOutcome::Saved(_) = saved {
                return Ok(Fate::Rewrapped);
            }
            match self.store.store.load(&row_key).await? {
                Some(changed) => row = changed,
                None => return Ok(Fate::Fine),
            }
        }
        Ok(Fate::Left)
    }
}

/// Whether a refresh is under way that is about to write the row itself.
fn has_intent(text: &[u8], now: Timestamp) -> bool {
    let record = codec::read::<WireRecord<'_>>(codec::RECORD, text).and_then(Record::try_from);
    let intent = record.ok().and_then(|record| record.intent);
    intent.is_some_and(|intent| now < intent.deadline)
}
