//! In which of the two stores the grants are, and what decides it.
//!
//! ```text
//! Unlooked --no mark in `from`--> From --gate closed, all copied--> Marking
//!     |                            ^  \__ it did not get there _______/ |
//!     |                                                                 v
//!     +--a mark in `from`-----------------------------------------> Marked
//!                                                                       |
//!                                    To <--the keyset is in `to`--------+
//! ```
//!
//! Whatever is interrupted goes on from where it is: by the next who writes, or after a restart.

use std::sync::atomic::{AtomicU8, Ordering};

use super::mark::{Mark, Stage};
use super::side::Side;
use crate::store::contract::{
    ByteStore, Expected, RowKey, SaveOutcome, SealedRow, StoreError, StoreErrorKind, Version,
};
use crate::store::keyset::Keyset;

/// How often a keyset that somebody else writes as well is looked at.
const TRIES: u32 = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has asked `from` yet.
    Unlooked,
    From,
    /// Everything is in `to` but the keyset, and nobody writes. `from` is given the mark over
    /// the keyset of this version; `in_doubt`, if it may be there already.
    Marking {
        mark: Mark,
        over: Version,
        in_doubt: bool,
    },
    /// `from` has the mark: there is no way back. The keyset may be missing in `to`.
    Marked(Mark),
    To,
}

impl State {
    pub(super) fn side(&self) -> Option<Side> {
        match self {
            Self::From => Some(Side::From),
            Self::To => Some(Side::To),
            Self::Unlooked | Self::Marking { .. } | Self::Marked(_) => None,
        }
    }
}

/// Where reads go without asking anybody.
#[derive(Debug, Default)]
pub(super) struct Hint(AtomicU8);

impl Hint {
    pub(super) fn set(&self, state: &State) {
        let hint = match state {
            State::Unlooked | State::Marked(_) => 0,
            // While the mark is written nobody writes anything else, in either store.
            State::From | State::Marking { .. } => 1,
            State::To => 2,
        };
        self.0.store(hint, Ordering::Release);
    }

    pub(super) fn side(&self) -> Option<Side> {
        match self.0.load(Ordering::Acquire) {
            1 => Some(Side::From),
            2 => Some(Side::To),
            _ => None,
        }
    }
}

/// Goes on until it is clear where the grants are. After an error, or if it is dropped, `state`
/// says how far it came.
pub(super) async fn settle(
    from: &impl ByteStore,
    to: &impl ByteStore,
    state: &mut State,
    hint: &Hint,
) -> Result<Side, StoreError> {
    loop {
        hint.set(state);
        match state {
            State::From => return Ok(Side::From),
            State::To => return Ok(Side::To),
            State::Unlooked => *state = looked(from, to).await?,
            State::Marking {
                mark,
                over,
                in_doubt,
            } => {
                // Before it is sent: who is dropped meanwhile does not know either.
                let was_in_doubt = std::mem::replace(in_doubt, true);
                match marked(from, mark, *over).await {
                    Ok(Some(true)) => *state = State::Marked(mark.clone()),
                    Ok(Some(false)) => *state = State::From,
                    Ok(None) => {
                        return Err(unavailable(
                            "nobody knows whether the store that is moved has its mark",
                        ));
                    }
                    Err(error) => {
                        if !was_in_doubt {
                            *state = State::From;
                            hint.set(state);
                        }
                        return Err(error);
                    }
                }
            }
            State::Marked(mark) => {
                arrive(to, mark).await?;
                *state = State::To;
            }
        }
    }
}

/// What `from` says. Only if it is empty does it matter what `to` is.
async fn looked(from: &impl ByteStore, to: &impl ByteStore) -> Result<State, StoreError> {
    let key = Keyset::row_key();
    for _ in 0..TRIES {
        let Some(row) = from.load(&key).await? else {
            return match to.load(&key).await? {
                None => Ok(State::From),
                Some(_) => Err(moved(
                    "the store to be moved is empty, and the one to move to is not: open that one \
                     by itself, or give back the one that was moved",
                )),
            };
        };
        match Mark::read(&row.bytes) {
            None => {}
            Some(mark) if mark.stage == Stage::Left => return Ok(State::Marked(mark)),
            Some(_) => return Err(moved("a move into the store to be moved is not finished")),
        }
        // A process that died may have sent the mark, and it may still be on its way: over this
        // version, which is none any more once the same keyset is written again.
        let same = SealedRow::new(row.bytes, row.due);
        if let SaveOutcome::Saved(_) = from
            .save(&key, same, Expected::Version(row.version))
            .await?
        {
            return Ok(State::From);
        }
    }
    Err(unavailable(
        "the keyset of the store to be moved kept changing: try again",
    ))
}

/// Writes the mark over the keyset of version `over`; whether it is there, if anybody knows.
async fn marked(
    from: &impl ByteStore,
    mark: &Mark,
    over: Version,
) -> Result<Option<bool>, StoreError> {
    let key = Keyset::row_key();
    let expected = Expected::Version(over);
    match from.save(&key, mark.row(), expected).await? {
        SaveOutcome::Saved(_) => Ok(Some(true)),
        // Sent until the answer is one or the other: then no earlier one can come after it.
        SaveOutcome::Unknown => Ok(None),
        // Also what was written by an attempt that went unanswered says so.
        SaveOutcome::Conflict => match from.load(&key).await {
            Ok(row) => {
                let found = row.and_then(|row| Mark::read(&row.bytes));
                Ok(Some(found.as_ref() == Some(mark)))
            }
            Err(_) => Ok(None),
        },
    }
}

/// Puts the keyset into `to`, if it is not there: from then on it can be opened.
async fn arrive(to: &impl ByteStore, mark: &Mark) -> Result<(), StoreError> {
    let key = Keyset::row_key();
    for _ in 0..TRIES {
        let version = match arriving(to, &key, mark).await? {
            Some(version) => version,
            None => return Ok(()),
        };
        let keyset = SealedRow::new(mark.keyset.clone(), None);
        let expected = Expected::Version(version);
        if let SaveOutcome::Saved(_) = to.save(&key, keyset, expected).await? {
            return Ok(());
        }
    }
    Err(unavailable("the keyset was not written: try again"))
}

/// The version of the mark in `to`, unless the keyset is there: perhaps a later one, as others
/// may have opened it by then.
pub(super) async fn arriving(
    to: &impl ByteStore,
    key: &RowKey,
    mark: &Mark,
) -> Result<Option<Version>, StoreError> {
    let Some(row) = to.load(key).await? else {
        return Err(moved(
            "the grants were moved, and not into the store that is given as the one to move to",
        ));
    };
    match Mark::read(&row.bytes) {
        None => Ok(None),
        Some(there) if there.stage == Stage::Arriving && there.id == mark.id => {
            Ok(Some(row.version))
        }
        Some(there) if there.stage == Stage::Left => Err(moved(
            "the store to move to was itself moved to another: open that one",
        )),
        Some(_) => Err(moved(
            "the store to move to is being filled by another move",
        )),
    }
}

pub(super) fn moved(message: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Moved, message)
}

pub(super) fn unavailable(message: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, message)
}
