//! One grant in memory: what is served now, and who is at work on it.
//!
//! A slot is shared by the map, by loads and by flights. What it serves is swapped in
//! whole and only ever for something newer, and shown in the map: readers need no lock.

use std::sync::Arc;

use super::entry::{Entry, Look};
use super::offer::{Current, Offer};
use super::registered::Registered;
use super::wanted::{Wanted, Which};
use super::work::{Healed, Work};
use crate::clock::Timestamp;
use crate::event::Fingerprint;
use crate::freshness::RefreshWindow;
use crate::grant::{AccessToken, Account, Grant, Record, Serial};
use crate::key::GrantKey;
use crate::provider::Provider;
use crate::rt::{ArcSwapOption, Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Slot {
    key: GrantKey,
    fingerprint: Fingerprint,
    registered: Arc<Registered>,
    current: ArcSwapOption<Offer>,
    work: Mutex<Work>,
}

/// What a 401 for a token means.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It has been replaced since.
    Replaced(AccessToken),
    /// The token of this serial has to be replaced now: it, or the one that replaced it
    /// and has come to its end as well.
    Replace { stale: Serial },
    /// It was issued a moment ago for this very reason: another will not help.
    Again,
}

impl Slot {
    /// `registered` is the provider of the key; `fingerprint` is of the key.
    pub(super) fn new(
        key: GrantKey,
        registered: Arc<Registered>,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            key,
            fingerprint,
            registered,
            current: ArcSwapOption::empty(),
            work: Mutex::new(Work::new()),
        }
    }

    pub(super) fn key(&self) -> &GrantKey {
        &self.key
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.registered.provider
    }

    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock()
    }

    /// What is served now. It may be withdrawn at any moment.
    #[cfg(test)]
    pub(super) fn offer(&self) -> Option<Arc<Offer>> {
        self.current.load_full()
    }

    /// Keeps it from being evicted for a while.
    pub(super) fn touch(&self) {
        self.work.lock().recently_used = true;
    }

    pub(super) fn look(&self, now: Timestamp, wanted: Wanted<'_>) -> Look {
        let offer = self.current.load();
        let Some(offer) = offer.as_deref() else {
            return Look::Unknown;
        };
        match &offer.current {
            Current::Live(_) if offer.doubted => Look::Doubted,
            Current::Live(entry) => entry.look(now, wanted),
            Current::Ended { .. } => Look::Unknown,
        }
    }

    /// The same, of a grant in doubt too.
    pub(super) fn look_in_doubt(&self, now: Timestamp, wanted: Wanted<'_>) -> Look {
        let offer = self.current.load();
        let entry = offer.as_deref().and_then(|offer| offer.current.entry());
        entry.map_or(Look::Unknown, |entry| entry.look(now, wanted))
    }

    /// The order of the newest token, if anything is known of the grant.
    pub(super) fn serial(&self) -> Option<Serial> {
        let offer = self.current.load();
        Some(offer.as_deref()?.current.entry()?.serial())
    }

    /// The accounts whose tokens can be used.
    pub(super) fn usable_accounts(&self, now: Timestamp) -> Vec<Account> {
        match self.current.load().as_deref().map(|offer| &offer.current) {
            Some(Current::Live(entry)) => entry.usable_accounts(now),
            Some(Current::Ended { .. }) | None => Vec::new(),
        }
    }

    /// Serves what `record`, a row of the store, holds, if it is newer than what is
    /// served.
    pub(super) fn publish(&self, record: &Record) {
        let mut work = self.work.lock();
        // A slow load may bring a row that has been overwritten since.
        if record.rank() >= work.seen {
            work.seen = record.rank();
            self.swap_in(&mut work, &record.grant);
        }
    }

    /// Whether what is served may be used without asking the store.
    pub(super) fn is_trusted(&self, now: Timestamp) -> bool {
        let offer = self.current.load();
        let is_doubted = offer.as_deref().is_some_and(|offer| offer.doubted);
        !is_doubted && self.is_heard(now)
    }

    /// Whether what other instances did was heard of lately.
    pub(super) fn is_heard(&self, now: Timestamp) -> bool {
        self.registered.is_trusted(now)
    }

    /// Serves nothing before it was found in the store once more. A flight knows more than the
    /// store may: what it leaves is doubted when it has landed.
    pub(super) fn doubt(&self) {
        let mut work = self.work.lock();
        match work.flight() {
            Some(_) => work.busy().doubted = true,
            None => self.doubt_offer(&mut work),
        }
    }

    /// The flight is no longer under way.
    pub(super) fn land(&self) {
        let mut work = self.work.lock();
        if work.land() {
            self.doubt_offer(&mut work);
        }
    }

    fn doubt_offer(&self, work: &mut Work) {
        let offer = self.current.load_full();
        if let Some(entry) = offer.as_deref().and_then(|offer| offer.current.entry()) {
            self.serve(work, Some(Current::Live(entry.clone())), true);
        }
    }

    /// Stops serving a grant whose row is gone.
    pub(super) fn vanish(&self) {
        let mut work = self.work.lock();
        let epoch = work.seen.0;
        self.serve(&mut work, Some(Current::Ended { epoch }), false);
    }

    /// The same for a record that could not be stored yet.
    pub(super) fn publish_unsaved(&self, record: &Record) {
        let mut work = self.work.lock();
        self.swap_in(&mut work, &record.grant);
    }

    fn swap_in(&self, work: &mut Work, grant: &Grant) {
        let serial = grant.serial();
        let offer = self.current.load_full();
        let (served, before) = match offer.as_deref().map(|offer| &offer.current) {
            Some(Current::Live(entry)) => (Some(entry.serial()), Some(entry)),
            Some(Current::Ended { epoch }) => (
                Some(Serial {
                    epoch: *epoch,
                    issue: 0,
                }),
                None,
            ),
            None => (None, None),
        };
        if served.is_some_and(|served| serial < served) {
            // Never stored, and not outdated by what is.
            if let (true, Some(entry)) = (offer.as_ref().is_some_and(|it| it.doubted), before) {
                self.serve(work, Some(Current::Live(entry.clone())), false);
            }
            return;
        }
        let jitter = self.jitter();
        let due_at = |token: &AccessToken| {
            let margin = self.provider().policy.margin;
            RefreshWindow::new(token.started(), token.expires_at(), margin, jitter).due_at()
        };
        let next = if grant.is_disconnected() {
            Current::Ended { epoch: grant.epoch }
        } else {
            Current::Live(Entry::new(grant, due_at, before))
        };
        self.serve(work, Some(next), false);
    }

    /// Serves `next` in place of what was served. Runs under the lock of `work`: publishers take
    /// turns. A slot that was evicted serves nothing any more: another may have its key.
    fn serve(&self, work: &mut Work, next: Option<Current>, doubted: bool) {
        if work.evicted && next.is_some() {
            return;
        }
        let next = next.map(|next| {
            let registered = Arc::clone(&self.registered);
            Arc::new(Offer::new(self.key.clone(), registered, next, doubted))
        });
        let shown = next.as_ref().map(Arc::downgrade);
        let before = self.current.swap(next);
        if let Some(manager) = self.registered.manager.upgrade() {
            manager.cache.show(self, &shown.unwrap_or_default());
        }
        if let Some(before) = before {
            before.withdraw();
            if before.was_taken() {
                work.recently_used = true;
            }
        }
    }

    /// Notes a 401 for the token of `serial`, and stops serving that token if it is
    /// worth replacing.
    pub(super) fn refuse(&self, serial: Serial, which: Which<'_>, now: Timestamp) -> Refusal {
        let mut work = self.work.lock();
        let offer = self.current.load_full();
        let Some(offer) = offer.as_deref() else {
            return Refusal::Replace { stale: serial };
        };
        let Some(entry) = offer.current.entry() else {
            return Refusal::Replace { stale: serial };
        };
        let Some(served) = entry.served(which) else {
            return Refusal::Replace { stale: serial };
        };
        let newest = served.token.serial();
        if newest > serial {
            return if served.is_usable(now) {
                Refusal::Replaced(served.token.clone())
            } else {
                Refusal::Replace { stale: newest }
            };
        }
        let healed_lately = work.healed().is_some_and(|healed| {
            healed.serial == serial && now.since(healed.at) < healed.cooldown()
        });
        if healed_lately && !served.refused {
            return Refusal::Again;
        }
        if newest == serial && !served.refused {
            let refused = Current::Live(entry.with_refused(which));
            self.serve(&mut work, Some(refused), offer.doubted);
        }
        Refusal::Replace { stale: serial }
    }

    /// Whether a token of `serial` was refused.
    pub(super) fn is_refused(&self, serial: Serial) -> bool {
        let offer = self.current.load();
        let entry = offer.as_deref().and_then(|offer| offer.current.entry());
        entry.is_some_and(|entry| entry.is_refused(serial))
    }

    /// Whether a token of `serial` has run out.
    pub(super) fn is_expired(&self, serial: Serial, now: Timestamp) -> bool {
        let offer = self.current.load();
        let entry = offer.as_deref().and_then(|offer| offer.current.entry());
        entry.is_some_and(|entry| entry.is_expired(serial, now))
    }

    /// Notes that what is served now replaced the refused token of `refused`.
    pub(super) fn healed(&self, refused: Serial, now: Timestamp) {
        let mut work = self.work.lock();
        let offer = self.current.load();
        if let Some(Current::Live(entry)) = offer.as_deref().map(|offer| &offer.current) {
            // One that lived well beyond its cooldown was simply at its end.
            let in_a_row = work
                .healed()
                .filter(|last| last.serial == refused && now.since(last.at) < 2 * last.cooldown())
                .map_or(1, |last| last.in_a_row.saturating_add(1));
            work.busy().healed = Some(Healed {
                serial: entry.serial(),
                at: now,
                in_a_row,
            });
        }
    }

    pub(super) fn seen(&self) -> (u64, u64) {
        self.work.lock().seen
    }

    /// The newest epoch that was seen here.
    pub(super) fn epoch(&self) -> u64 {
        self.seen().0
    }

    /// Keeps the slot in the map for as long as the hold lives, unless it is gone.
    pub(super) fn hold(self: &Arc<Self>) -> Option<Hold> {
        let mut work = self.work.lock();
        if work.evicted {
            return None;
        }
        work.holders += 1;
        Some(Hold(Arc::clone(self)))
    }

    /// Takes the slot out of service, unless it was used lately or somebody is at work.
    pub(super) fn try_evict(&self) -> bool {
        let taken = self.current.load().as_deref().is_some_and(Offer::was_taken);
        let mut work = self.work.lock();
        if std::mem::take(&mut work.recently_used) || taken {
            return false;
        }
        if work.holders > 0 || work.flight().is_some() {
            return false;
        }
        work.evicted = true;
        self.serve(&mut work, None, false);
        true
    }

    /// Where in its margin this grant falls due, and the like: the same at every start.
    pub(super) fn jitter(&self) -> u16 {
        self.fingerprint.jitter()
    }

    /// Computed once: it is a keyed hash.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// A promise to the map that somebody is at work on a slot.
