//! Grants in, sealed rows out: what the manager knows of storage.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::codec::{self, WireRecord};
use super::contract::{
    ByteStore, Durability, Expected, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    Version,
};
use super::erased::DynByteStore;
use super::keyring::KeyRing;
use super::keyset::Keyset;
use super::seal::{self, Kind, Place};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::Fingerprint;
use crate::grant::{Owner, Record};
use crate::key::GrantKey;
use crate::secret::Secret;

/// A store that seals everything it writes.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), tower_token::Error> {
/// use tower_token::{KeyRing, MemoryStore, SealedStore};
///
/// let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
/// # let _ = store;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SealedStore {
    store: Arc<dyn DynByteStore>,
    keyset: Arc<Keyset>,
    durability: Durability,
}

/// A row as it was found: the version to save over, and the record if it opens.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) version: Version,
    pub(crate) due: Option<Timestamp>,
    pub(crate) record: Result<Record, Error>,
}

impl SealedStore {
    /// Opens `store` with the outer keys of `ring`.
    ///
    /// The first start makes the store's own keys. After that a ring without the key
    /// they were wrapped by fails with [`ErrorKind::Key`], and so does a store whose
    /// keys are gone: never is it taken for an empty one.
    pub async fn open(store: impl ByteStore, ring: KeyRing) -> Result<Self, Error> {
        let durability = store.durability();
        let store: Arc<dyn DynByteStore> = Arc::new(store);
        let keyset = Arc::new(load_or_create(&*store, &ring).await?);
        Ok(Self {
            store,
            keyset,
            durability,
        })
    }

    /// What an acknowledged write survives.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The row of `key`: its version, also where what stands in it cannot be used.
    pub(crate) async fn load(&self, key: &GrantKey) -> Result<Option<Found>, Error> {
        let row_key = self.keyset.row(key);
        let Some(row) = self.store.load(&row_key).await? else {
            return Ok(None);
        };
        Ok(Some(self.found(&row_key, &row)))
    }

    /// Writes a row that is to be claimed when it is `due`.
    pub(crate) async fn save(
        &self,
        record: &Record,
        due: Option<Timestamp>,
        expected: Expected,
    ) -> Result<SaveOutcome, Error> {
        let row_key = self.keyset.row(&record.grant.key);
        let (id, key) = self.keyset.active()?;
        let wire = WireRecord::from(record);
        let sealed = seal::seal(
            key,
            id,
            self.place(&row_key),
            codec::size(&wire)?,
            |buffer| codec::write(&wire, buffer),
        )?;
        if sealed.len() > SealedRow::MAX_LEN {
            return Err(Error::new(
                ErrorKind::Store,
                "the grant is too large to be stored: 4 MiB is the limit",
            ));
        }
        Ok(self
            .store
            .save(&row_key, SealedRow::new(sealed, due), expected)
            .await?)
    }

    /// Every grant of one user, or why its row does not open.
    pub(crate) async fn list(&self, subject: &str) -> Result<Vec<Result<Record, Error>>, Error> {
        let rows = self.store.list(self.keyset.group(subject)).await?;
        let records = rows.iter().map(|(row_key, row)| self.opened(row_key, row));
        Ok(records.collect())
    }

    /// Rows that are due, each given to one claimer until `ttl` is over.
    pub(crate) async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Found)>, Error> {
        Ok(self.all_found(self.store.claim_due(limit, ttl).await?))
    }

    /// The rows after `after`, in the order of their keys, about `limit` of them.
    pub(crate) async fn page(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Found)>, Error> {
        Ok(self.all_found(self.store.scan(after, limit).await?))
    }

    fn all_found(&self, rows: Vec<(RowKey, Row)>) -> Vec<(RowKey, Found)> {
        rows.into_iter()
            .filter(|(row_key, _)| *row_key != Keyset::row_key())
            .map(|(row_key, row)| (row_key, self.found(&row_key, &row)))
            .collect()
    }

    /// Removes a row, unless it has changed.
    pub(crate) async fn purge(&self, row_key: &RowKey, version: Version) -> Result<bool, Error> {
        Ok(self.store.purge(row_key, version).await?)
    }

    pub(crate) async fn lease(
        &self,
        key: &GrantKey,
        owner: Owner,
        ttl: Duration,
    ) -> Result<Lease, Error> {
        let row_key = self.keyset.row(key);
        Ok(self.store.lease(&row_key, LeaseOwner(owner.0), ttl).await?)
    }

    pub(crate) async fn release(&self, key: &GrantKey, owner: Owner) -> Result<(), Error> {
        let row_key = self.keyset.row(key);
        Ok(self.store.release(&row_key, LeaseOwner(owner.0)).await?)
    }

    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    pub(crate) fn fingerprint(&self, key: &GrantKey) -> Fingerprint {
        self.keyset.fingerprint(key)
    }

    pub(crate) fn token_hash(&self, token: &Secret) -> [u8; 16] {
        self.keyset.token_hash(token)
    }

    fn place<'a>(&'a self, row: &'a RowKey) -> Place<'a> {
        Place {
            vault: self.keyset.vault(),
            row,
            kind: Kind::Grant,
        }
    }

    fn found(&self, row_key: &RowKey, row: &Row) -> Found {
        Found {
            version: row.version,
            due: row.due,
            record: self.opened(row_key, row),
        }
    }

    /// Opens a row, and makes sure that what stands in it belongs there.
    fn opened(&self, row_key: &RowKey, row: &Row) -> Result<Record, Error> {
        let key = self.keyset.by_id(seal::key_id(&row.bytes)?)?;
        let text = seal::open(key, self.place(row_key), &row.bytes)?;
        let record = Record::try_from(codec::read::<WireRecord>(&text)?)?;
        if self.keyset.row(&record.grant.key) != *row_key {
            return Err(Error::new(
                ErrorKind::Damaged,
                "a record names another grant than the row it stands in",
            ));
        }
        Ok(record)
    }
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore")
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

