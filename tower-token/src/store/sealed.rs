//! Grants in, sealed rows out: what the manager knows of storage.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::codec::{self, WireRecord};
use super::contract::{
    Announce, ByteStore, Durability, Expected, Lease, LeaseOwner, Row, RowKey, SaveOutcome,
    SealedRow, Version,
};
use super::erased::DynByteStore;
use super::key_provider::KeyProvider;
use super::keyset::{DataKeyState, Keyset, LiveKeyset, NoKey, Seen};
use super::open::SealedStoreBuilder;
use super::seal::{self, Key, Kind, Place};
use super::sent::Sent;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::Fingerprint;
use crate::grant::{GrantState, Owner, Record};
use crate::key::GrantKey;
use crate::secret::{Secret, Wiped};

/// A store that seals everything it writes. Cheap to clone; clones are the same store.
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
    pub(super) store: Arc<dyn DynByteStore>,
    pub(super) keys: Arc<LiveKeyset>,
    durability: Durability,
    pub(super) is_shared: bool,
}

/// How often a row may change while a write is settled by it.
const MAX_CHANGES: u32 = 4;

/// A row as it was found: the version to save over, and the record if it opens.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) version: Version,
    pub(crate) due: Option<Timestamp>,
    pub(crate) record: Result<Record, Error>,
    /// Whether the key that sealed it was destroyed. Nobody was told that this was stored: it
    /// was written too late, by one that has not sealed it again yet.
    pub(crate) is_orphan: bool,
    pub(super) bytes: Bytes,
}

impl Found {
    /// Whether it is one of the writes that were `sent`.
    pub(crate) fn is_of(&self, sent: &Sent) -> bool {
        sent.knows(&self.bytes)
    }
}

impl SealedStore {
    /// Opens `store` with the outer keys of a [`KeyRing`](crate::KeyRing), or of wherever
    /// else they are.
    ///
    /// The first start makes the store's own keys. After that a ring without the key
    /// they were wrapped by fails with [`ErrorKind::Key`], and so does a store whose
    /// keys are gone: never is it taken for an empty one.
    pub async fn open(store: impl ByteStore, keys: impl KeyProvider) -> Result<Self, Error> {
        Self::builder().open(store, keys).await
    }

    /// Begins to open a store otherwise than by default.
    pub fn builder() -> SealedStoreBuilder {
        SealedStoreBuilder::new()
    }

    pub(super) fn new(
        store: Arc<dyn DynByteStore>,
        durability: Durability,
        keys: LiveKeyset,
    ) -> Self {
        Self {
            store,
            keys: Arc::new(keys),
            durability,
            is_shared: false,
        }
    }

    /// What an acknowledged write survives.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The row of `key`: its version, also where what stands in it cannot be used.
    pub(crate) async fn load(&self, key: &GrantKey) -> Result<Option<Found>, Error> {
        let row_key = self.row(key);
        let Some(row) = self.store.load(&row_key).await? else {
            return Ok(None);
        };
        let opener = self.opener_of(&row).await?;
        Ok(Some(opener.found_of(key, &row_key, &row)))
    }

    /// The row of `key`, to tell by it what became of a write.
    ///
    /// What stands there is under a key that is not destroyed before the row was seen: it is
    /// sealed again if that is not known. Otherwise this process could take a row for stored
    /// that nobody else can open any more.
    pub(crate) async fn load_to_settle(&self, key: &GrantKey) -> Result<Option<Found>, Error> {
        let row_key = self.row(key);
        for _ in 0..MAX_CHANGES {
            let Some(row) = self.store.load(&row_key).await? else {
                return Ok(None);
            };
            // After the row, which it is to tell of.
            self.keys.current(&*self.store).await?;
            let opener = self.opener_of(&row).await?;
            let found = opener.found_of(key, &row_key, &row);
            if found.record.is_err() || opener.is_sealed_for_now(&row) {
                return Ok(Some(found));
            }
            let text = opener.text(&row_key, &row)?;
            // Whosever it is: not to be known as a write of the caller's.
            let sent = Sent::default();
            let saved = self.seal_again(&row_key, &row, &text, &sent).await?;
            if let SaveOutcome::Saved(version) = saved {
                return Ok(Some(Found { version, ..found }));
            }
        }
        Err(Error::new(
            ErrorKind::Store,
            "the grant's row kept changing: try again",
        ))
    }

