//! Looking after grants that nobody uses.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::flight::Need;
use super::pace::Tickets;
use super::revoke::Revoking;
use super::slot::Hold;
use super::upkeep::{SKEW, Task, next_task};
use super::{Opened, Shared, jitter};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{GrantState, Intent, ReauthReason, Record, Serial};
use crate::key::GrantKey;
use crate::rt::{timeout, watch};
use crate::store::{Expected, Found, RowKey, SaveOutcome, Version};

const EVERY: Duration = Duration::from_secs(60);
/// A row that was claimed is left to its claimer for so long.
const CLAIM: Duration = Duration::from_secs(60);
/// What was not begun by then is left for whoever claims it next: the rest of the claim is for
/// the exchange.
const BEGUN_WITHIN: Duration = Duration::from_secs(45);
/// How many renewals of one provider wait for their turn at the most.
const WAITING: usize = 1_024;
/// After so long those whose turn comes are not kept waiting by what is claimed behind them.
const IN_TURN_AFTER: Duration = Duration::from_secs(10);
/// Of how many batches in a row nothing may have found room there before no more are claimed:
/// others could renew them, and behind them may be those of other providers.
const TOO_MANY: usize = 8;
/// When a sweep that left something goes on, after its claims have ended.
const AFTER: Duration = Duration::from_secs(1);
/// Small, so that several instances find something to do.
const BATCH: usize = 32;
/// For how many rounds after a start so many batches are taken at a time.
const SMEARED: u32 = 10;
const AT_FIRST: usize = 8;
const PAGE: usize = 256;
/// How many grants are worked on at once: users come first.
const AT_ONCE: usize = 4;
/// A report names no more grants than this.
const MAX_ITEMS: usize = 10_000;

/// What a sweep found; see [`TokenManager::sweep`](crate::TokenManager::sweep).
#[non_exhaustive]
#[derive(Debug, Clone, Default)]
pub struct SweepReport {
    /// How many rows were looked at.
    pub examined: u64,
    /// How many of them do not open.
    pub unreadable: u64,
    /// What there is to do, or to know; 10,000 at most.
    pub items: Vec<SweepItem>,
    /// How many more there are.
    pub omitted: u64,
}

/// One grant that a sweep has something to say about.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct SweepItem {
    /// Which grant.
    pub key: GrantKey,
    /// What is to be done about it.
    pub action: SweepAction,
    /// Why it could not be done, if it was tried.
    pub error: Option<Error>,
}

/// What a sweep does about a grant.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepAction {
    /// Refresh it, so that its refresh token does not end unused.
    Renew,
    /// Mark it: it can never be used again.
    NeedsReauth(ReauthReason),
    /// Tell the token service of a disconnect.
    Revoke,
    /// Remove its row, which nobody has needed for a month.
    Purge,
    /// Nothing: its refresh token ends then for good, and only the user can help.
    ReconnectBy(Timestamp),
}

impl From<Task> for SweepAction {
    fn from(task: Task) -> Self {
        match task {
            Task::Renew => Self::Renew,
            Task::GiveUp(reason) => Self::NeedsReauth(reason),
            Task::Revoke => Self::Revoke,
            Task::Purge => Self::Purge,
        }
    }
}

/// Sweeps once a minute, until the manager is shut down or dropped.
pub(super) fn start(shared: &Arc<Shared>) {
    let (manager, stop) = (Arc::downgrade(shared), shared.stop.subscribe());
    shared.runtime.spawn(sweep_on(manager, stop));
}