async fn load_or_create(store: &dyn DynByteStore, ring: &KeyRing) -> Result<Keyset, Error> {
    let row_key = Keyset::row_key();
    if let Some(row) = store.load(&row_key).await? {
        return Keyset::unwrap(&row, ring);
    }
    if !store.scan(None, 1).await?.is_empty() {
        // Another first start may have come between the two looks.
        return match store.load(&row_key).await? {
            Some(row) => Keyset::unwrap(&row, ring),
            None => Err(Error::new(
                ErrorKind::Key,
                "the store holds rows but not the keyset that opens them: restore the keyset row \
                 from a backup; without it they cannot be read",
            )),
        };
    }
    let keyset = Keyset::generate()?;
    match store
        .save(&row_key, keyset.wrap(ring)?, Expected::Absent)
        .await?
    {
        SaveOutcome::Saved(_) => Ok(keyset),
        // Somebody else's first start came first, or ours did and its answer was lost:
        // either way the store knows.
        SaveOutcome::Conflict | SaveOutcome::Unknown => match store.load(&row_key).await? {
            Some(row) => Keyset::unwrap(&row, ring),
            None => Err(Error::new(
                ErrorKind::Store,
                "the keyset could not be written",
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    // Not `super::*`: the erased trait has the methods of the real one.
    use super::super::{ByteStore, Expected, MemoryStore, Row, SaveOutcome, SealedRow, Version};
    use super::{KeyRing, Keyset, SealedStore, WireRecord, codec, seal};
    use crate::clock::Timestamp;
    use crate::error::ErrorKind;
    use crate::grant::{ExchangeId, Grant, Record, TokenResponse};
    use crate::key::GrantKey;

    fn record(key: &GrantKey) -> Record {
        let now = Timestamp::from_unix_millis(1);
        let response = TokenResponse::new("access").refresh_token("refresh");
        Record {
            grant: Grant::connected(key.clone(), 1, response, now, None).unwrap(),
            sequence: 1,
            connect: ExchangeId([0; 16]),
            exchange: ExchangeId([0; 16]),
            intent: None,
            revocation: None,
        }
    }

    async fn two_users() -> (MemoryStore, SealedStore, [GrantKey; 2]) {
        let memory = MemoryStore::new();
        let store = SealedStore::open(memory.clone(), KeyRing::generate().unwrap())
            .await
            .unwrap();
        let keys = [GrantKey::new("p", "ada"), GrantKey::new("p", "bob")];
        for key in &keys {
            let outcome = store
                .save(&record(key), None, Expected::Absent)
                .await
                .unwrap();
            assert!(matches!(outcome, SaveOutcome::Saved(_)));
        }
        (memory, store, keys)
    }

    #[tokio::test]
    async fn a_record_moved_to_another_users_row_does_not_open() {
        let (memory, store, [ada, bob]) = two_users().await;
        let (from, to) = (store.keyset.row(&ada), store.keyset.row(&bob));
        let stolen = memory.load(&from).await.unwrap().unwrap();
        let there = memory.load(&to).await.unwrap().unwrap();
        let moved = SealedRow::new(stolen.bytes.to_vec(), None);
        memory
            .save(&to, moved, Expected::Version(there.version))
            .await
            .unwrap();
        let record = |found: Option<super::Found>| found.unwrap().record;
        let opened = record(store.load(&bob).await.unwrap());
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Damaged);
        assert!(record(store.load(&ada).await.unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_record_that_names_another_grant_than_its_row_is_refused() {
        let (_, store, [ada, bob]) = two_users().await;
        // Sealed for bob's row, with ada inside: what a mix-up of our own would do.
        let row_key = store.keyset.row(&bob);
        let wire = WireRecord::from(&record(&ada));
        let (id, key) = store.keyset.active().unwrap();
        let len = codec::size(&wire).unwrap();
        let bytes = seal::seal(key, id, store.place(&row_key), len, |b| {
            codec::write(&wire, b)
        })
        .unwrap();
        let row = Row::new(Version(1), None, bytes.into());
        let error = store.opened(&row_key, &row).unwrap_err();
        assert!(error.to_string().contains("another grant"), "{error}");
    }

    #[tokio::test]
    async fn nothing_starts_with_another_key_or_without_the_keyset() {
        let (memory, _, _) = two_users().await;
        let other = KeyRing::generate().unwrap();
        let error = SealedStore::open(memory.clone(), other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);

        let rows = memory.scan(None, 10).await.unwrap();
        let copy = MemoryStore::new();
        for (key, row) in rows.iter().filter(|(key, _)| *key != Keyset::row_key()) {
            copy.save(
                key,
                SealedRow::new(row.bytes.to_vec(), None),
                Expected::Absent,
            )
            .await
            .unwrap();
        }
        let error = SealedStore::open(copy, KeyRing::generate().unwrap())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key);
        assert!(error.to_string().contains("keyset"), "{error}");
    }

    #[tokio::test]
    async fn the_first_start_that_loses_uses_the_winners_keys() {
        let memory = MemoryStore::new();
        let ring = KeyRing::generate().unwrap();
        let (one, two) = tokio::join!(
            SealedStore::open(memory.clone(), ring.clone()),
            SealedStore::open(memory.clone(), ring),
        );
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.keyset.vault(), two.keyset.vault());
    }
}
