//! The store's own keys: one row, wrapped by the outer key.

mod life;
mod live;
mod wire;

use std::time::Duration;

use self::life::Entry;
pub(super) use self::life::Next;
pub use self::life::{DataKey, DataKeyState};
pub(super) use self::live::{LiveKeyset, Seen};
use self::wire::WireKeyset;
use super::codec;
use super::contract::{Group, Row, RowKey, SealedRow};
use super::keyring::KeyRing;
use super::moving;
use super::seal::{self, Key, Kind, Place, keyed_hash};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::Fingerprint;
use crate::key::GrantKey;
use crate::secret::Secret;

/// How long an instance seals without another look, where nothing else was set when the store
/// was made.
pub(super) const KEY_POLL: Duration = Duration::from_secs(60);

/// The vault's identity, its data keys, and the keys of its hashes.
///
/// Losing this row loses everything: all that is sealed is sealed by a key in it.
#[derive(Debug, Clone)]
pub(super) struct Keyset {
    /// Rises with every change, so that an older copy can be told.
    sequence: u64,
    vault: [u8; 16],
    /// For how long an instance seals without another look. Never changed: what those wait for
    /// that rotate is the same for all.
    poll: Duration,
    entries: Vec<Entry>,
    /// For the hashes that rows and groups are found by. Never changed: that would
    /// move every row.
    index: Key,
    /// For the names of grants in logs.
    fingerprint: Key,
}

/// Why a record's key opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// It may have been added since the keyset was looked at.
    Unknown,
    /// It is gone for good.
    Destroyed,
}

impl Keyset {
    /// The keyset of a new store.
    pub(super) fn generate(now: Timestamp, poll: Duration) -> Result<Self, Error> {
        let mut vault = [0; 16];
        seal::fill(&mut vault)?;
        Ok(Self {
            sequence: 1,
            vault,
            poll,
            entries: vec![Entry::new(1, DataKeyState::Active, now)?],
            index: Key::random()?,
            fingerprint: Key::random()?,
        })
    }

    /// Where the keyset lives, in every store: no hash is all zeroes.
    pub(super) fn row_key() -> RowKey {
        RowKey::new(Group([0; 16]), [0; 32])
    }

    /// Wraps the keyset by an outer key.
    pub(super) fn wrap(&self, outer: &Key) -> Result<SealedRow, Error> {
        let wire = WireKeyset::from(self);
        let sealed = seal::seal(outer, outer.id(), place(), codec::size(&wire)?, |buffer| {
            codec::write(wire::SCHEMA, &wire, buffer)
        })?;
        Ok(SealedRow::new(sealed, None))
    }

    /// Unwraps a keyset by the outer key it names.
    pub(super) fn unwrap(row: &Row, ring: &KeyRing) -> Result<Self, Error> {
        moving::is_keyset(&row.bytes)?;
        let damaged = |cause| {
            Error::with_source(
                ErrorKind::Key,
                "the store's keyset does not open: it is damaged, or the outer key is not the \
                 one the store was made with",
                cause,
            )
        };
        seal::key_id(&row.bytes).map_err(damaged)?;
        let outer = Self::wrapped_by(&row.bytes, ring)?;
        wire::read(&seal::open(outer, place(), &row.bytes).map_err(damaged)?)
    }

