//! Changing keys while everything runs.

mod rewrap;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::rewrap::{Rewrap, RewrapProgress};
use super::contract::{Expected, Lease, LeaseOwner, RowKey, SaveOutcome};
use super::keyset::{DataKey, DataKeyState, Keyset, Next, Seen};
use super::seal::{self, Key};
use super::sealed::SealedStore;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};

/// How often the keyset may change under a change of ours before that is given up.
const MAX_CONFLICTS: u32 = 16;
/// How many rows are read at once where only their headers count. They may be large.
const PAGE: usize = 32;

#[doc = include_str!("rotation.md")]
#[derive(Debug, Clone)]
pub struct KeyRotation {
    store: SealedStore,
}

impl SealedStore {
    /// The store's keys, to change them while everything runs.
    pub fn key_rotation(&self) -> KeyRotation {
        KeyRotation {
            store: self.clone(),
        }
    }
}

impl KeyRotation {
    /// Every data key there ever was, in the order of their ids, as the store has them now.
    pub async fn data_keys(&self) -> Result<Vec<DataKey>, Error> {
        let (seen, _) = self.store.keys.look(&*self.store.store).await?;
        Ok(seen.keyset.data_keys().collect())
    }

    /// Adds a data key, which seals nothing before it is made [active](Self::activate).
    ///
    /// If one waits for that already, it is that one: asking again adds no other.
    pub async fn add_key(&self) -> Result<DataKey, Error> {
        let add = |seen: &Seen, now| seen.keyset.with_waiting(now);
        for _ in 0..MAX_CONFLICTS {
            let seen = self.change(add).await?;
            // None waits if somebody else has made it active already.
            if let Some(id) = seen.keyset.waiting() {
                return seen.keyset.data_key(id);
            }
        }
        Err(kept_changing())
    }

    /// Makes `id` the key that seals, and retires the one that did.
    ///
    /// Fails with [`ErrorKind::TooSoon`] until the key has been there for longer than
    /// [`key_poll`](crate::SealedStoreBuilder::key_poll): by then every instance knows it.
    /// Does nothing if it is active.
    pub async fn activate(&self, id: u32) -> Result<(), Error> {
        self.change(|seen, now| seen.keyset.with_active(id, now))
            .await
            .map(drop)
    }