#[derive(Debug)]
pub(super) struct Hold(Arc<Slot>);

impl Hold {
    /// Another one, for whoever has `work` of the slot.
    pub(super) fn again(&self, work: &mut Work) -> Self {
        work.holders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl std::ops::Deref for Hold {
    type Target = Arc<Slot>;

    fn deref(&self) -> &Arc<Slot> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut work = self.0.work.lock();
        work.holders -= 1;
        work.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::Duration;

    use super::*;
    use crate::grant::{ExchangeId, TokenResponse};
    use crate::provider::{RefreshError, RefreshRequest, Refresher};

    struct Never;

    impl Refresher for Never {
        async fn refresh(&self, _: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
            std::future::pending().await
        }
    }

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

    fn slot() -> Arc<Slot> {
        let registered = Arc::new(Registered::new(
            Provider::new("p", Never),
            Weak::new(),
            Timestamp::FAR_FUTURE,
        ));
        Arc::new(Slot::new(
            GrantKey::new("p", "s"),
            registered,
            Fingerprint::NONE,
        ))
    }

    fn record(epoch: u64, issues: u64) -> Record {
        let response = || {
            TokenResponse::new(format!("e{epoch}"))
                .refresh_token("r")
                .expires_in(Duration::from_secs(60))
        };
        let key = GrantKey::new("p", "s");
        let mut grant = Grant::connected(key, epoch, response(), NOW, None).unwrap();
        for _ in 1..issues {
            grant.apply(response(), NOW, None).unwrap();
        }
        Record {
            grant,
            sequence: issues,
            connect: ExchangeId([0; 16]),
            exchange: ExchangeId([0; 16]),
            intent: None,
            revocation: None,
        }
    }

    fn served(slot: &Slot) -> Option<Serial> {
        let offer = slot.offer()?;
        let token = offer.token(Which::Only)?;
        offer.is_fresh(NOW).then(|| token.serial())
    }

    #[test]
    fn only_something_newer_is_published() {
        let slot = slot();
        slot.publish(&record(1, 2));
        slot.publish(&record(1, 1));
        assert_eq!(served(&slot), Some(Serial { epoch: 1, issue: 2 }));
        slot.publish(&record(2, 1));
        assert_eq!(served(&slot), Some(Serial { epoch: 2, issue: 1 }));
    }

    #[test]
    fn what_is_doubted_is_not_taken_for_nobody_and_stays_refused() {
        let slot = slot();
        let look = || slot.look(NOW, Wanted::of(None));
        slot.publish(&record(1, 1));
        slot.refuse(Serial { epoch: 1, issue: 1 }, Which::Only, NOW);
        slot.doubt();
        assert_eq!(served(&slot), None);
        assert!(matches!(look(), Look::Doubted));
        slot.publish(&record(1, 1));
        assert!(matches!(look(), Look::Replace { .. }));
    }

    #[test]
    fn what_could_not_be_stored_replaces_nothing_newer_either() {
        let slot = slot();
        slot.publish(&record(2, 1));
        slot.publish_unsaved(&record(1, 5));
        assert_eq!(served(&slot), Some(Serial { epoch: 2, issue: 1 }));
        slot.publish_unsaved(&record(2, 2));
        assert_eq!(served(&slot), Some(Serial { epoch: 2, issue: 2 }));
        // Not stored, it does not count as seen in the store.
        assert_eq!(slot.seen(), (2, 1));
    }

    #[test]
    fn a_disconnected_user_does_not_come_back_with_an_old_epoch() {
        let slot = slot();
        slot.publish(&record(1, 1));
        let mut gone = record(2, 1);
        gone.grant = Grant::disconnected(GrantKey::new("p", "s"), 2, NOW);
        slot.publish(&gone);
        assert_eq!(served(&slot), None);
        slot.publish(&record(1, 9));
        assert!(matches!(slot.look(NOW, Wanted::of(None)), Look::Unknown));
        slot.publish(&record(3, 1));
        assert_eq!(served(&slot), Some(Serial { epoch: 3, issue: 1 }));
    }

    #[test]
    fn a_refused_token_is_not_served_again_and_its_successor_is_not_refused_for_it() {
        let slot = slot();
        slot.publish(&record(1, 1));
        let first = Serial { epoch: 1, issue: 1 };
        assert!(matches!(
            slot.refuse(first, Which::Only, NOW),
            Refusal::Replace { .. }
        ));
        slot.publish(&record(1, 1));
        assert_eq!(served(&slot), None);
        slot.publish(&record(1, 2));
        slot.healed(first, NOW);
        assert!(matches!(
            slot.refuse(first, Which::Only, NOW),
            Refusal::Replaced(_)
        ));
        let second = Serial { epoch: 1, issue: 2 };
        assert!(matches!(
            slot.refuse(second, Which::Only, NOW),
            Refusal::Again
        ));
        assert_eq!(served(&slot), Some(second));
        let later = NOW + Duration::from_secs(5);
        assert!(matches!(
            slot.refuse(second, Which::Only, later),
            Refusal::Replace { .. }
        ));
        // The successor has come to its end as well: that is what has to be replaced.
        let hour_later = NOW + Duration::from_secs(3_600);
        assert!(
            matches!(slot.refuse(first, Which::Only, hour_later), Refusal::Replace { stale } if stale == second)
        );
        // Refused again and again, it is left alone for longer and longer.
        slot.publish(&record(1, 3));
        slot.healed(second, later);
        let third = Serial { epoch: 1, issue: 3 };
        let after = |secs| slot.refuse(third, Which::Only, later + Duration::from_secs(secs));
        assert!(matches!(after(9), Refusal::Again));
        assert!(matches!(after(10), Refusal::Replace { .. }));
    }

    #[test]
    fn a_fresh_token_is_served_while_somebody_holds_the_lock() {
        let slot = slot();
        slot.publish(&record(1, 1));
        let _work = slot.work();
        assert!(served(&slot).is_some());
    }

    #[test]
    fn a_slot_at_work_is_never_evicted() {
        let slot = slot();
        slot.publish(&record(1, 1));
        let hold = slot.hold().unwrap();
        assert!(!slot.try_evict() && !slot.try_evict());
        drop(hold);
        assert!(slot.try_evict());
        assert!(slot.hold().is_none());
        assert_eq!(served(&slot), None);
    }
}
