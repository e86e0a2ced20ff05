//! A user's grant begins here.

use std::sync::Arc;

use super::Shared;
use super::refresh::{kept_changing, new_exchange};
use super::slot::Slot;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{Grant, Record, TokenResponse};
use crate::key::GrantKey;
use crate::store::{Expected, Found, SaveOutcome};

/// How often a row may change under a connect before it is given up.
pub(super) const MAX_CONFLICTS: u32 = 16;
/// See `SealedRow::MAX_LEN`.
const MAX_RESPONSE: usize = 1 << 20;
/// No part of a key is longer than this.
const MAX_ID: usize = 1_024;

impl Shared {
    /// Stores the tokens of a user who consented just now, in a new epoch.
    pub(super) async fn connect(
        self: Arc<Self>,
        key: GrantKey,
        response: TokenResponse,
    ) -> Result<(), Error> {
        check_key(&key)?;
        if response.len() > MAX_RESPONSE {
            return Err(Error::new(
                ErrorKind::InvalidResponse,
                "the token response is too large to be kept: 1 MiB is the limit",
            ));
        }
        let slot = self.hold(&key)?;
        let connect = new_exchange()?;
        let mut found = self.find(&slot).await?;
        for _ in 0..MAX_CONFLICTS {
            let old = readable(found.as_ref());
            if let Some(record) = old.filter(|record| record.connect == connect) {
                // Written after all, though the acknowledgement was lost.
                self.connected(&slot, record);
                return Ok(());
            }
            let mut grant = Grant::connected(
                key.clone(),
                self.next_epoch(&slot, old),
                response.clone(),
                self.clock.now(),
                slot.provider().policy.default_lifetime,
            )?;
            let replaced = old.filter(|old| !old.grant.is_disconnected());
            for (name, value) in replaced.iter().flat_map(|old| &old.grant.metadata) {
                let kept = grant.metadata.entry(name.clone());
                kept.or_insert_with(|| value.clone());
            }
            let record = Record {
                grant,
                sequence: 1,
                connect,
                exchange: connect,
                intent: None,
                revocation: None,
            };
            match self.save(&slot, &record, expected(found.as_ref())).await? {
                SaveOutcome::Saved(_) => {
                    if old.is_some_and(|old| old.revocation.is_some()) {
                        // Done now it would, at most services, end the new tokens as well.
                        self.emit(&slot, EventKind::RevocationFailed);
                    }
                    self.connected(&slot, &record);
                    return Ok(());
                }
                SaveOutcome::Conflict | SaveOutcome::Unknown => {
                    found = self.find_to_settle(&slot).await?;
                }
            }
        }
        Err(kept_changing())
    }

    fn connected(&self, slot: &Slot, record: &Record) {
        slot.publish(record);
        slot.work().succeeded();
        self.emit(slot, EventKind::Connected);
    }

    /// An epoch after every one of this grant. Where no row is left to count from, or none
    /// that can be read, the time is: a grant cannot be outranked by its own past.
    pub(super) fn next_epoch(&self, slot: &Slot, old: Option<&Record>) -> u64 {
        match old {
            Some(record) => record.grant.epoch.max(slot.epoch()) + 1,
            None => self.clock.now().as_unix_millis().max(slot.epoch() + 1),
        }
    }
}

/// A row that does not open is in nobody's way: whoever connects or disconnects replaces it.
pub(super) fn readable(found: Option<&Found>) -> Option<&Record> {
    found.and_then(|found| found.record.as_ref().ok())
}

pub(super) fn expected(found: Option<&Found>) -> Expected {
    found.map_or(Expected::Absent, |found| Expected::Version(found.version))
}

/// An empty subject would put every anonymous caller under one grant.
fn check_key(key: &GrantKey) -> Result<(), Error> {
    let subject = key.subject();
    if subject.is_empty() || subject.len() > MAX_ID {
        return Err(Error::new(
            ErrorKind::Config,
            "a grant key's subject has 1 to 1024 bytes",
        ));
    }
    if key
        .connection()
        .is_some_and(|connection| connection.len() > MAX_ID)
    {
        return Err(Error::new(
            ErrorKind::Config,
            "a grant key's connection has at most 1024 bytes",
        ));
    }
    Ok(())
}
