//! The store's own keys: one row, wrapped by the outer key.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::codec;
use super::contract::{Group, Row, RowKey, SealedRow};
use super::keyring::KeyRing;
use super::seal::{self, Key, Kind, Place, keyed_hash};
use crate::error::{Error, ErrorKind};
use crate::event::Fingerprint;
use crate::key::GrantKey;
use crate::secret::Secret;

/// The vault's identity, its data keys, and the keys of its hashes.
///
/// Losing this row loses everything: all that is sealed is sealed by a key in it.
#[derive(Debug)]
pub(super) struct Keyset {
    /// Rises with every change, so that an older copy can be told.
    sequence: u64,
    vault: [u8; 16],
    data_keys: Vec<DataKey>,
    /// For the hashes that rows and groups are found by. Never changed: that would
    /// move every row.
    index: Key,
    /// For the names of grants in logs.
    fingerprint: Key,
}

#[derive(Debug)]
struct DataKey {
    id: u32,
    state: KeyState,
    key: Key,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum KeyState {
    /// Known everywhere before anyone seals with it.
    Created,
    /// The one that seals.
    Active,
    /// Opens what it sealed, and seals nothing more.
    Retired,
    /// Its bits are gone.
    Destroyed,
}

impl Keyset {
    /// The keyset of a new store.
    pub(super) fn generate() -> Result<Self, Error> {
        let mut vault = [0; 16];
        seal::fill(&mut vault)?;
        Ok(Self {
            sequence: 1,
            vault,
            data_keys: vec![DataKey {
                id: 1,
                state: KeyState::Active,
                key: Key::random()?,
            }],
            index: Key::random()?,
            fingerprint: Key::random()?,
        })
    }

    /// Where the keyset lives, in every store: no hash is all zeroes.
    pub(super) fn row_key() -> RowKey {
        RowKey::new(Group([0; 16]), [0; 32])
    }

    /// Wraps the keyset by the first outer key.
    pub(super) fn wrap(&self, ring: &KeyRing) -> Result<SealedRow, Error> {
        let outer = ring
            .keys
            .first()
            .ok_or_else(|| Error::new(ErrorKind::Key, "the key ring holds no key"))?;
        let wire = WireKeyset::from(self);
        let sealed = seal::seal(outer, outer.id(), place(), codec::size(&wire)?, |buffer| {
            codec::write(&wire, buffer)
        })?;
        Ok(SealedRow::new(sealed, None))
    }

    /// Unwraps a keyset by the outer key it names.
    pub(super) fn unwrap(row: &Row, ring: &KeyRing) -> Result<Self, Error> {
        let id = seal::key_id(&row.bytes)?;
        let outer = ring.keys.iter().find(|key| key.id() == id).ok_or_else(|| {
            Error::new(
                ErrorKind::Key,
                "this store was made with another outer key: start with that one (several keys \
                 are separated by commas, the new one first)",
            )
        })?;
        let text = seal::open(outer, place(), &row.bytes).map_err(|cause| {
            Error::with_source(
                ErrorKind::Key,
                "the store's keyset does not open: it is damaged, or the outer key is not the \
                 one the store was made with",
                cause,
            )
        })?;
        codec::read::<WireKeyset>(&text)?.into_keyset()
    }

    /// The key that seals now.
    pub(super) fn active(&self) -> Result<(u32, &Key), Error> {
        self.data_keys
            .iter()
            .find(|key| key.state == KeyState::Active)
            .map(|key| (key.id, &key.key))
            .ok_or_else(|| Error::new(ErrorKind::Key, "the store's keyset has no active key"))
    }

    /// The key that `id` names, if it still opens anything.
    pub(super) fn by_id(&self, id: u32) -> Result<&Key, Error> {
        self.data_keys
            .iter()
            .find(|key| key.id == id && key.state != KeyState::Destroyed)
            .map(|key| &key.key)
            .ok_or_else(|| Error::new(ErrorKind::Damaged, "a record names an unknown data key"))
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

#[derive(Serialize, Deserialize)]
struct WireKeyset {
    sequence: u64,
    vault: [u8; 16],
    data_keys: Vec<(u32, KeyState, [u8; 32])>,
    index: [u8; 32],
    fingerprint: [u8; 32],
}

impl From<&Keyset> for WireKeyset {
    fn from(keyset: &Keyset) -> Self {
        Self {
            sequence: keyset.sequence,
            vault: keyset.vault,
            data_keys: keyset
                .data_keys
                .iter()
                .map(|key| (key.id, key.state, *key.key.as_bytes()))
                .collect(),
            index: *keyset.index.as_bytes(),
            fingerprint: *keyset.fingerprint.as_bytes(),
        }
    }
}

impl WireKeyset {
    fn into_keyset(self) -> Result<Keyset, Error> {
        let keyset = Keyset {
            sequence: self.sequence,
            vault: self.vault,
            data_keys: self
                .data_keys
                .iter()
                .map(|(id, state, key)| DataKey {
                    id: *id,
                    state: *state,
                    key: Key::new(*key),
                })
                .collect(),
            index: Key::new(self.index),
            fingerprint: Key::new(self.fingerprint),
        };
        keyset.active()?;
        Ok(keyset)
    }
}

impl Drop for WireKeyset {
    fn drop(&mut self) {
        for (_, _, key) in &mut self.data_keys {
            key.zeroize();
        }
        self.index.zeroize();
        self.fingerprint.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Version;

    fn wrapped(ring: &KeyRing) -> (Keyset, Row) {
        let keyset = Keyset::generate().unwrap();
        let bytes = keyset.wrap(ring).unwrap().bytes().clone();
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

    #[test]
    fn another_outer_key_is_a_typed_error() {
        let (_, row) = wrapped(&KeyRing::generate().unwrap());
        let error = Keyset::unwrap(&row, &KeyRing::generate().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
    }

    #[test]
    fn keys_that_differ_in_any_part_have_rows_of_their_own() {
        let keyset = Keyset::generate().unwrap();
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