    /// Writes a row that is to be claimed when it is `due`, and notes what was `sent`.
    pub(crate) async fn save(
        &self,
        record: &Record,
        due: Option<Timestamp>,
        expected: Expected,
        sent: &Sent,
    ) -> Result<SaveOutcome, Error> {
        let row_key = self.row(&record.grant.key);
        let wire = WireRecord::from(record);
        let len = codec::size(&wire)?;
        let write = |buffer: &mut [u8]| codec::write(codec::RECORD, &wire, buffer);
        let about = About {
            due,
            announce: announce(record),
        };
        let put = async |expected| self.put(&row_key, len, write, about, expected, sent).await;
        let saved = put(expected).await?;
        if saved != SaveOutcome::Unknown {
            return Ok(saved);
        }
        // Written too late, it would hide what it replaced; here is what belongs there.
        let Ok(Some(orphan)) = self.orphan(&row_key, sent).await else {
            return Ok(saved);
        };
        Ok(match put(Expected::Version(orphan)).await {
            Ok(again @ SaveOutcome::Saved(_)) => again,
            Ok(_) | Err(_) => saved,
        })
    }

    /// The version of a row that was `sent` and whose key was destroyed, if it is one. What
    /// somebody else's hides, nobody else knows.
    async fn orphan(&self, row_key: &RowKey, sent: &Sent) -> Result<Option<Version>, Error> {
        let Some(row) = self.store.load(row_key).await? else {
            return Ok(None);
        };
        self.keys.current(&*self.store).await?;
        let opener = self.opener_of(&row).await?;
        let is_ours = opener.is_orphan(&row) && sent.knows(&row.bytes);
        Ok(is_ours.then_some(row.version))
    }

    /// Writes `text` over `row`, as what it is: also what another version of this crate wrote.
    pub(super) async fn seal_again(
        &self,
        row_key: &RowKey,
        row: &Row,
        text: &[u8],
        sent: &Sent,
    ) -> Result<SaveOutcome, Error> {
        let copy = |buffer: &mut [u8]| {
            buffer.copy_from_slice(text);
            Ok(())
        };
        let about = About {
            due: row.due,
            announce: Announce::Nobody,
        };
        let expected = Expected::Version(row.version);
        self.put(row_key, text.len(), copy, about, expected, sent)
            .await
    }

    /// Seals what `write` puts into a buffer of `len` bytes, and saves it.
    async fn put(
        &self,
        row_key: &RowKey,
        len: usize,
        write: impl Fn(&mut [u8]) -> Result<(), Error>,
        about: About,
        expected: Expected,
        sent: &Sent,
    ) -> Result<SaveOutcome, Error> {
        let send = async |expected| self.send(row_key, len, &write, about, expected, sent).await;
        let (mut by, mut outcome) = send(expected).await?;
        if outcome == SaveOutcome::Conflict {
            return Ok(outcome);
        }
        // From here on it may be written, which no error must deny.
        loop {
            match self.keys.current(&*self.store).await {
                // A key that was active within the last poll is not destroyed before this row
                // was seen.
                Ok(seen) if seen.keyset.seals_with(by) => return Ok(outcome),
                Ok(_) => {}
                Err(_) => return Ok(SaveOutcome::Unknown),
            }
            // The write took so long that the key may have been.
            let SaveOutcome::Saved(version) = outcome else {
                return Ok(SaveOutcome::Unknown);
            };
            (by, outcome) = match send(Expected::Version(version)).await {
                Ok(sent) if sent.1 != SaveOutcome::Conflict => sent,
                Ok(_) | Err(_) => return Ok(SaveOutcome::Unknown),
            };
        }
    }

    /// Seals a row by the key that is active, which is told, and saves it once.
    async fn send(
        &self,
        row_key: &RowKey,
        len: usize,
        write: impl Fn(&mut [u8]) -> Result<(), Error>,
        about: About,
        expected: Expected,
        sent: &Sent,
    ) -> Result<(u32, SaveOutcome), Error> {
        let seen = self.keys.current(&*self.store).await?;
        let (by, key) = seen.keyset.active()?;
        let sealed = seal::seal(key, by, place(&seen.keyset, row_key), len, write)?;
        if sealed.len() > SealedRow::MAX_LEN {
            return Err(Error::new(
                ErrorKind::Store,
                "the grant is too large to be stored: 4 MiB is the limit",
            ));
        }
        sent.note(&sealed);
        let row = SealedRow::new(sealed, about.due).announced(about.announce);
        Ok((by, self.store.save(row_key, row, expected).await?))
    }

    /// Every grant of one user, or why its row does not open.
    pub(crate) async fn list(&self, subject: &str) -> Result<Vec<Result<Record, Error>>, Error> {
        let group = self.keys.seen().keyset.group(subject);
        let rows = self.store.list(group).await?;
        let unknown = self.unknown_key(rows.iter().map(|(_, row)| row));
        let opener = self.opener(unknown).await?;
        let records = rows.iter();
        Ok(records
            .map(|(row_key, row)| opener.record(row_key, row))
            .collect())
    }

