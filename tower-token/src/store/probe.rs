//! What fuzz targets and benchmarks see of the store; no part of the public API.

use std::fmt;
use std::sync::OnceLock;

#[cfg(fuzzing)]
use super::codec::{RECORD, WireRecord, read, size, write};
use super::contract::{Expected, Group, RowKey, SaveOutcome};
use super::seal::{self, Key, Kind, Place};
use super::sealed::SealedStore;
use super::sent::Sent;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::grant::{ExchangeId, Grant, Record, TokenResponse};
use crate::key::GrantKey;

/// A record as it was read, and as it is after a way through memory.
#[cfg(fuzzing)]
pub fn recoded(text: &[u8]) -> Result<[Vec<u8>; 2], Error> {
    let as_read = encoded(&read(RECORD, text)?)?;
    let record = Record::try_from(read::<WireRecord<'_>>(RECORD, text)?)?;
    Ok([as_read, encoded(&WireRecord::from(&record))?])
}

#[cfg(fuzzing)]
fn encoded(wire: &WireRecord<'_>) -> Result<Vec<u8>, Error> {
    let mut text = vec![0; size(wire)?];
    write(RECORD, wire, &mut text)?;
    Ok(text)
}

/// Seals `text`, always with one key and for one place.
pub fn sealed(text: &[u8]) -> Result<Vec<u8>, Error> {
    in_place(|key, place| {
        seal::seal(key, 7, place, text.len(), |buffer| {
            buffer.copy_from_slice(text);
            Ok(())
        })
    })
}

/// Opens what `sealed` made, and shows it.
pub fn opened<T>(record: &[u8], show: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
    in_place(|key, place| Ok(show(&seal::open(key, place, record)?)))
}

fn in_place<T>(work: impl FnOnce(&Key, Place<'_>) -> T) -> T {
    let place = Place {
        vault: b"vault",
        row: &RowKey::new(Group([1; 16]), [2; 32]),
        kind: Kind::Grant,
    };
    // Ready, as the key of a store is.
    static KEY: OnceLock<Key> = OnceLock::new();
    work(KEY.get_or_init(|| Key::new(&[3; 32])), place)
}

/// A grant that can be stored without a manager.
pub struct Sample(Record);

impl Sample {
    /// Whose it is, and how long its access token is: beside it there is not much.
    pub fn new(user: &str, len: usize) -> Result<Self, Error> {
        let now = Timestamp::from_unix_millis(1_700_000_000_000);
        let response = TokenResponse::new("a".repeat(len))
            .refresh_token("r".repeat(64))
            .expires_in(std::time::Duration::from_secs(3_600));
        Ok(Self(Record {
            grant: Grant::connected(GrantKey::new("provider", user), 1, response, now, None)?,
            sequence: 1,
            connect: ExchangeId([0; 16]),
            exchange: ExchangeId([0; 16]),
            intent: None,
            revocation: None,
        }))
    }

    /// Saves it, as a manager would.
    pub async fn save(
        &self,
        store: &SealedStore,
        expected: Expected,
    ) -> Result<SaveOutcome, Error> {
        store.save(&self.0, None, expected, &Sent::default()).await
    }

    /// Loads it, as a manager would, and tells how long its access token is.
    pub async fn load(&self, store: &SealedStore) -> Result<usize, Error> {
        let gone = || Error::new(ErrorKind::NotConnected, "it is not there");
        let found = store.load(&self.0.grant.key).await?.ok_or_else(gone)?;
        let token = found.record?.grant.access_token.ok_or_else(gone)?;
        Ok(token.expose().len())
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").finish_non_exhaustive()
    }
}