    /// Seals what retired keys have sealed under the active one, some rows at a time.
    ///
    /// ```
    /// # use tower_token::*;
    /// # async fn f(rotation: KeyRotation) -> Result<(), Error> {
    /// let mut rewrap = rotation.rewrap();
    /// while rewrap.step().await? {
    ///     println!("{:.0} %", 100.0 * rewrap.progress().fraction());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn rewrap(&self) -> Rewrap {
        Rewrap::new(self.store.clone())
    }

    /// How many rows each data key has sealed, by its id: reads the whole store.
    pub async fn rows_by_key(&self) -> Result<BTreeMap<u32, u64>, Error> {
        Ok(self.count_rows().await?.0)
    }

    /// The same, and how many rows do not say what key sealed them.
    async fn count_rows(&self) -> Result<(BTreeMap<u32, u64>, u64), Error> {
        let (mut rows, mut unknown) = (BTreeMap::new(), 0);
        let mut after = None;
        loop {
            let page = self.store.store.scan(after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok((rows, unknown));
            };
            after = Some(*last);
            let sealed = page.iter().filter(|(key, _)| *key != Keyset::row_key());
            for (_, row) in sealed {
                match seal::key_id(&row.bytes) {
                    Ok(id) => *rows.entry(id).or_default() += 1,
                    Err(_) => unknown += 1,
                }
            }
        }
    }

    /// Destroys a data key that nothing needs any longer: its bits are gone from the keyset,
    /// for good. Its id stays, so that a record that still names it says what happened.
    ///
    /// Fails with [`ErrorKind::KeyInUse`] if a row names the key, or does not say which one it
    /// is, and with [`ErrorKind::TooSoon`] until it has been retired for longer than twice
    /// [`key_poll`](crate::SealedStoreBuilder::key_poll): before that an instance might still
    /// seal with it. Reads the whole store. Does nothing if the key is destroyed.
    pub async fn destroy(&self, id: u32) -> Result<(), Error> {
        // In this order: once it is time nobody seals with the key, and no row comes to name it
        // that was not seen.
        let in_time = |seen: &Seen, now| seen.keyset.without(id, now).map(|_| None);
        let seen = self.change(in_time).await?;
        let counted_as = seen.keyset.data_key(id)?.state;
        if counted_as == DataKeyState::Destroyed {
            return Ok(());
        }
        let in_use = |message: String| Err(Error::new(ErrorKind::KeyInUse, message));
        let (by_key, unknown) = self.count_rows().await?;
        if let Some(rows) = by_key.get(&id) {
            return in_use(format!(
                "{rows} rows were sealed by data key {id}: rewrap them first"
            ));
        }
        if unknown > 0 {
            return in_use(format!(
                "{unknown} rows do not say what key sealed them, which may have been data key \
                 {id}: they are damaged, or of a later version of tower-token. A rewrap names them"
            ));
        }
        let change = |seen: &Seen, now| {
            let next = seen.keyset.without(id, now)?;
            if next.is_some() && seen.keyset.data_key(id)?.state != counted_as {
                // Made active, and retired again: there are rows by now that were not counted.
                let message = format!("data key {id} has sealed meanwhile: rewrap its rows first");
                return Err(Error::new(ErrorKind::KeyInUse, message));
            }
            Ok(next)
        };
        self.change(change).await.map(drop)
    }

    /// Removes a row that a rewrap found [unreadable](RewrapProgress::unreadable_rows); whether
    /// it was there. Whatever it held is lost: its user has to connect again.
    ///
    /// Make sure first that no later version of this crate has written it, and that no backup
    /// has a better copy. A row that can be read is not removed: that fails with
    /// [`ErrorKind::Config`].
    pub async fn remove_unreadable(&self, row_key: &RowKey) -> Result<bool, Error> {
        let refused = |message| Err(Error::new(ErrorKind::Config, message));
        if *row_key == Keyset::row_key() {
            return refused("this row is the store's keyset, without which nothing can be read");
        }
        let SealedStore { store, keys, .. } = &self.store;
        let Some(row) = store.load(row_key).await? else {
            return Ok(false);
        };
        keys.look(&**store).await?;
        if self
            .store
            .opener_of(&row)
            .await?
            .text(row_key, &row)
            .is_ok()
        {
            return refused("the row can be read");
        }
        self.store.purge(row_key, row.version).await
    }

    /// Wraps the store's keys by the first of the outer keys that the store was opened with.
    /// Does nothing if they are.
    pub async fn rewrap_keyset(&self) -> Result<(), Error> {
        let first = self.store.keys.ring().first()?;
        let change = |seen: &Seen, _| {
            let wrapped_by = seal::key_id(&seen.bytes)?;
            Ok((wrapped_by != first.id()).then(|| seen.keyset.changed()))
        };
        self.rewrite(|_| Ok(first), change).await.map(drop)
    }

    /// Changes the keyset, and leaves the outer key that wraps it as it is: others may not have
    /// a newer one yet.
    async fn change(
        &self,
        change: impl Fn(&Seen, Timestamp) -> Result<Next, Error>,
    ) -> Result<Arc<Seen>, Error> {
        let ring = self.store.keys.ring();
        let outer = |seen: &Seen| Keyset::wrapped_by(&seen.bytes, ring);
        self.rewrite(outer, change).await
    }

    /// Writes what `change` makes of the keyset as it stands, wrapped by `outer`, unless there
    /// is nothing to change. It is asked again if somebody else was faster, and if nobody knows.
    async fn rewrite<'a>(
        &self,
        outer: impl Fn(&Seen) -> Result<&'a Key, Error>,
        change: impl Fn(&Seen, Timestamp) -> Result<Next, Error>,
    ) -> Result<Arc<Seen>, Error> {
        let SealedStore { store, keys, .. } = &self.store;
        let mut stalled = None;
        for _ in 0..MAX_CONFLICTS {
            let began = keys.now();
            let (seen, version) = keys.look(&**store).await?;
            let now = self.store_time().await?;
            // Of the future is what a clock wrote that was ahead, and nobody has to wait for it.
            let wrong = |since| since > now || Some(since) == stalled;
            let redated = seen.keyset.redated(now, wrong);
            let is_redated = redated.is_some();
            let next = match redated {
                Some(next) => Some(next),
                None => change(&seen, now)?,
            };
            let Some(next) = next else {
                return Ok(seen);
            };
            let row = next.wrap(outer(&seen)?)?;
            let expected = Expected::Version(version);
            let saved = store.save(&Keyset::row_key(), row, expected).await?;
            let poll = next.poll();
            if !poll.is_zero() && keys.now().since(began) >= poll {
                // Whoever looked just before it was written counts from then.
                stalled = Some(now);
                continue;
            }
            match saved {
                SaveOutcome::Saved(_) if !is_redated => {
                    return Ok(keys.look(&**store).await?.0);
                }
                SaveOutcome::Saved(_) | SaveOutcome::Conflict | SaveOutcome::Unknown => {}
            }
        }
        Err(kept_changing())
    }

    /// The time by the one clock that all instances share.
    async fn store_time(&self) -> Result<Timestamp, Error> {
        let mut owner = LeaseOwner([0; 16]);
        seal::fill(&mut owner.0)?;
        let (store, row) = (&self.store.store, Keyset::row_key());
        let now = match store.lease(&row, owner, Duration::from_secs(1)).await? {
            Lease::Granted { now } => {
                store.release(&row, owner).await?;
                now
            }
            Lease::Held { now, .. } => now,
        };
        Ok(now)
    }
}

fn kept_changing() -> Error {
    let message = "the store's keyset kept changing: try again";
    Error::new(ErrorKind::Store, message)
}