    /// The outer key that wrapped a row.
    pub(super) fn wrapped_by<'a>(row: &[u8], ring: &'a KeyRing) -> Result<&'a Key, Error> {
        let id = seal::key_id(row)?;
        ring.keys.iter().find(|key| key.id() == id).ok_or_else(|| {
            key_error(
                "this store was made with another outer key: start with that one (several keys \
                 are separated by commas, the new one first)",
            )
        })
    }

    /// The key that seals now.
    pub(super) fn active(&self) -> Result<(u32, &Key), Error> {
        let mut entries = self.entries.iter();
        let active = entries.find(|entry| entry.data_key.state == DataKeyState::Active);
        active
            .and_then(|entry| Some((entry.data_key.id, entry.key.as_ref()?)))
            .ok_or_else(|| key_error("the store's keyset has no active key"))
    }

    pub(super) fn seals_with(&self, id: u32) -> bool {
        self.active().is_ok_and(|(active, _)| active == id)
    }

    /// The key that `id` names, if it still opens anything.
    pub(super) fn by_id(&self, id: u32) -> Result<&Key, NoKey> {
        let entry = self.entries.iter().find(|entry| entry.data_key.id == id);
        let entry = entry.ok_or(NoKey::Unknown)?;
        entry.key.as_ref().ok_or(NoKey::Destroyed)
    }

    /// Whether every key of `before` is here, or was destroyed since.
    fn has_keys_of(&self, before: &Self) -> bool {
        let mut entries = before.entries.iter();
        entries.all(|was| match (self.by_id(was.data_key.id), &was.key) {
            (Ok(is), Some(was)) => is.as_bytes() == was.as_bytes(),
            (Ok(_), None) | (Err(NoKey::Unknown), _) => false,
            (Err(NoKey::Destroyed), _) => true,
        })
    }

    pub(super) fn poll(&self) -> Duration {
        self.poll
    }

    pub(super) fn vault(&self) -> &[u8; 16] {
        &self.vault
    }

    pub(super) fn group(&self, subject: &str) -> Group {
        Group(first(keyed_hash(
            &self.index,
            b"group",
            &[subject.as_bytes()],
        )))
    }

    pub(super) fn row(&self, key: &GrantKey) -> RowKey {
        let id = hash_of(&self.index, b"row", key);
        RowKey::new(self.group(key.subject()), id)
    }

    pub(super) fn fingerprint(&self, key: &GrantKey) -> Fingerprint {
        Fingerprint(first(hash_of(&self.fingerprint, b"fingerprint", key)))
    }

    /// What an intent says of the refresh token it spends.
    pub(super) fn token_hash(&self, token: &Secret) -> [u8; 16] {
        first(keyed_hash(
            &self.index,
            b"refresh token",
            &[token.as_bytes()],
        ))
    }
}

fn hash_of(by: &Key, label: &[u8], key: &GrantKey) -> [u8; 32] {
    let connection = key.connection().map(str::as_bytes);
    let parts = [
        key.provider().as_bytes(),
        key.subject().as_bytes(),
        &[u8::from(connection.is_some())],
        connection.unwrap_or_default(),
    ];
    keyed_hash(by, label, &parts)
}

fn first<const N: usize>(hash: [u8; 32]) -> [u8; N] {
    std::array::from_fn(|i| hash[i])
}

fn place() -> Place<'static> {
    static ROW: std::sync::OnceLock<RowKey> = std::sync::OnceLock::new();
    Place {
        // The vault's id stands inside.
        vault: &[],
        row: ROW.get_or_init(Keyset::row_key),
        kind: Kind::Keyset,
    }
}

