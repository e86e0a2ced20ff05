//! A store over a map that breaks one promise of its contract, for showing that the suite sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::yield_now;
use tower_token::{
    Announce, ByteStore, Changes, Clock, Cursor, Durability, Expected, Group, Lease, LeaseOwner,
    Row, RowKey, SaveOutcome, SealedRow, StoreError, StoreErrorKind, SystemClock, Timestamp,
    Version,
};

/// What it does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Cuts rows off after 64 KiB.
    CutsLongRows,
    /// Does not keep when a row is due.
    ForgetsDue,
    /// Saves whatever was expected.
    DoesNotCompare,
    /// Writes what it refuses.
    WritesWhatItRefuses,
    /// Compares, and writes later.
    ComparesTooEarly,
    /// Counts each row's writes from 1, also after a purge.
    ReusesVersions,
    /// Says `Saved` now and then, and forgets it.
    ForgetsSaves,
    /// Loads rows as they were one change before.
    LoadsStale,
    /// Writes a long row in two steps.
    WritesInParts,
    /// Leaves out the last byte of keys.
    CutsKeys,
    /// A save of a long row is written a little later, over whatever is there by then, also if
    /// it was dropped.
    WritesLate,
    /// Purges without a look at the version.
    PurgesAnyVersion,
    /// Lists all rows whatever the group.
    ListsAll,
    /// Scans from the last to the first.
    ScansBackwards,
    /// Leaves the first row of a second page out.
    ScansWithHoles,
    /// Remembers how many rows it has shown, and goes on after as many.
    ScansByNumber,
    /// Gives a lease to everyone.
    LeasesToAll,
    /// Leaves the end of a lease that is extended as it was.
    DoesNotExtend,
    /// Ends no lease.
    LeasesForEver,
    /// Lets anyone release a lease.
    ReleasesForAll,
    /// Refuses to save a row whose lease is held.
    LocksLeasedRows,
    /// Claims a row as often as it is asked.
    ClaimsTwice,
    /// Ends no claim.
    ClaimsForEver,
    /// Goes by when a row was due at first.
    DueAtFirst,
    /// Takes a lease with each claim.
    ClaimsLease,
    /// Says that there is nothing where it cannot know.
    PretendsEmpty,
    /// Loses what was written last.
    LosesTheLast,
    /// Begins to count versions anew when it is opened.
    CountsAnew,
    /// Shows rows before they are safe.
    ShowsUnsafe,
    /// Tells of no changes.
    TellsNothing,
    /// Counts a change before it is there to be told of.
    CountsChangesEarly,
    /// Tells of as many changes as were asked for, and leaves out the rest.
    CutsChanges,
    /// Works on after it was closed.
    NeverCloses,
    /// Opens again when it is closed twice.
    OpensAgain,
}

/// See [`Fault`]. Without one it keeps the contract.
#[derive(Debug)]
pub struct Faulty {
    fault: Fault,
    state: Arc<Mutex<State>>,
    clock: SystemClock,
    closes: AtomicU32,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<RowKey, Row>,
    /// As they were before their last change.
    before: HashMap<RowKey, Option<Row>>,
    /// Not safe yet.
    unsafe_rows: HashMap<RowKey, Row>,
    first_due: HashMap<RowKey, Option<Timestamp>>,
    /// A claim has no owner.
    leases: HashMap<RowKey, (Option<LeaseOwner>, Timestamp)>,
    claims: HashMap<RowKey, Timestamp>,
    versions: u64,
    announced: BTreeMap<u64, RowKey>,
    last: Option<RowKey>,
    shown: usize,
}

impl State {
    fn next_version(&mut self, key: &RowKey, of_the_row: bool) -> Version {
        self.versions += 1;
        Version(match self.rows.get(key) {
            _ if !of_the_row => self.versions,
            Some(row) => row.version.0 + 1,
            None => 1,
        })
    }

    fn announce(&mut self, version: Version, key: RowKey) {
        self.announced.retain(|_, announced| *announced != key);
        self.announced.insert(version.0, key);
    }

    fn put(&mut self, key: RowKey, row: Option<Row>) {
        let before = match row {
            Some(row) => self.rows.insert(key, row),
            None => self.rows.remove(&key),
        };
        self.before.insert(key, before);
        self.last = Some(key);
    }
}

