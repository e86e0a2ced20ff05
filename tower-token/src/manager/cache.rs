//! Every slot of a manager, bounded in number.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use papaya::Operation;

use super::offer::Offer;
use super::slot::{Hold, Slot};
use crate::error::Error;
use crate::key::{BuildKeyHash, GrantKey};
use crate::rt::{Mutex, yield_now};

/// A map that is read without a lock, and a clock hand over its keys that evicts what
/// was not used since the hand last came by.
#[derive(Debug)]
pub(super) struct Cache {
    slots: papaya::HashMap<GrantKey, Shown, BuildKeyHash>,
    hand: Mutex<VecDeque<GrantKey>>,
    capacity: usize,
    doubts: AtomicU64,
}

/// A slot, and what it serves: whoever wants a fresh token need not look into the slot.
#[derive(Debug)]
struct Shown {
    slot: Arc<Slot>,
    /// Not kept: the map drops what was replaced some time later.
    offer: Weak<Offer>,
}

/// How many keys one insert may look at to make room. Where that many are all in use the
/// map grows past its capacity until they are not.
const STEPS: usize = 64;
/// How many slots are doubted before somebody else may run.
const DOUBTED_AT_ONCE: usize = 256;

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            slots: papaya::HashMap::default(),
            hand: Mutex::default(),
            capacity: capacity.max(1),
            doubts: AtomicU64::new(0),
        }
    }

    /// Looks a slot up and uses it in place.
    pub(super) fn with<T>(
        &self,
        key: &GrantKey,
        use_it: impl FnOnce(&Arc<Slot>) -> T,
    ) -> Option<T> {
        self.slots.pin().get(key).map(|shown| use_it(&shown.slot))
    }

    /// What the key's slot serves, if it serves anything.
    pub(super) fn offer(&self, key: &GrantKey) -> Option<Arc<Offer>> {
        let offer = self.slots.pin().get(key)?.offer.upgrade();
        offer.filter(|offer| !offer.is_withdrawn())
    }

    /// What `slot` serves from now on, if it is still the one of its key.
    pub(super) fn show(&self, slot: &Slot, offer: &Weak<Offer>) {
        let slots = self.slots.pin();
        slots.compute(slot.key().clone(), |found| match found {
            Some((_, shown)) if std::ptr::eq(&*shown.slot, slot) => Operation::Insert(Shown {
                slot: Arc::clone(&shown.slot),
                offer: Weak::clone(offer),
            }),
            _ => Operation::Abort(()),
        });
    }

    /// The key's slot, made if there is none, and held.
    pub(super) fn hold(
        &self,
        key: &GrantKey,
        make: impl Fn() -> Result<Slot, Error>,
    ) -> Result<Hold, Error> {
        loop {
            let slots = self.slots.pin();
            if let Some(Shown { slot, .. }) = slots.get(key) {
                match slot.hold() {
                    Some(hold) => return Ok(hold),
                    // Evicted between the look-up and now; whoever did that removes it.
                    None => {
                        slots.remove_if(key, |_, found| found.is_of(slot)).ok();
                        continue;
                    }
                }
            }
            let slot = Arc::new(make()?);
            // Held before anyone can see it, so that it is not evicted at once.
            let hold = slot.hold();
            let offer = Weak::new();
            let shown = Shown { slot, offer };
            if let (Ok(_), Some(hold)) = (slots.try_insert(key.clone(), shown), hold) {
                drop(slots);
                self.make_room(key);
                return Ok(hold);
            }
        }
    }

    fn make_room(&self, key: &GrantKey) {
        let mut hand = self.hand.lock();
        hand.push_back(key.clone());
        let slots = self.slots.pin();
        for _ in 0..STEPS {
            if hand.len() <= self.capacity {
                return;
            }
            let Some(oldest) = hand.pop_front() else {
                return;
            };
            match slots.get(&oldest) {
                Some(Shown { slot, .. }) if slot.try_evict() => {
                    slots.remove_if(&oldest, |_, found| found.is_of(slot)).ok();
                }
                Some(_) => hand.push_back(oldest),
                None => {}
            }
        }
    }

    /// Serves nothing that is not found in the store once more.
    pub(super) async fn doubt(&self) {
        // First: what is read from here on is newer than what is in doubt.
        self.doubts.fetch_add(1, Ordering::AcqRel);
        let slots: Vec<_> = {
            let shown = self.slots.pin();
            shown
                .values()
                .map(|shown| Arc::clone(&shown.slot))
                .collect()
        };
        for some in slots.chunks(DOUBTED_AT_ONCE) {
            for slot in some {
                slot.doubt();
            }
            yield_now().await;
        }
    }

    /// How often everything was doubted.
    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Shown {
    fn is_of(&self, slot: &Arc<Slot>) -> bool {
        Arc::ptr_eq(&self.slot, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::registered::Registered;
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Fingerprint;
    use crate::grant::TokenResponse;
    use crate::provider::{Provider, RefreshError, RefreshRequest, Refresher};

    struct Never;

    impl Refresher for Never {
        async fn refresh(&self, _: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
            std::future::pending().await
        }
    }

    #[test]
    fn it_stays_bounded_and_keeps_what_is_held() {
        let cache = Cache::new(10);
        let registered = Arc::new(Registered::new(
            Provider::new("p", Never),
            Weak::new(),
            Timestamp::FAR_FUTURE,
        ));
        let key = |n: usize| GrantKey::new("p", n.to_string());
        let slot = |n| Slot::new(key(n), Arc::clone(&registered), Fingerprint::NONE);
        let hold = |n| cache.hold(&key(n), || Ok(slot(n))).unwrap();
        let first = hold(0);
        for n in 1..1_000 {
            drop(hold(n));
        }
        assert!(cache.len() <= 11, "{}", cache.len());
        let same = cache.with(&key(0), |slot| Arc::ptr_eq(slot, &first));
        assert_eq!(same, Some(true));
    }
}