async fn sweep_on(manager: Weak<Shared>, mut stop: watch::Receiver<bool>) {
    // Instances that start together do not sweep together.
    let mut wait = EVERY * u32::from(jitter()) / 255;
    let mut rounds = 0;
    while timeout(wait, stop.changed()).await.is_err() {
        let Some(shared) = manager.upgrade() else {
            return;
        };
        // What has become due during a long stop is not done all at once.
        let batches = if rounds < SMEARED {
            AT_FIRST
        } else {
            usize::MAX
        };
        let runtime = shared.runtime.clone();
        let sweep = Arc::clone(&shared);
        let began = shared.clock.now();
        let swept = runtime.spawn(async move { sweep.sweep_due(batches).await });
        rounds = (rounds + 1).min(SMEARED);
        wait = match swept.await {
            Ok(Err(error)) if error.kind() == ErrorKind::Unsupported => {
                // It never will be.
                shared.emit_to_all(&EventKind::NotSwept);
                return;
            }
            // Nobody else can have it before.
            Ok(Ok(Swept::Left)) => {
                let passed = shared.clock.now().since(began);
                CLAIM.saturating_sub(passed) + AFTER
            }
            // A store that fails or panics now may work next time. Of several instances not
            // always the same one is first.
            _ => EVERY - EVERY / 4 * u32::from(jitter()) / 255,
        };
    }
}

/// Whether a sweep was through with what it claimed.
#[derive(Debug, PartialEq, Eq)]
enum Swept {
    All,
    /// Some had no turn while they were claimed.
    Left,
}

impl Swept {
    fn and(self, other: Self) -> Self {
        if self == Self::All { other } else { self }
    }
}

/// A row that a sweep came by.
struct Visit {
    row: RowKey,
    version: Version,
    record: Record,
    task: Option<Task>,
    /// Later it is not begun.
    begin_by: Timestamp,
    /// When there is something to do, by what is known here.
    next: Option<Timestamp>,
    /// When the row says so.
    due: Option<Timestamp>,
}

impl Shared {
    /// Does what is due by the store's index. Renewals that have to take turns come last, side by
    /// side for each provider: nothing else waits for them.
    async fn sweep_due(self: &Arc<Self>, batches: usize) -> Result<Swept, Error> {
        let mut in_turn = HashMap::<_, Vec<_>>::new();
        let (mut swept, mut too_many) = (Swept::All, 0);
        let began = self.clock.now();
        for _ in 0..batches {
            let now = self.clock.now();
            if self.is_shut_down() || too_many == TOO_MANY {
                break;
            }
            if !in_turn.is_empty() && now.since(began) > IN_TURN_AFTER {
                swept = Swept::Left;
                break;
            }
            let begin_by = now + BEGUN_WITHIN;
            let claimed = self.store.claim_due(BATCH, CLAIM).await?;
            if claimed.is_empty() {
                break;
            }
            let visits = claimed
                .into_iter()
                .filter_map(|(row, found)| self.visit(row, found, begin_by).ok())
                // Filed by an instance that knows more of its provider: left to that one.
                .filter(|visit| visit.next.is_some());
            let (paced, at_once): (Vec<_>, Vec<_>) = visits.partition(|it| self.is_paced(it));
            let mut found_room = paced.is_empty() || !at_once.is_empty();
            swept = swept.and(self.work_on(at_once).await.1);
            for visit in paced {
                let provider = visit.record.grant.key.provider().to_owned();
                let room = self.room_for(&provider);
                let waiting = in_turn.entry(provider).or_default();
                if waiting.len() < room {
                    waiting.push(visit);
                    found_room = true;
                } else {
                    swept = Swept::Left;
                }
            }
            too_many = if found_room { 0 } else { too_many + 1 };
        }
        let in_turn = in_turn.into_values().map(|visits| {
            let shared = Arc::clone(self);
            let work = async move { shared.work_on(visits).await.1 };
            self.runtime.spawn(work)
        });
        for work in in_turn.collect::<Vec<_>>() {
            // One that panicked has nothing to tell; its rows are claimed again.
            swept = swept.and(work.await.unwrap_or(Swept::Left));
        }
        Ok(swept)
    }

    /// Whether its turn has to be waited for.
    fn is_paced(&self, visit: &Visit) -> bool {
        let rate = self.rate_of(visit.record.grant.key.provider());
        visit.task == Some(Task::Renew) && rate.is_some()
    }

