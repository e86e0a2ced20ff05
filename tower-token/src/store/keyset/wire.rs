//! The keyset in the form that is written.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::life::{DataKey, DataKeyState, Entry};
use super::{KEY_POLL, Keyset, key_error};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::store::codec;
use crate::store::seal::Key;

/// postcard has no field tags, so a change of any struct below needs a new number here,
/// and the struct as it was to read what was written before.
pub(super) const SCHEMA: u8 = 4;
/// Before data keys had dates, and were changed at all.
const UNDATED: u8 = 3;

type Bits = Zeroizing<[u8; 32]>;

#[derive(Serialize, Deserialize)]
pub(super) struct WireKeyset {
    sequence: u64,
    vault: [u8; 16],
    /// In milliseconds.
    poll: u64,
    data_keys: Vec<WireDataKey>,
    index: Bits,
    fingerprint: Bits,
}

#[derive(Serialize, Deserialize)]
struct WireDataKey {
    id: u32,
    state: WireState,
    since: u64,
    key: Option<Bits>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum WireState {
    Created,
    Active,
    Retired,
    Destroyed,
}

#[derive(Serialize, Deserialize)]
struct UndatedKeyset {
    sequence: u64,
    vault: [u8; 16],
    data_keys: Vec<(u32, WireState, Bits)>,
    index: Bits,
    fingerprint: Bits,
}

/// Decodes a keyset of this version or the one before.
///
/// Bits are copied from where they stand, which is wiped then: what is moved out of a vector
/// stays behind in its memory.
pub(super) fn read(text: &[u8]) -> Result<Keyset, Error> {
    let wire = match codec::schema(text) {
        Some(UNDATED) => {
            let undated = codec::read::<UndatedKeyset>(UNDATED, text);
            undated.map(|undated| WireKeyset::from(&undated))
        }
        _ => codec::read(SCHEMA, text),
    };
    let wire = wire.map_err(|cause| {
        let message = "the store's keyset was written by another version of tower-token";
        Error::with_source(ErrorKind::Key, message, cause)
    })?;
    Keyset::try_from(&wire)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl From<&Keyset> for WireKeyset {
    fn from(keyset: &Keyset) -> Self {
        let bits = |key: &Key| Zeroizing::new(*key.as_bytes());
        Self {
            sequence: keyset.sequence,
            vault: keyset.vault,
            poll: millis(keyset.poll),
            data_keys: keyset
                .entries
                .iter()
                .map(|Entry { data_key, key }| WireDataKey {
                    id: data_key.id,
                    state: data_key.state.into(),
                    since: data_key.since.as_unix_millis(),
                    key: key.as_ref().map(bits),
                })
                .collect(),
            index: bits(&keyset.index),
            fingerprint: bits(&keyset.fingerprint),
        }
    }
}

impl From<&UndatedKeyset> for WireKeyset {
    fn from(undated: &UndatedKeyset) -> Self {
        let data_keys = undated.data_keys.iter();
        Self {
            sequence: undated.sequence,
            vault: undated.vault,
            poll: millis(KEY_POLL),
            data_keys: data_keys
                .map(|(id, state, key)| WireDataKey {
                    id: *id,
                    state: *state,
                    since: 0,
                    key: Some(key.clone()),
                })
                .collect(),
            index: undated.index.clone(),
            fingerprint: undated.fingerprint.clone(),
        }
    }
}

impl TryFrom<&WireKeyset> for Keyset {
    type Error = Error;

    fn try_from(wire: &WireKeyset) -> Result<Self, Error> {
        let entries = wire.data_keys.iter().map(|wire| Entry {
            data_key: DataKey {
                id: wire.id,
                state: wire.state.into(),
                since: Timestamp::from_unix_millis(wire.since),
            },
            key: wire.key.as_ref().map(|bits| Key::new(bits)),
        });
        let keyset = Self {
            sequence: wire.sequence,
            vault: wire.vault,
            poll: Duration::from_millis(wire.poll),
            entries: entries.collect(),
            index: Key::new(&wire.index),
            fingerprint: Key::new(&wire.fingerprint),
        };
        keyset
            .active()
            .map_err(|_| key_error("the store's keyset has no key that seals"))?;
        Ok(keyset)
    }
}

impl From<DataKeyState> for WireState {
    fn from(state: DataKeyState) -> Self {
        match state {
            DataKeyState::Created => Self::Created,
            DataKeyState::Active => Self::Active,
            DataKeyState::Retired => Self::Retired,
            DataKeyState::Destroyed => Self::Destroyed,
        }
    }
}

impl From<WireState> for DataKeyState {
    fn from(state: WireState) -> Self {
        match state {
            WireState::Created => Self::Created,
            WireState::Active => Self::Active,
            WireState::Retired => Self::Retired,
            WireState::Destroyed => Self::Destroyed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(mut bytes: Vec<u8>) {
            let _ = read(&bytes);
            for schema in [UNDATED, SCHEMA] {
                bytes.insert(0, schema);
                let _ = read(&bytes);
            }
        }
    }
}