    /// Rows that are due, each given to one claimer until `ttl` is over.
    pub(crate) async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Found)>, Error> {
        // A process that writes nothing gives up keys that were destroyed all the same. If this
        // fails, so will the next write.
        let _ = self.keys.current(&*self.store).await;
        let rows = self.store.claim_due(limit, ttl).await?;
        self.all_found(rows).await
    }

    /// The rows after `after`, in the order of their keys, about `limit` of them.
    pub(crate) async fn page(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Found)>, Error> {
        let rows = self.rows_after(after, limit).await?;
        self.all_found(rows).await
    }

    /// The same as they lie there. None only after the last: a store may give fewer than `limit`,
    /// and the keyset alone would be taken for the end. Its key is the first of all.
    pub(super) async fn rows_after(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, Error> {
        let keyset = Keyset::row_key();
        let after = after.unwrap_or(&keyset);
        Ok(self.store.scan(Some(after), limit).await?)
    }

    pub(super) async fn all_found(
        &self,
        rows: Vec<(RowKey, Row)>,
    ) -> Result<Vec<(RowKey, Found)>, Error> {
        let unknown = self.unknown_key(rows.iter().map(|(_, row)| row));
        let opener = self.opener(unknown).await?;
        let rows = rows.into_iter();
        Ok(rows
            .filter(|(row_key, _)| *row_key != Keyset::row_key())
            .map(|(row_key, row)| (row_key, opener.found(&row_key, &row)))
            .collect())
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
        let row_key = self.row(key);
        Ok(self.store.lease(&row_key, LeaseOwner(owner.0), ttl).await?)
    }

    pub(crate) async fn release(&self, key: &GrantKey, owner: Owner) -> Result<(), Error> {
        let row_key = self.row(key);
        Ok(self.store.release(&row_key, LeaseOwner(owner.0)).await?)
    }

    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    pub(crate) fn fingerprint(&self, key: &GrantKey) -> Fingerprint {
        self.keys.seen().keyset.fingerprint(key)
    }

    pub(crate) fn token_hash(&self, token: &Secret) -> [u8; 16] {
        self.keys.seen().keyset.token_hash(token)
    }

    pub(super) fn row(&self, key: &GrantKey) -> RowKey {
        self.keys.seen().keyset.row(key)
    }

    /// What opens `row`.
    pub(super) async fn opener_of(&self, row: &Row) -> Result<Opener, Error> {
        self.opener(self.unknown_key([row])).await
    }

    /// A key of one of `rows` that may have been added since the last look.
    fn unknown_key<'a>(&self, rows: impl IntoIterator<Item = &'a Row>) -> Option<u32> {
        let seen = self.keys.seen();
        let ids = rows.into_iter().flat_map(|row| seal::key_id(&row.bytes));
        ids.filter(|id| seen.keyset.by_id(*id).err() == Some(NoKey::Unknown))
            .find(|id| !self.keys.is_missing(*id))
    }

    /// What opens rows, after a look if it is not known what one of their keys is. If that
    /// fails nobody can say whether the row is sound.
    async fn opener(&self, unknown: Option<u32>) -> Result<Opener, Error> {
        let seen = match unknown {
            Some(id) => self.keys.with_key(id, &*self.store).await?,
            None => self.keys.seen(),
        };
        Ok(Opener { seen })
    }
}

/// What a store is told of a row besides its bytes.
#[derive(Debug, Clone, Copy)]
struct About {
    due: Option<Timestamp>,
    announce: Announce,
}

/// Other instances go on with a token that was refreshed elsewhere until they need a newer one.
/// What ends it, or takes the place of its grant, they have to hear of.
fn announce(record: &Record) -> Announce {
    match record.grant.state {
        GrantState::Disconnected { .. } => Announce::EveryoneAtOnce,
        GrantState::NeedsReauth { .. } => Announce::Everyone,
        // A sequence begins with a connect.
        GrantState::Active if record.sequence == 1 => Announce::Everyone,
        GrantState::Active => Announce::Nobody,
    }
}

/// Opens rows with the keys that were seen.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) seen: Arc<Seen>,
}

impl Opener {
    fn found(&self, row_key: &RowKey, row: &Row) -> Found {
        self.found_as(row, self.record(row_key, row))
    }

    /// The same for the row of `key`.
    fn found_of(&self, key: &GrantKey, row_key: &RowKey, row: &Row) -> Found {
        self.found_as(
            row,
            self.record_by(row_key, row, |wire| wire.is_of(key).then(|| key.clone())),
        )
    }

    fn found_as(&self, row: &Row, record: Result<Record, Error>) -> Found {
        Found {
            version: row.version,
            due: row.due,
            record,
            is_orphan: self.is_orphan(row),
            bytes: row.bytes.clone(),
        }
    }

