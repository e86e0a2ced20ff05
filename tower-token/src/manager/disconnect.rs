//! A user's grant ends here.

use std::sync::Arc;

use super::Shared;
use super::connect::{MAX_CONFLICTS, expected, readable};
use super::refresh::{kept_changing, new_exchange};
use super::revoke::FIRST_RETRY;
use crate::error::Error;
use crate::event::EventKind;
use crate::grant::{Grant, Record, Revocation};
use crate::key::GrantKey;
use crate::store::SaveOutcome;

/// Whether the token service hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    AndRevoke,
    Quietly,
}

/// In the metadata of a mark whose tokens are not to be revoked, those of a flight that was
/// under way included.
const QUIETLY: &str = "quietly";

/// Whether the tokens of a disconnected grant are to be revoked.
pub(super) fn is_told(grant: &Grant) -> bool {
    !grant.metadata.contains_key(QUIETLY)
}

impl Shared {
    /// Replaces the grant by a durable mark that ends its epoch. What its token service is
    /// to revoke stays sealed in the mark until that is done.
    pub(super) async fn disconnect(
        self: Arc<Self>,
        key: GrantKey,
        leave: Leave,
    ) -> Result<(), Error> {
        let slot = self.hold(&key)?;
        let mark = new_exchange()?;
        let mut found = self.find(&slot).await?;
        for _ in 0..MAX_CONFLICTS {
            let old = readable(found.as_ref());
            if found.is_none() && slot.epoch() == 0 {
                // Nobody was ever here.
                return Ok(());
            }
            if let Some(record) = old.filter(|record| record.grant.is_disconnected()) {
                self.emit(&slot, EventKind::Disconnected);
                if record.connect == mark {
                    self.revoke_behind(&slot);
                }
                return Ok(());
            }
            let now = self.clock.now();
            let epoch = self.next_epoch(&slot, old);
            let revoker = slot.provider().revoker.as_ref();
            let tokens = match (revoker, old) {
                (Some(revoker), Some(old)) if leave == Leave::AndRevoke => {
                    revoker.revocable(&old.grant)
                }
                _ => Vec::new(),
            };
            let mut grant = Grant::disconnected(key.clone(), epoch, now);
            if leave == Leave::Quietly {
                grant.metadata.insert(QUIETLY.into(), String::new());
            }
            let record = Record {
                grant,
                sequence: 1,
                connect: mark,
                exchange: mark,
                intent: None,
                revocation: (!tokens.is_empty()).then(|| Revocation {
                    tokens,
                    attempts: 0,
                    // The first try follows at once; this is for whoever comes after.
                    next: now + FIRST_RETRY,
                }),
            };
            let saved = self.save(&slot, &record, expected(found.as_ref())).await?;
            match saved {
                SaveOutcome::Saved(_) => {
                    slot.publish(&record);
                    self.emit(&slot, EventKind::Disconnected);
                    self.revoke_behind(&slot);
                    return Ok(());
                }
                SaveOutcome::Conflict | SaveOutcome::Unknown => {
                    found = self.find_to_settle(&slot).await?;
                }
            }
        }
        Err(kept_changing())
    }
}