    fn rate_of(&self, provider: &str) -> Option<u32> {
        self.provider(provider).ok()?.policy.max_renewals_per_second
    }

    /// How many renewals may have their turn while they are claimed.
    fn room_for(&self, provider: &str) -> usize {
        let rate = self.rate_of(provider).unwrap_or(u32::MAX);
        let turns = BEGUN_WITHIN.as_secs().saturating_mul(u64::from(rate));
        usize::try_from(turns).unwrap_or(WAITING).min(WAITING)
    }

    /// Looks at every row, and does what there is to do if `act`.
    pub(super) async fn sweep_all(self: Arc<Self>, act: bool) -> Result<SweepReport, Error> {
        let mut report = SweepReport::default();
        let mut after = None;
        while !self.is_shut_down() {
            let page = self.store.page(after.as_ref(), PAGE).await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = Some(*last);
            let mut visits = Vec::new();
            for (row, found) in page {
                report.examined += 1;
                match self.visit(row, found, Timestamp::FAR_FUTURE) {
                    Ok(visit) => visits.push(visit),
                    Err(_) => report.unreadable += 1,
                }
            }
            let items = if act {
                self.work_on(visits).await.0
            } else {
                visits.iter().filter_map(|visit| visit.item(None)).collect()
            };
            let room = MAX_ITEMS - report.items.len();
            report.omitted += items.len().saturating_sub(room) as u64;
            report.items.extend(items.into_iter().take(room));
        }
        Ok(report)
    }

    fn visit(&self, row: RowKey, found: Found, begin_by: Timestamp) -> Result<Visit, Error> {
        let record = found.record?;
        let key = &record.grant.key;
        let now = self.clock.now();
        // A provider that is no longer registered has no say.
        let policy = self
            .provider(key.provider())
            .map(|provider| &provider.policy);
        let idle_lifetime = policy.map_or(None, |policy| policy.refresh_token_idle_lifetime);
        let jitter = self.store.fingerprint(key).jitter();
        let next = next_task(&record, idle_lifetime, jitter);
        Ok(Visit {
            row,
            version: found.version,
            task: next.filter(|(at, _)| *at <= now).map(|(_, task)| task),
            begin_by,
            next: next.map(|(at, _)| at),
            due: found.due,
            record,
        })
    }

    /// Works on some at a time, and tells about those that there is something to tell of.
    async fn work_on(self: &Arc<Self>, visits: Vec<Visit>) -> (Vec<SweepItem>, Swept) {
        let (mut items, mut tickets) = (Vec::new(), Tickets::default());
        let mut swept = Swept::All;
        let mut visits: VecDeque<_> = visits.into_iter().filter(Visit::needs_work).collect();
        while !visits.is_empty() {
            let mut tasks = Vec::new();
            while tasks.len() < AT_ONCE
                && let Some(visit) = visits.pop_front()
            {
                if self.is_shut_down() || self.clock.now() > visit.begin_by {
                    swept = Swept::Left;
                    continue;
                }
                if visit.task == Some(Task::Renew) {
                    let wanted = u32::try_from(visits.len() + 1).unwrap_or(u32::MAX);
                    let paced = self.may_renew(&visit, &mut tickets, wanted).await;
                    if let Err(error) = paced {
                        items.extend(visit.item(Some(error)));
                        continue;
                    }
                }
                tasks.push(self.runtime.spawn(Arc::clone(self).tend(visit)));
            }
            for task in tasks {
                // One that panicked has nothing to tell; its row is claimed again.
                items.extend(task.await.ok().flatten());
            }
        }
        (items, swept)
    }

    /// Waits for its turn.
    async fn may_renew(
        &self,
        visit: &Visit,
        tickets: &mut Tickets,
        wanted: u32,
    ) -> Result<(), Error> {
        let provider = self.provider(visit.record.grant.key.provider())?;
        self.pace(provider, tickets, wanted).await
    }

