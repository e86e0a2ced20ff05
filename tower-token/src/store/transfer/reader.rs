//! Taking an export apart: where its pieces begin and end. Nothing is said of what stands in them.

use bytes::{Bytes, BytesMut};

use super::format::{
    BEFORE_RECORD, END, END_LEN, FORMAT, FRAME, Frame, Head, LENGTH, MAGIC, MARK, MAX_KEYSET, ROW,
    SEALED_KEY, TAG, changed, invalid,
};
use crate::error::Error;
use crate::store::contract::SealedRow;

#[derive(Debug)]
pub(super) enum Piece {
    Head(Head),
    Frame(Frame),
}

/// Takes an export apart, in whatever pieces it comes. Holds no more than what was pushed since
/// [`next`](Self::next) had nothing to give, and one frame.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: BytesMut,
    at: At,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    Frames,
    End,
}

impl Reader {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, if all of it has come.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Error> {
        match self.at {
            At::Head => {
                let head = self.head()?;
                if head.is_some() {
                    self.at = At::Frames;
                }
                Ok(head.map(Piece::Head))
            }
            At::Frames => {
                let frame = self.frame()?;
                if frame.as_ref().is_some_and(|frame| frame.kind == END) {
                    self.at = At::End;
                }
                Ok(frame.map(Piece::Frame))
            }
            At::End if self.buffer.is_empty() => Ok(None),
            At::End => Err(invalid("the export goes on after its end")),
        }
    }

    fn head(&mut self) -> Result<Option<Head>, Error> {
        let mark = &self.buffer[..self.buffer.len().min(MARK)];
        let magic = &mark[..mark.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return Err(invalid("this is no export of tower-token"));
        }
        if mark
            .get(MAGIC.len())
            .is_some_and(|format| *format != FORMAT)
        {
            return Err(invalid(
                "the export has a format that this version does not know: import it with the \
                 version that wrote it, or a later one",
            ));
        }
        let Some(keyset) = self.length(MARK, MAX_KEYSET)? else {
            return Ok(None);
        };
        let front = MARK + LENGTH;
        let Some(whole) = self.whole(front + keyset + SEALED_KEY + TAG) else {
            return Ok(None);
        };
        let (authenticated, tag) = tagged(whole);
        Ok(Some(Head {
            keyset: authenticated.slice(front..front + keyset),
            sealed_key: authenticated.slice(front + keyset..),
            authenticated,
            tag,
        }))
    }

    fn frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(kind) = self.buffer.first().copied() else {
            return Ok(None);
        };
        let longest = match kind {
            ROW => BEFORE_RECORD + SealedRow::MAX_LEN,
            END => END_LEN,
            _ => return Err(changed()),
        };
        let Some(len) = self.length(1, longest)? else {
            return Ok(None);
        };
        let Some(whole) = self.whole(FRAME + len + TAG) else {
            return Ok(None);
        };
        let (front, tag) = tagged(whole);
        let payload = front.slice(FRAME..);
        Ok(Some(Frame { kind, payload, tag }))
    }

    /// The length that stands at `at`, if it has come.
    fn length(&self, at: usize, longest: usize) -> Result<Option<usize>, Error> {
        let Some(length) = self.buffer.get(at..at + LENGTH) else {
            return Ok(None);
        };
        let length = length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        if length > longest {
            return Err(changed());
        }
        Ok(Some(length))
    }

    /// The next `len` bytes, if they have come.
    fn whole(&mut self, len: usize) -> Option<Bytes> {
        (self.buffer.len() >= len).then(|| self.buffer.split_to(len).freeze())
    }
}

/// What a tag authenticates, and the tag.
fn tagged(mut whole: Bytes) -> (Bytes, Bytes) {
    let tag = whole.split_off(whole.len() - TAG);
    (whole, tag)
}

/// How long each piece of an export is, if it comes `len` bytes at a time, and whether what comes
/// then is refused.
#[cfg(any(test, fuzzing))]
pub(super) fn pieces(bytes: &[u8], len: usize) -> (Vec<usize>, bool) {
    let (mut reader, mut pieces) = (Reader::default(), Vec::new());
    for bytes in bytes.chunks(len) {
        reader.push(bytes);
        loop {
            pieces.push(match reader.next() {
                Ok(Some(Piece::Head(head))) => head.authenticated.len() + TAG,
                Ok(Some(Piece::Frame(frame))) => FRAME + frame.payload.len() + TAG,
                Ok(None) => break,
                Err(_) => return (pieces, true),
            });
        }
    }
    (pieces, false)
}

