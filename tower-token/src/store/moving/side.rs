//! One of the two stores, and what is told of it outside.

use bytes::{BufMut as _, BytesMut};

use crate::store::contract::{Cursor, Expected, Row, RowKey, SaveOutcome, Version};

/// One of the two stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    From,
    To,
}

impl Side {
    /// A version as it is known outside. Both stores count for themselves, and what was read in
    /// one must not be taken for what is in the other.
    pub(super) fn version(self, version: Version) -> Version {
        match self {
            Self::From => Version(version.0 ^ 1 << 63),
            Self::To => version,
        }
    }

    pub(super) fn expected(self, expected: Expected) -> Expected {
        match expected {
            Expected::Absent => Expected::Absent,
            Expected::Version(version) => Expected::Version(self.version(version)),
        }
    }

    pub(super) fn row(self, mut row: Row) -> Row {
        row.version = self.version(row.version);
        row
    }

    pub(super) fn rows(self, mut rows: Vec<(RowKey, Row)>) -> Vec<(RowKey, Row)> {
        for (_, row) in &mut rows {
            row.version = self.version(row.version);
        }
        rows
    }

    pub(super) fn saved(self, outcome: SaveOutcome) -> SaveOutcome {
        match outcome {
            SaveOutcome::Saved(version) => SaveOutcome::Saved(self.version(version)),
            SaveOutcome::Conflict | SaveOutcome::Unknown => outcome,
        }
    }

    /// A place in this store, told apart from one in the other.
    pub(super) fn cursor(self, place: &Cursor) -> Cursor {
        let mut bytes = BytesMut::new();
        bytes.put_u8(self as u8);
        bytes.put_slice(place.as_bytes());
        Cursor::new(bytes)
    }

    /// What was made a cursor of this side, if it was.
    pub(super) fn place(self, cursor: &Cursor) -> Option<Cursor> {
        let place = cursor.as_bytes().strip_prefix(&[self as u8])?;
        Some(Cursor::new(place.to_vec()))
    }
}