    async fn tend(self: Arc<Self>, visit: Visit) -> Option<SweepItem> {
        let done = self.tend_to(&visit).await;
        visit.item(done.err())
    }

    async fn tend_to(self: &Arc<Self>, visit: &Visit) -> Result<(), Error> {
        if visit.task == Some(Task::Purge) {
            if self.store.purge(&visit.row, visit.version).await? {
                self.cache
                    .with(&visit.record.grant.key, |slot| slot.vanish());
            }
            return Ok(());
        }
        let slot = &self.hold(&visit.record.grant.key)?;
        if visit.record.rank() < slot.seen() {
            // It has changed since, or was rolled back: whoever uses it next will see.
            return Ok(());
        }
        match visit.task {
            Some(Task::Renew) => return self.renew(slot, &visit.record).await,
            // Not waited for: a service that hangs would keep renewals from their time.
            // One that is under way needs no other after it: it is due again if it fails.
            Some(Task::Revoke) if slot.work().revoking() == Revoking::Idle => {
                self.revoke_behind(slot);
            }
            Some(Task::GiveUp(reason)) => {
                let serial = visit.record.grant.serial();
                return self.end(slot, serial, reason).await;
            }
            None if visit.is_misfiled() && visit.record.intent.is_none() => {
                let mut record = visit.record.clone();
                record.sequence += 1;
                // Whoever changes it meanwhile files it, too.
                let expected = Expected::Version(visit.version);
                if let SaveOutcome::Saved(_) = self.save(slot, &record, expected).await? {
                    slot.publish(&record);
                }
            }
            Some(Task::Revoke | Task::Purge) | None => {}
        }
        Ok(())
    }

    async fn renew(self: &Arc<Self>, slot: &Hold, record: &Record) -> Result<(), Error> {
        // What was claimed may be older than what is there by now, as when the user has left.
        let Some(found) = self.load(slot).await? else {
            return Ok(());
        };
        let serial = record.grant.serial();
        if found.record.grant.serial() != serial || found.record.grant.state != GrantState::Active {
            return Ok(());
        }
        let flight = self.join(slot, serial, Need::Soon)?;
        flight.landed().await
    }

    /// Marks a grant that can never be used again, if it still has the token of `serial`.
    async fn end(&self, slot: &Hold, serial: Serial, reason: ReauthReason) -> Result<(), Error> {
        let Some(Opened {
            version,
            mut record,
        }) = self.load(slot).await?
        else {
            return Ok(());
        };
        if record.grant.serial() != serial || record.grant.state != GrantState::Active {
            return Ok(());
        }
        // By the store's time, which no lease is taken for here.
        let live = |intent: Intent| self.clock.now() < intent.deadline + SKEW;
        if record.intent.is_some_and(live) || slot.work().flight().is_some() {
            // Its last exchange may bring something yet.
            return Err(Error::new(
                ErrorKind::TokenService,
                "a refresh of the grant is under way",
            ));
        }
        self.give_up(slot, &mut record, reason);
        let saved = self.save(slot, &record, Expected::Version(version)).await?;
        if let SaveOutcome::Saved(_) = saved {
            slot.publish(&record);
            self.emit_state(slot, &record.grant);
        }
        Ok(())
    }
}

impl Visit {
    fn needs_work(&self) -> bool {
        self.task.is_some() || self.is_misfiled() || self.record.grant.reconnect_by.is_some()
    }

    fn is_misfiled(&self) -> bool {
        self.due != self.next
    }

    fn item(&self, error: Option<Error>) -> Option<SweepItem> {
        let reconnect_by = self.record.grant.reconnect_by;
        let action = self
            .task
            .map(SweepAction::from)
            .or(reconnect_by.map(SweepAction::ReconnectBy))?;
        Some(SweepItem {
            key: self.record.grant.key.clone(),
            action,
            error,
        })
    }
}
