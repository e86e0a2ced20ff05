//! What stands in the place of a keyset while a store is being filled, and after it was left.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::error::{Error, ErrorKind};
use crate::store::contract::{Announce, SealedRow};
use crate::store::seal;

/// No sealed record begins like this: the first byte of one is its format, which is not zero.
const LABEL: &[u8; 17] = b"\0tower-token move";
const FORMAT: u8 = 1;
const HEAD: usize = LABEL.len() + 2 + ID;
const ID: usize = 16;

/// Where a store stands in a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is being filled: nobody may open it yet.
    Arriving = 1,
    /// Its rows are elsewhere: nobody may open it any more.
    Left = 2,
}

/// The row where a keyset would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) stage: Stage,
    /// Which move it is: the same in both stores.
    pub(super) id: [u8; ID],
    /// The keyset as it is wrapped: of the store that is moved, as it was when the move began or
    /// when it was left.
    pub(super) keyset: Bytes,
}

impl Mark {
    /// That of a new move.
    pub(super) fn arriving(keyset: Bytes) -> Result<Self, Error> {
        let mut id = [0; ID];
        seal::fill(&mut id)?;
        let stage = Stage::Arriving;
        Ok(Self { stage, id, keyset })
    }

    /// The mark that `row` is, unless it is a keyset, or anything else.
    pub(super) fn read(row: &Bytes) -> Option<Self> {
        let rest = row.strip_prefix(LABEL.as_slice())?;
        let stage = match rest {
            [FORMAT, 1, ..] => Stage::Arriving,
            [FORMAT, 2, ..] => Stage::Left,
            _ => return None,
        };
        let id = *rest.get(2..)?.first_chunk()?;
        let keyset = row.slice(HEAD..);
        Some(Self { stage, id, keyset })
    }

    /// As it is written. Where several processes have the store open, all are told.
    pub(super) fn row(&self) -> SealedRow {
        let mut bytes = BytesMut::with_capacity(HEAD + self.keyset.len());
        bytes.put_slice(LABEL);
        bytes.put_slice(&[FORMAT, self.stage as u8]);
        bytes.put_slice(&self.id);
        bytes.put_slice(&self.keyset);
        SealedRow::new(bytes, None).announced(Announce::EveryoneAtOnce)
    }
}

/// Fails if a mark stands where a keyset should.
pub(in crate::store) fn is_keyset(row: &Bytes) -> Result<(), Error> {
    let message = match Mark::read(row).map(|mark| mark.stage) {
        None if row.starts_with(LABEL) => {
            "this store was moved by another version of tower-token: use that one"
        }
        None => return Ok(()),
        Some(Stage::Arriving) => {
            "a move into this store is not finished: let the process that moves it end it, or \
             start that once more"
        }
        Some(Stage::Left) => "the grants of this store were moved to another: open that one",
    };
    Err(Error::new(ErrorKind::Config, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for stage in [Stage::Arriving, Stage::Left] {
            for keyset in [&b""[..], b"wrapped"] {
                let mark = Mark {
                    stage,
                    ..Mark::arriving(Bytes::copy_from_slice(keyset)).unwrap()
                };
                let row = mark.row();
                assert_eq!(Mark::read(row.bytes()), Some(mark));
                assert!(is_keyset(row.bytes()).is_err());
            }
        }
    }

    #[test]
    fn nothing_else_is_a_mark_and_what_a_later_version_wrote_is_no_keyset() {
        let mark = Mark::arriving(Bytes::new()).unwrap().row();
        for len in 0..mark.bytes().len() {
            assert_eq!(Mark::read(&mark.bytes().slice(..len)), None, "{len}");
        }
        assert!(is_keyset(&Bytes::from_static(&[1; 60])).is_ok());
        let mut later = mark.bytes().to_vec();
        later[LABEL.len()] = FORMAT + 1;
        let later = Bytes::from(later);
        assert_eq!(Mark::read(&later), None);
        assert_eq!(is_keyset(&later).unwrap_err().kind(), ErrorKind::Config);
    }
}
