//! What a custom store is given: a name for a token, and the token.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::key::GrantKey;
use crate::store::contract::byte_store::{
    Expected, Group, Row, RowKey, SealedRow, StoreError, Version,
};
use crate::store::keyset::Keyset;
use crate::store::sealed::SealedStore;
use crate::store::version::unused;

/// Whose token it is, and for what: two keyed hashes as text.
///
/// Lower-case letters, digits and `-`, so that each fits any column, path or URL. Keys are in
/// the order of their [users](Self::user) and then of their [resources](Self::resource), none
/// before all, which is that of their texts, too.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), tower_token::Error> {
/// use tower_token::{GrantKey, KeyRing, MemoryStore, SealedStore, store::custom::TokenKey};
///
/// let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
/// let key = store.token_key(&GrantKey::new("google", "user-17"));
/// assert_eq!(key.user().len(), 32);
/// assert_eq!(key.user(), store.token_key(&GrantKey::new("github", "user-17")).user());
/// assert_eq!(TokenKey::new(key.user(), key.resource()), Some(key.clone()));
/// assert_eq!(key.as_str().parse::<TokenKey>()?, key);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey {
    /// The user, and what is after the point.
    text: String,
}

/// What lies under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Row,
    Lease,
    Claim,
}

impl Kind {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Row => "",
            Self::Lease => "-lease",
            Self::Claim => "-claim",
        }
    }
}

const USER: usize = 2 * 16;

impl TokenKey {
    /// The key of these parts, if they are those of one.
    pub fn new(user: &str, resource: Option<&str>) -> Option<Self> {
        let key = Self {
            text: match resource {
                Some(resource) => format!("{user}.{resource}"),
                None => user.to_owned(),
            },
        };
        key.is_valid().then_some(key)
    }

    /// Whose: 32 hexadecimal digits, the same for all tokens of one user. Zeros are the store's
    /// own.
    pub fn user(&self) -> &str {
        self.text.get(..USER).unwrap_or_default()
    }

    /// Which of the user's: their grant at one provider, and one connection there. At most 70
    /// characters. None for the one row that is of no user: the keys that seal all others.
    pub fn resource(&self) -> Option<&str> {
        self.text.get(USER + 1..)
    }

    /// Both in one, with a point between them: at most 103 characters.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn of(key: &RowKey, kind: Kind) -> Self {
        let (user, resource) = key.as_bytes().split_at(16);
        let mut text = hex(user);
        if *key != Keyset::row_key() {
            text = format!("{text}.{}{}", hex(resource), kind.suffix());
        } else if kind != Kind::Row {
            text = format!("{text}.{}", kind.suffix());
        }
        Self { text }
    }

    /// What is before every key of a group.
    pub(super) fn before(group: Group) -> Option<Self> {
        let text = hex(group.as_bytes());
        (group != Keyset::row_key().group()).then_some(Self { text })
    }

    pub(super) fn row(&self) -> Option<(RowKey, Kind)> {
        let mut bytes = [0; RowKey::LEN];
        let (user, resource) = bytes.split_at_mut(16);
        unhex(self.user(), user)?;
        let text = self.resource().unwrap_or_default();
        let (text, kind) = match text {
            text if text.ends_with(Kind::Lease.suffix()) => (text, Kind::Lease),
            text if text.ends_with(Kind::Claim.suffix()) => (text, Kind::Claim),
            text => (text, Kind::Row),
        };
        let text = text.strip_suffix(kind.suffix())?;
        if !text.is_empty() {
            unhex(text, resource)?;
        }
        let key = RowKey::from_bytes(&bytes)?;
        Some((key, kind))
    }

    /// Whether it names a row, or a mark on one, and is how that is written.
    fn is_valid(&self) -> bool {
        let row = self.row();
        row.is_some_and(|(key, kind)| {
            Self::of(&key, kind) == *self || Self::before(key.group()).as_ref() == Some(self)
        })
    }
}

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for TokenKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (user, resource) = match text.split_once('.') {
            Some((user, resource)) => (user, Some(resource)),
            None => (text, None),
        };
        Self::new(user, resource)
            .ok_or_else(|| Error::new(crate::error::ErrorKind::Config, "no key of a token"))
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16);
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(digit).collect()
}

fn unhex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    for (byte, two) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::try_from(digit(two[0])? << 4 | digit(two[1])?).ok()?;
    }
    Some(())
}

/// A token as it is kept: sealed, so that nobody can read it but who has the outer key.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedToken {
    /// Which write it is of: another number each time, below 2<sup>63</sup>.
    pub version: u64,
    /// When something is to be done about it though nobody asks. Only
    /// [`keys`] needs it.
    ///
    /// [`keys`]: super::UserTokenStore::keys
    pub due: Option<Timestamp>,
    /// What was sealed: mostly less than 4 KiB, at most [`SealedRow::MAX_LEN`]. Under keys that
    /// end in `-lease` or `-claim` it is 24 bytes that are no secret.
    pub bytes: Bytes,
}

impl SealedToken {
    /// A token as it was kept.
    pub fn new(version: u64, due: Option<Timestamp>, bytes: impl Into<Bytes>) -> Self {
        Self {
            version,
            due,
            bytes: bytes.into(),
        }
    }

    /// Another write than any before.
    pub(super) fn written(row: &SealedRow) -> Result<Self, StoreError> {
        Ok(Self::new(unused()?, row.due(), row.bytes().clone()))
    }

    pub(super) fn into_row(self) -> Row {
        Row::new(Version(self.version), self.due, self.bytes)
    }
}

pub(super) fn version_of(expected: Expected) -> Option<u64> {
    match expected {
        Expected::Absent => None,
        Expected::Version(version) => Some(version.0),
    }
}

impl SealedStore {
    /// Under which key the tokens of a grant are, in a [custom store](crate::store::custom): to
    /// note its [user](TokenKey::user) beside a user of yours, or to find their rows.
    pub fn token_key(&self, key: &GrantKey) -> TokenKey {
        TokenKey::of(&self.keys.seen().keyset.row(key), Kind::Row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_key_and_only_rows_do() {
        let keyset = [0; RowKey::LEN];
        let mut beside = keyset;
        beside[47] = 1;
        let mut texts = Vec::new();
        for bytes in [keyset, beside, [0xab; RowKey::LEN], [0xff; RowKey::LEN]] {
            let row = RowKey::from_bytes(&bytes).unwrap();
            for kind in [Kind::Row, Kind::Claim, Kind::Lease] {
                let key = TokenKey::of(&row, kind);
                assert_eq!(key.row(), Some((row, kind)), "{key}");
                assert_eq!(key.as_str().parse::<TokenKey>().unwrap(), key);
                assert_eq!(TokenKey::new(key.user(), key.resource()), Some(key.clone()));
                assert!(key.as_str().len() <= 103);
                texts.push(key);
            }
        }
        // In the order of rows, each with what belongs to it.
        assert!(texts.is_sorted());
        for text in [
            "",
            "0",
            "0.0",
            "g",
            &"A".repeat(32),
            &format!("{}.", "0".repeat(32)),
        ] {
            assert!(text.parse::<TokenKey>().is_err(), "{text}");
        }
        assert!("\u{e9}".repeat(32).parse::<TokenKey>().is_err());
    }
}
