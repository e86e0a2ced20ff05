//! The keyset as a running process knows it: looked at again from time to time, and never
//! replaced by an older one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Keyset, NoKey, key_error};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorKind};
use crate::rt::{ArcSwap, Mutex};
use crate::store::contract::{Row, StoreError, StoreErrorKind, Version};
use crate::store::erased::DynByteStore;
use crate::store::keyring::KeyRing;

/// For how long a key that was looked for and not found is not looked for again: a damaged
/// record costs its readers no more than that.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The newest keyset that was seen, and when it was.
///
/// Nothing is sealed with a keyset that was looked at longer ago than its poll. That is what
/// lets a rotation know, by waiting, what all instances seal with. A look is one read, made by
/// whoever writes then; who only reads needs none.
pub(in crate::store) struct LiveKeyset {
    ring: KeyRing,
    /// For an instance that is to look more often than it has to.
    poll: Duration,
    clock: Arc<dyn Clock>,
    seen: ArcSwap<Seen>,
    /// When the last look began that found it, in milliseconds.
    looked: AtomicU64,
    /// The last key that a look did not find, and when that began.
    missing: Mutex<Option<(u32, Timestamp)>>,
}

/// A keyset, and the row it was found in.
#[derive(Debug)]
pub(in crate::store) struct Seen {
    pub(in crate::store) keyset: Keyset,
    pub(in crate::store) bytes: Bytes,
}

impl LiveKeyset {
    /// `looked` is when the look began that found `seen`.
    pub(in crate::store) fn new(
        ring: KeyRing,
        poll: Duration,
        clock: Arc<dyn Clock>,
        seen: Seen,
        looked: Timestamp,
    ) -> Self {
        Self {
            ring,
            poll,
            clock,
            seen: ArcSwap::new(Arc::new(seen)),
            looked: AtomicU64::new(looked.as_unix_millis()),
            missing: Mutex::new(None),
        }
    }

    pub(in crate::store) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(in crate::store) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The newest that was seen, however long ago.
    pub(in crate::store) fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// A keyset to seal with.
    pub(in crate::store) async fn current(
        &self,
        store: &dyn DynByteStore,
    ) -> Result<Arc<Seen>, Error> {
        if self.is_due() {
            return Ok(self.look(store).await?.0);
        }
        Ok(self.seen())
    }

    /// Whether a look for `id` would tell nothing new.
    pub(in crate::store) fn is_missing(&self, id: u32) -> bool {
        let missing = *self.missing.lock();
        missing
            .is_some_and(|(missing, looked)| missing == id && self.now().since(looked) < LOOK_AGAIN)
    }

    /// A keyset that has the key `id`, if there is one: it was added since the last look.
    pub(in crate::store) async fn with_key(
        &self,
        id: u32,
        store: &dyn DynByteStore,
    ) -> Result<Arc<Seen>, Error> {
        let began = self.now();
        let (seen, _) = self.look(store).await?;
        if seen.keyset.by_id(id).err() == Some(NoKey::Unknown) {
            *self.missing.lock() = Some((id, began));
        }
        Ok(seen)
    }

    /// Looks at the keyset, and tells the version of its row.
    pub(in crate::store) async fn look(
        &self,
        store: &dyn DynByteStore,
    ) -> Result<(Arc<Seen>, Version), Error> {
        let (began, before) = (self.now(), self.seen());
        let found = store.load(&Keyset::row_key()).await.map_err(unreadable)?;
        let row = found.ok_or_else(|| {
            key_error(
                "the store's keyset is gone, and nothing that starts now can read the store: \
                 restore its row from a backup",
            )
        })?;
        let seen = self.take(&before, &row)?;
        // After what was seen, which it is the time of.
        self.looked
            .fetch_max(began.as_unix_millis(), Ordering::Release);
        Ok((seen, row.version))
    }

    /// Takes over what stands in `row`, unless it is older than `before`, which was seen before
    /// the row was read.
    pub(in crate::store) fn take(&self, before: &Seen, row: &Row) -> Result<Arc<Seen>, Error> {
        if row.bytes == before.bytes {
            return Ok(self.seen());
        }
        let keyset = Keyset::unwrap(row, &self.ring)?;
        if keyset.vault != before.keyset.vault {
            return Err(key_error(
                "the store's keyset is that of another store: restore its row from a backup",
            ));
        }
        // Nothing is written twice by one sequence, so another text of the same is a branch
        // that began before what was seen. So is one that has gone further without its keys.
        let is_newer = keyset.sequence > before.keyset.sequence;
        if !(is_newer && keyset.has_keys_of(&before.keyset)) {
            return Err(key_error(
                "the store's keyset is older than it was: the store was rolled back, and what was \
                 sealed since cannot be opened by it. Restore its row from a newer backup",
            ));
        }
        let found = Arc::new(Seen {
            keyset,
            bytes: row.bytes.clone(),
        });
        // Somebody else's look may have found a newer one meanwhile.
        self.seen
            .rcu(|seen| match seen.keyset.sequence < found.keyset.sequence {
                true => Arc::clone(&found),
                false => Arc::clone(seen),
            });
        Ok(self.seen())
    }

    /// Whoever writes next looks first.
    pub(in crate::store) fn forget_look(&self) {
        self.looked.store(0, Ordering::Release);
    }

    /// Whether nothing may be sealed before another look.
    fn is_due(&self) -> bool {
        let looked = Timestamp::from_unix_millis(self.looked.load(Ordering::Acquire));
        self.now().since(looked) >= self.poll.min(self.seen().keyset.poll())
    }
}

/// A keyset that is damaged says nothing of the records, which are as good as they were.
fn unreadable(error: StoreError) -> Error {
    match error.kind() {
        StoreErrorKind::Damaged => {
            let message = "the store's keyset cannot be read: restore its row from a backup";
            Error::with_source(ErrorKind::Key, message, error)
        }
        _ => error.into(),
    }
}

impl fmt::Debug for LiveKeyset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveKeyset").finish_non_exhaustive()
    }
}