fn key_error(message: &'static str) -> Error {
    Error::new(ErrorKind::Key, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Version;

    fn wrapped(ring: &KeyRing) -> (Keyset, Row) {
        let keyset = Keyset::generate(Timestamp::from_unix_millis(1), KEY_POLL).unwrap();
        let bytes = keyset.wrap(ring.first().unwrap()).unwrap().bytes().clone();
        (keyset, Row::new(Version(1), None, bytes))
    }

    #[test]
    fn it_opens_by_its_outer_key_wherever_that_stands_in_the_ring() {
        let old = KeyRing::generate().unwrap();
        let (keyset, row) = wrapped(&old);
        let mut ring = KeyRing::generate().unwrap();
        ring.keys.push(old.keys[0].clone());
        assert_eq!(Keyset::unwrap(&row, &ring).unwrap().vault, keyset.vault);
    }

    /// By the first version that was ever used, whose data keys had no dates.
    #[test]
    fn what_the_first_version_wrote_still_opens() {
        const WRITTEN: &str = "0101d959bfbfc241e09891c49ab7275da6397aa21add07029bc4ddc730818aa5a9dee76ea07b1289\
         1679b00cdb3f794d6d78fb4f93d6974a8231421842c5979184218859c752375dd1fddfdfa2236ed6\
         0f92757eb6fe900483a03c7fa2b68a32259fc82b87a9cb6f01a3d93e5aa62f3a85729e2f2b2cb58c\
         80d7379d403890d6569790fb8c03b975eb02bb683c88fcac8ce7cf313d35e1707895ed7a4978dd0e\
         ab07f3";
        let byte = |at| u8::from_str_radix(&WRITTEN[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..WRITTEN.len()).step_by(2).map(byte).collect();
        let ring = KeyRing::from_bytes(std::array::from_fn(|i| i as u8)).unwrap();
        let row = Row::new(Version(1), None, bytes.into());
        let keyset = Keyset::unwrap(&row, &ring).unwrap();
        let (id, key) = keyset.active().unwrap();
        assert_eq!((keyset.sequence, keyset.vault), (1, [7; 16]));
        assert_eq!((id, key.as_bytes()), (1, &[8; 32]));
        assert_eq!(keyset.index.as_bytes(), &[9; 32]);
        assert_eq!(keyset.fingerprint.as_bytes(), &[10; 32]);
        // And is written as of now with the next change.
        let next = keyset.changed().wrap(ring.first().unwrap()).unwrap();
        let bytes = next.bytes().clone();
        let again = Keyset::unwrap(&Row::new(Version(2), None, bytes), &ring).unwrap();
        assert_eq!(again.sequence, 2);
        assert!(again.data_keys().eq(keyset.data_keys()));
        assert_eq!((keyset.poll, again.poll), (KEY_POLL, KEY_POLL));
    }

    /// By hashes of another program: rows would not be found again if these changed, and no two
    /// of them may be of one label.
    #[test]
    fn names_are_what_they_always_were() {
        let keyset = Keyset {
            index: Key::new(&[9; 32]),
            fingerprint: Key::new(&[10; 32]),
            ..Keyset::generate(Timestamp::from_unix_millis(1), KEY_POLL).unwrap()
        };
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let key = GrantKey::new("mesh", "ada").with_connection("c");
        assert_eq!(
            hex(keyset.row(&key).as_bytes()),
            "8393580b9a0213b0b6165fc2aaf0cf91\
             15e8149f3417df80ba21579a3dfcf13197b17682cefb57a0ba06ce6d9351d200"
        );
        assert_eq!(keyset.fingerprint(&key).to_string(), "e5668e8513013c92");
        assert_eq!(
            hex(&keyset.token_hash(&Secret::from("r0"))),
            "41b4aa4ff281a5d0ea049fcabfa37d7c"
        );
        let outer = Key::new(&std::array::from_fn(|i| i as u8));
        assert_eq!(outer.id(), 0xd959_bfbf);
    }

    #[test]
    fn another_outer_key_is_a_typed_error() {
        let (_, row) = wrapped(&KeyRing::generate().unwrap());
        let error = Keyset::unwrap(&row, &KeyRing::generate().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
    }

    #[test]
    fn keys_that_differ_in_any_part_have_rows_of_their_own() {
        let keyset = Keyset::generate(Timestamp::from_unix_millis(1), KEY_POLL).unwrap();
        let keys = [
            GrantKey::new("ab", "c"),
            GrantKey::new("a", "bc"),
            GrantKey::new("a", "b"),
            GrantKey::new("a", "b").with_connection(""),
            GrantKey::new("a", "b").with_connection("c"),
        ];
        for (i, one) in keys.iter().enumerate() {
            for two in &keys[..i] {
                assert_ne!(keyset.row(one), keyset.row(two));
                assert_ne!(keyset.fingerprint(one), keyset.fingerprint(two));
            }
        }
        assert_eq!(keyset.row(&keys[2]).group(), keyset.row(&keys[3]).group());
    }
}