/// Where the rows of a [`Faulty`] are.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Faulty {
    /// What a process finds that opens it.
    pub fn open(fault: Fault, disk: &Disk) -> Self {
        {
            let mut state = disk.0.lock();
            state.unsafe_rows.clear();
            state.leases.clear();
            state.claims.clear();
            if fault == Fault::CountsAnew {
                state.versions = 0;
            }
            if let Some(last) = state.last.filter(|_| fault == Fault::LosesTheLast) {
                match state.before.remove(&last).flatten() {
                    Some(before) => drop(state.rows.insert(last, before)),
                    None => drop(state.rows.remove(&last)),
                }
            }
        }
        Self {
            fault,
            state: Arc::clone(&disk.0),
            clock: SystemClock::new(),
            closes: AtomicU32::new(0),
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn check(&self) -> Result<(), StoreError> {
        let closes = self.closes.load(Ordering::SeqCst);
        let is_open = self.is(Fault::NeverCloses)
            || closes.is_multiple_of(2) && (closes == 0 || self.is(Fault::OpensAgain));
        match is_open {
            true => Ok(()),
            false => Err(StoreError::new(StoreErrorKind::Closed, "closed")),
        }
    }

    fn key(&self, key: &RowKey) -> RowKey {
        let mut bytes = *key.as_bytes();
        if self.is(Fault::CutsKeys) {
            bytes[RowKey::LEN - 1] = 0;
        }
        RowKey::from_bytes(&bytes).unwrap_or(*key)
    }

    fn unknown<T>(&self, rows: Vec<T>) -> Result<Vec<T>, StoreError> {
        match self.is(Fault::PretendsEmpty) {
            true => Ok(Vec::new()),
            false => Ok(rows),
        }
    }
}

/// Writes a row a little later.
async fn finish(state: Arc<Mutex<State>>, key: RowKey, row: Row) {
    for _ in 0..8 {
        yield_now().await;
    }
    let mut state = state.lock();
    state.unsafe_rows.remove(&key);
    state.put(key, Some(row));
}

impl ByteStore for Faulty {
    async fn load(&self, key: &RowKey) -> Result<Option<Row>, StoreError> {
        self.check()?;
        let (key, state) = (self.key(key), self.state.lock());
        if let Some(row) = state.unsafe_rows.get(&key) {
            return Ok(Some(row.clone()));
        }
        if self.is(Fault::LoadsStale) {
            return Ok(state.before.get(&key).cloned().flatten());
        }
        Ok(state.rows.get(&key).cloned())
    }

    async fn save(
        &self,
        key: &RowKey,
        row: SealedRow,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.check()?;
        let key = self.key(key);
        let mut bytes = row.bytes().clone();
        if self.is(Fault::CutsLongRows) {
            bytes.truncate(65_536);
        }
        let is_long = bytes.len() > 1_000;
        let announce = row.announce();
        let due = row.due().filter(|_| !self.is(Fault::ForgetsDue));
        let matches = |state: &State| {
            self.is(Fault::DoesNotCompare)
                || expected.matches(state.rows.get(&key).map(|row| row.version))
        };
        let mut compared = matches(&self.state.lock());
        match self.fault {
            Fault::ComparesTooEarly | Fault::WritesLate => yield_now().await,
            _ => compared = matches(&self.state.lock()),
        }
        let (version, row) = {
            let mut state = self.state.lock();
            let is_leased = state.leases.contains_key(&key) && self.is(Fault::LocksLeasedRows);
            let refused = !compared || is_leased;
            if refused && !self.is(Fault::WritesWhatItRefuses) {
                return Ok(SaveOutcome::Conflict);
            }
            let version = state.next_version(&key, self.is(Fault::ReusesVersions));
            let row = Row::new(version, due, bytes);
            state.first_due.entry(key).or_insert(due);
            match self.fault {
                Fault::ForgetsSaves if version.0.is_multiple_of(5) => {}
                Fault::WritesInParts => {
                    let mut part = row.clone();
                    part.bytes.truncate(row.bytes.len() / 2);
                    state.put(key, Some(part));
                }
                Fault::ShowsUnsafe => drop(state.unsafe_rows.insert(key, row.clone())),
                Fault::WritesLate if is_long => {}
                _ => {
                    state.put(key, Some(row.clone()));
                }
            }
            if refused {
                return Ok(SaveOutcome::Conflict);
            }
            (version, row)
        };
        if self.is(Fault::CountsChangesEarly) {
            yield_now().await;
        }
        if announce > Announce::Nobody {
            self.state.lock().announce(version, key);
        }
        let late = finish(Arc::clone(&self.state), key, row);
        match self.fault {
            Fault::WritesInParts | Fault::ShowsUnsafe => late.await,
            // Whoever waits for it or not.
            Fault::WritesLate if is_long => drop(tokio::spawn(late).await),
            _ => {}
        }
        Ok(SaveOutcome::Saved(version))
    }

    async fn lease(
        &self,
        key: &RowKey,
        owner: LeaseOwner,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        self.check()?;
        let (now, mut state) = (self.clock.now(), self.state.lock());
        let held = state.leases.get(key).copied();
        let is_over = |until| until <= now && !self.is(Fault::LeasesForEver);
        match held {
            Some((holder, until))
                if holder != Some(owner) && !is_over(until) && !self.is(Fault::LeasesToAll) =>
            {
                Ok(Lease::Held { now, until })
            }
            Some((holder, _)) if holder == Some(owner) && self.is(Fault::DoesNotExtend) => {
                Ok(Lease::Granted { now })
            }
            _ => {
                state.leases.insert(*key, (Some(owner), now + ttl));
                Ok(Lease::Granted { now })
            }
        }
    }

    async fn release(&self, key: &RowKey, owner: LeaseOwner) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let held = state.leases.get(key).copied();
        if held.is_some_and(|(holder, _)| holder == Some(owner) || self.is(Fault::ReleasesForAll)) {
            state.leases.remove(key);
        }
        Ok(())
    }

    async fn list(&self, group: Group) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.check()?;
        let state = self.state.lock();
        let rows = state.rows.iter();
        let rows = rows.filter(|(key, _)| key.group() == group || self.is(Fault::ListsAll));
        self.unknown(rows.map(|(key, row)| (*key, row.clone())).collect())
    }

    async fn scan(
        &self,
        after: Option<&RowKey>,
        limit: usize,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.check()?;
        let mut state = self.state.lock();
        let rows = state.rows.iter().map(|(key, row)| (*key, row.clone()));
        let mut rows: Vec<_> = rows.collect();
        match self.fault {
            Fault::ScansBackwards => rows.reverse(),
            Fault::ScansByNumber => {
                let known = after.and_then(|after| rows.iter().position(|(key, _)| key == after));
                let skip = match after {
                    Some(_) if state.shown > 0 => state.shown,
                    Some(_) => known.map_or(0, |at| at + 1),
                    None => 0,
                };
                let page: Vec<_> = rows.into_iter().skip(skip).take(limit).collect();
                state.shown = skip + page.len();
                return Ok(page);
            }
            _ => rows.retain(|(key, _)| after.is_none_or(|after| key > after)),
        }
        if self.is(Fault::ScansWithHoles) && after.is_some() && rows.len() > 1 {
            rows.remove(0);
        }
        rows.truncate(limit);
        self.unknown(rows)
    }

    async fn claim_due(
        &self,
        limit: usize,
        ttl: Duration,
    ) -> Result<Vec<(RowKey, Row)>, StoreError> {
        self.check()?;
        let (now, mut state) = (self.clock.now(), self.state.lock());
        if !self.is(Fault::ClaimsForEver) {
            state.claims.retain(|_, until| *until > now);
        }
        let due = |key: &RowKey, row: &Row| match self.fault {
            Fault::DueAtFirst => state.first_due.get(key).copied().flatten(),
            _ => row.due,
        };
        let rows = state.rows.iter();
        let rows = rows.filter(|(key, row)| due(key, row).is_some_and(|due| due <= now));
        let rows =
            rows.filter(|(key, _)| !state.claims.contains_key(*key) || self.is(Fault::ClaimsTwice));
        let rows: Vec<_> = rows
            .take(limit)
            .map(|(key, row)| (*key, row.clone()))
            .collect();
        for (key, _) in &rows {
            state.claims.insert(*key, now + ttl);
            if self.is(Fault::ClaimsLease) {
                state.leases.insert(*key, (None, now + ttl));
            }
        }
        self.unknown(rows)
    }

    async fn purge(&self, key: &RowKey, version: Version) -> Result<bool, StoreError> {
        self.check()?;
        let (key, mut state) = (self.key(key), self.state.lock());
        let found = state.rows.get(&key).map(|row| row.version);
        let is_it = found == Some(version) || found.is_some() && self.is(Fault::PurgesAnyVersion);
        if is_it {
            state.put(key, None);
        }
        Ok(is_it)
    }

    async fn changes_since(
        &self,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        self.check()?;
        let state = self.state.lock();
        let next = Cursor::new(state.versions.to_be_bytes().to_vec());
        let since = cursor.map(|cursor| cursor.as_bytes().try_into().map(u64::from_be_bytes));
        let since = match since {
            None => u64::MAX,
            Some(Ok(since)) if since <= state.versions => since,
            Some(_) => return Ok(Changes::missed(next)),
        };
        let announced = state.announced.iter().filter(|(at, _)| **at > since);
        let mut rows: Vec<_> = announced
            .filter_map(|(_, key)| Some((*key, state.rows.get(key)?.clone())))
            .collect();
        match self.fault {
            Fault::TellsNothing => rows.clear(),
            Fault::CutsChanges => rows.truncate(limit),
            _ if rows.len() > limit => return Ok(Changes::missed(next)),
            _ => {}
        }
        Ok(Changes::new(rows, next))
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn close(&self) {
        self.closes.fetch_add(1, Ordering::SeqCst);
    }
}