    /// Whether the key that sealed a row was destroyed.
    pub(super) fn is_orphan(&self, row: &Row) -> bool {
        let id = seal::key_id(&row.bytes);
        id.is_ok_and(|id| self.seen.keyset.by_id(id).err() == Some(NoKey::Destroyed))
    }

    /// Opens a row, and makes sure that what stands in it belongs there.
    pub(super) fn record(&self, row_key: &RowKey, row: &Row) -> Result<Record, Error> {
        self.record_by(row_key, row, |wire| {
            let key = wire.key();
            (self.seen.keyset.row(&key) == *row_key).then_some(key)
        })
    }

    /// `key_of` says the key of what was read, if that belongs there.
    fn record_by(
        &self,
        row_key: &RowKey,
        row: &Row,
        key_of: impl FnOnce(&WireRecord<'_>) -> Option<GrantKey>,
    ) -> Result<Record, Error> {
        let text = self.text(row_key, row)?;
        let wire = codec::read::<WireRecord<'_>>(codec::RECORD, &text)?;
        let key = key_of(&wire).ok_or_else(|| {
            Error::new(
                ErrorKind::Damaged,
                "a record names another grant than the row it stands in",
            )
        })?;
        wire.into_record(key)
    }

    /// Whether a row is under the key that seals, or one that is about to.
    pub(super) fn is_sealed_for_now(&self, row: &Row) -> bool {
        let id = seal::key_id(&row.bytes);
        let key = id.and_then(|id| self.seen.keyset.data_key(id));
        key.is_ok_and(|key| matches!(key.state, DataKeyState::Created | DataKeyState::Active))
    }

    /// What was sealed into a row.
    pub(super) fn text(&self, row_key: &RowKey, row: &Row) -> Result<Wiped, Error> {
        let key = self.key(seal::key_id(&row.bytes)?)?;
        seal::open(key, place(&self.seen.keyset, row_key), &row.bytes)
    }

    fn key(&self, id: u32) -> Result<&Key, Error> {
        self.seen.keyset.by_id(id).map_err(|why| match why {
            NoKey::Unknown => Error::new(ErrorKind::Damaged, "a record names an unknown data key"),
            NoKey::Destroyed => Error::new(
                ErrorKind::Damaged,
                format!("a record was sealed by data key {id}, which was destroyed"),
            ),
        })
    }
}

pub(super) fn place<'a>(keyset: &'a Keyset, row: &'a RowKey) -> Place<'a> {
    Place {
        vault: keyset.vault(),
        row,
        kind: Kind::Grant,
    }
}

impl fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedStore")
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    // Not `super::*`: the erased trait has the methods of the real one.
    use super::super::KeyRing;
    use super::super::{ByteStore, Expected, MemoryStore, SaveOutcome, SealedRow};
    use super::{Keyset, SealedStore, Sent, WireRecord, codec, place, seal};
    use crate::clock::Timestamp;
    use crate::error::{Error, ErrorKind};
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
                .save(&record(key), None, Expected::Absent, &Sent::default())
                .await
                .unwrap();
            assert!(matches!(outcome, SaveOutcome::Saved(_)));
        }
        (memory, store, keys)
    }

    #[tokio::test]
    async fn a_record_moved_to_another_users_row_does_not_open() {
        let (memory, store, [ada, bob]) = two_users().await;
        let (from, to) = (store.row(&ada), store.row(&bob));
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
        let (memory, store, [ada, bob]) = two_users().await;
        // Sealed for bob's row, with ada inside: what a mix-up of our own would do.
        let row_key = store.row(&bob);
        let adas = record(&ada);
        let wire = WireRecord::from(&adas);
        let seen = store.keys.seen();
        let (id, key) = seen.keyset.active().unwrap();
        let len = codec::size(&wire).unwrap();
        let bytes = seal::seal(key, id, place(&seen.keyset, &row_key), len, |b| {
            codec::write(codec::RECORD, &wire, b)
        })
        .unwrap();
        let there = memory.load(&row_key).await.unwrap().unwrap();
        memory
            .save(
                &row_key,
                SealedRow::new(bytes, None),
                Expected::Version(there.version),
            )
            .await
            .unwrap();
        let refused = |record: Result<Record, Error>| {
            let error = record.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.to_string().contains("another grant"), "{error}");
        };
        refused(store.load(&bob).await.unwrap().unwrap().record);
        refused(store.list("bob").await.unwrap().remove(0));
        let rows = store.page(None, 10).await.unwrap();
        let row = rows.into_iter().find(|(key, _)| *key == row_key);
        refused(row.unwrap().1.record);
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
        assert_eq!(
            one.keys.seen().keyset.vault(),
            two.keys.seen().keyset.vault()
        );
    }
}
