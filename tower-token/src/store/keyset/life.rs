//! The life of a data key: what may become of it, and when. Every decision is a function of
//! the keyset and the time.

use std::time::Duration;

use super::Keyset;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::store::seal::Key;

/// One of the keys that seal what is stored, without its bits.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataKey {
    /// Its number, which every record names that it sealed. Counted from 1, and never used
    /// twice.
    pub id: u32,
    /// Where it is in its life.
    pub state: DataKeyState,
    /// Since when, by the store's clock; the start of 1970 where that was not written down.
    pub since: Timestamp,
}

/// The life of a [`DataKey`], in order.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataKeyState {
    /// It seals nothing yet. Every instance is to know it before one does.
    Created,
    /// The one that seals.
    Active,
    /// It opens what it sealed, and seals nothing more.
    Retired,
    /// Its bits are gone, and with them whatever it may have sealed.
    Destroyed,
}

/// A data key and its bits, which are there until it is destroyed.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) data_key: DataKey,
    pub(super) key: Option<Key>,
}

impl Entry {
    pub(super) fn new(id: u32, state: DataKeyState, since: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            data_key: DataKey { id, state, since },
            key: Some(Key::random()?),
        })
    }
}

/// What comes after a change; `None` where there is nothing to change, such as after an
/// attempt whose acknowledgement was lost.
pub(in crate::store) type Next = Option<Keyset>;

impl Keyset {
    pub(in crate::store) fn data_keys(&self) -> impl Iterator<Item = DataKey> {
        self.entries.iter().map(|entry| entry.data_key)
    }

    /// The key that waits to become active, if there is one.
    pub(in crate::store) fn waiting(&self) -> Option<u32> {
        let mut keys = self.data_keys();
        keys.find(|key| key.state == DataKeyState::Created)
            .map(|key| key.id)
    }

    /// With a key that waits to become active. One at a time is enough.
    pub(in crate::store) fn with_waiting(&self, now: Timestamp) -> Result<Next, Error> {
        if self.waiting().is_some() {
            return Ok(None);
        }
        let last = self.data_keys().map(|key| key.id).max().unwrap_or(0);
        let id = last.checked_add(1);
        let id = id.ok_or_else(|| config(String::from("the ids of data keys are used up")))?;
        let mut next = self.changed();
        next.entries
            .push(Entry::new(id, DataKeyState::Created, now)?);
        Ok(Some(next))
    }

    /// With `id` as the key that seals, in place of the one that did. Every instance has looked
    /// at the keyset since it was added, or does so before it seals anything.
    pub(in crate::store) fn with_active(&self, id: u32, now: Timestamp) -> Result<Next, Error> {
        let key = self.data_key(id)?;
        match key.state {
            DataKeyState::Active => return Ok(None),
            DataKeyState::Created => {}
            DataKeyState::Retired | DataKeyState::Destroyed => {
                return Err(config(format!(
                    "data key {id} had its time: add a new one, and make that active"
                )));
            }
        }
        not_before(key.since + self.poll, now, || {
            format!("data key {id} cannot become active before every instance knows it")
        })?;
        let mut next = self.changed();
        for Entry { data_key, .. } in &mut next.entries {
            if data_key.state == DataKeyState::Active {
                (data_key.state, data_key.since) = (DataKeyState::Retired, now);
            }
            if data_key.id == id {
                (data_key.state, data_key.since) = (DataKeyState::Active, now);
            }
        }
        Ok(Some(next))
    }

    /// Without the bits of `id`. Every instance seals with another by then, and what was sealed
    /// just before has been written: that is given as long again.
    pub(in crate::store) fn without(&self, id: u32, now: Timestamp) -> Result<Next, Error> {
        let key = self.data_key(id)?;
        match key.state {
            DataKeyState::Destroyed => return Ok(None),
            DataKeyState::Created | DataKeyState::Retired => {}
            DataKeyState::Active => {
                return Err(config(format!(
                    "data key {id} is the one that seals: make another active first"
                )));
            }
        }
        not_before(key.since + self.poll + self.poll, now, || {
            format!("data key {id} cannot be destroyed while an instance may still seal with it")
        })?;
        let mut next = self.changed();
        let destroyed = next.entries.iter_mut();
        for entry in destroyed.filter(|entry| entry.data_key.id == id) {
            (entry.data_key.state, entry.data_key.since) = (DataKeyState::Destroyed, now);
            entry.key = None;
        }
        Ok(Some(next))
    }

    /// With the dates that are `wrong` replaced by `now`, if there are any: what waits for them
    /// waits anew.
    pub(in crate::store) fn redated(
        &self,
        now: Timestamp,
        wrong: impl Fn(Timestamp) -> bool,
    ) -> Next {
        if !self.data_keys().any(|key| wrong(key.since)) {
            return None;
        }
        let mut next = self.changed();
        let dates = next
            .entries
            .iter_mut()
            .map(|entry| &mut entry.data_key.since);
        dates
            .filter(|since| wrong(**since))
            .for_each(|since| *since = now);
        Some(next)
    }

    /// The same keys, to be written anew.
    pub(in crate::store) fn changed(&self) -> Self {
        Self {
            sequence: self.sequence + 1,
            ..self.clone()
        }
    }

    pub(in crate::store) fn data_key(&self, id: u32) -> Result<DataKey, Error> {
        self.data_keys()
            .find(|key| key.id == id)
            .ok_or_else(|| config(format!("there is no data key {id}")))
    }
}

fn not_before(
    earliest: Timestamp,
    now: Timestamp,
    what: impl FnOnce() -> String,
) -> Result<(), Error> {
    if now > earliest {
        return Ok(());
    }
    // Later than `earliest`, not at it.
    let left = earliest.since(now) + Duration::from_millis(1);
    let message = format!("{}: wait for {left:?}", what());
    Err(Error::new(ErrorKind::TooSoon, message).retry_after(left))
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}
