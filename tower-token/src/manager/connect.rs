//! A user's grant begins and ends here.

use std::sync::Arc;

use super::Shared;
use super::refresh::new_exchange;
use super::slot::Slot;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{Grant, Record, TokenResponse};
use crate::key::GrantKey;
use crate::store::{Expected, Opened, SaveOutcome};

/// How often a row may change under a connect before it is given up.
const MAX_CONFLICTS: u32 = 16;
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
        let slot = self.hold(&key)?;
        let exchange = new_exchange()?;
        for _ in 0..MAX_CONFLICTS {
            let found = self.load(&slot).await?;
            if let Some(found) = found
                .as_ref()
                .filter(|found| found.record.exchange == exchange)
            {
                // Written after all, though the acknowledgement was lost.
                self.connected(&slot, &found.record);
                return Ok(());
            }
            let now = self.clock.now();
            let mut grant = Grant::connected(
                key.clone(),
                self.next_epoch(&slot, found.as_ref()),
                response.clone(),
                now,
                slot.provider().policy.default_lifetime,
            )?;
            let old = found.as_ref().map(|found| &found.record.grant);
            if let Some(old) = old.filter(|old| !old.is_disconnected()) {
                for (name, value) in &old.metadata {
                    let kept = grant.metadata.entry(name.clone());
                    kept.or_insert_with(|| value.clone());
                }
            }
            let record = Record {
                grant,
                sequence: 1,
                exchange,
                intent: None,
            };
            match self.store.save(&record, expected(found.as_ref())).await? {
                SaveOutcome::Saved(_) => {
                    self.connected(&slot, &record);
                    return Ok(());
                }
                SaveOutcome::Conflict | SaveOutcome::Unknown => {}
            }
        }
        Err(kept_changing())
    }

    fn connected(&self, slot: &Slot, record: &Record) {
        slot.publish(record);
        slot.work().backoff.clear();
        self.emit(slot, EventKind::Connected);
    }

    /// Replaces the grant by a durable mark that ends its epoch.
    pub(super) async fn disconnect(self: Arc<Self>, key: GrantKey) -> Result<(), Error> {
        let slot = self.hold(&key)?;
        for _ in 0..MAX_CONFLICTS {
            let Some(found) = self.load(&slot).await? else {
                return Ok(());
            };
            if found.record.grant.is_disconnected() {
                slot.publish(&found.record);
                self.emit(&slot, EventKind::Disconnected);
                return Ok(());
            }
            let epoch = self.next_epoch(&slot, Some(&found));
            let record = Record {
                grant: Grant::disconnected(key.clone(), epoch, self.clock.now()),
                sequence: 1,
                exchange: new_exchange()?,
                intent: None,
            };
            match self
                .store
                .save(&record, Expected::Version(found.version))
                .await?
            {
                SaveOutcome::Saved(_) => {
                    slot.publish(&record);
                    self.emit(&slot, EventKind::Disconnected);
                    return Ok(());
                }
                SaveOutcome::Conflict | SaveOutcome::Unknown => {}
            }
        }
        Err(kept_changing())
    }

    /// An epoch after every one of this grant. Where no row is left to count from, the
    /// time is: a grant that was purged cannot be outranked by its own past.
    fn next_epoch(&self, slot: &Slot, found: Option<&Opened>) -> u64 {
        match found {
            Some(found) => found.record.grant.epoch.max(slot.epoch()) + 1,
            None => self.clock.now().as_unix_millis().max(slot.epoch() + 1),
        }
    }
}

fn expected(found: Option<&Opened>) -> Expected {
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

fn kept_changing() -> Error {
    Error::new(ErrorKind::Store, "the grant's row kept changing: try again")
}