#[cfg(test)]
mod tests {
    use super::super::format::{Body, Chain, fits, head};
    use super::*;
    use crate::clock::Timestamp;
    use crate::error::ErrorKind;
    use crate::store::contract::{Group, Row, RowKey, Version};
    use crate::store::seal::Key;

    fn export(rows: &[Vec<u8>]) -> Vec<u8> {
        let key = Key::new(&[3; Key::LEN]);
        let (mut export, mut chain) = head(key, &[0; SEALED_KEY], b"keyset");
        for (n, bytes) in rows.iter().enumerate() {
            let row_key = RowKey::new(Group([1; 16]), [n as u8; 32]);
            let due = (n % 2 == 0).then_some(Timestamp::from_unix_millis(n as u64));
            let row = Row::new(Version(9), due, bytes.clone().into());
            chain.row(&mut export, &row_key, &row);
        }
        chain.end(&mut export, rows.len() as u64, 7);
        export.to_vec()
    }

    #[test]
    fn an_export_reads_as_it_was_written() {
        let mut reader = Reader::default();
        reader.push(&export(&[vec![1; 3], Vec::new()]));
        let Some(Piece::Head(head)) = reader.next().unwrap() else {
            panic!("no head");
        };
        assert_eq!(&head.keyset[..], b"keyset");
        assert_eq!(&head.sealed_key[..], &[0; SEALED_KEY]);
        let mut chain = Chain::of(Key::new(&[3; Key::LEN]), &head).unwrap();
        let mut next = || {
            let piece = reader.next().unwrap()?;
            let Piece::Frame(frame) = piece else {
                panic!("no frame");
            };
            Some(chain.check(&frame).unwrap())
        };
        let row_key = |n| RowKey::new(Group([1; 16]), [n; 32]);
        let row = |due, bytes: &'static [u8]| Row::new(Version(0), due, Bytes::from_static(bytes));
        let due = Some(Timestamp::from_unix_millis(0));
        assert_eq!(next(), Some(Body::Row(row_key(0), row(due, &[1; 3]))));
        assert_eq!(next(), Some(Body::Row(row_key(1), row(None, &[]))));
        let (rows, unreadable) = (2, 7);
        assert_eq!(next(), Some(Body::End { rows, unreadable }));
        assert_eq!(next(), None);
    }

    #[test]
    fn the_largest_row_fits_and_a_larger_one_is_refused_by_its_length() {
        let whole = |len| {
            let mut reader = Reader::default();
            let export = export(&[vec![0; len]]);
            // All but the bytes of the row.
            reader.push(&export[..export.len().min(1_000)]);
            reader.next().map(drop)?;
            reader.next().map(drop)?;
            reader.push(&export[1_000..]);
            reader.next().map(|row| row.is_some())
        };
        assert!(whole(SealedRow::MAX_LEN).unwrap());
        let error = whole(SealedRow::MAX_LEN + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidExport);
        let row = |len| Row::new(Version(0), None, vec![0; len].into());
        assert!(fits(&row(SealedRow::MAX_LEN)) && !fits(&row(SealedRow::MAX_LEN + 1)));
    }

    /// One byte of a format to come.
    #[test]
    fn another_format_is_said_and_not_guessed_at() {
        let mut export = export(&[]);
        export[MAGIC.len()] += 1;
        let mut reader = Reader::default();
        reader.push(&export[..MARK]);
        let error = reader.next().unwrap_err();
        assert!(error.to_string().contains("a format"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_the_same(
            junk: Vec<u8>,
            rows: Vec<Vec<u8>>,
            cut: proptest::sample::Index,
            len in 1usize..200,
        ) {
            let mut bytes = export(&rows);
            let whole = pieces(&bytes, bytes.len());
            proptest::prop_assert_eq!(&whole, &pieces(&bytes, len));
            proptest::prop_assert_eq!(whole.0.iter().sum::<usize>(), bytes.len());
            bytes.truncate(cut.index(bytes.len()));
            bytes.extend(junk);
            proptest::prop_assert_eq!(pieces(&bytes, bytes.len().max(1)), pieces(&bytes, len));
        }
    }
}
