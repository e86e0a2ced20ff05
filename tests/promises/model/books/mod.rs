//! What is true, as nobody else can know it, and every promise that was broken.
//!
//! The token service of the model writes down which refresh token it issued to whom, who
//! sent it and what they heard of it. `sends` says when one may be sent, `answers` what
//! callers may be given. Times are the store's, which all go by.

mod answers;
mod sends;
mod service;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tower_token::{Clock as _, GrantKey, Rotation, RowKey, Serial, Timestamp, TokenResponse};

use super::clock::JumpingClock;
use super::step::{Fault, History, Plan, USERS};

pub const LIFE: Duration = Duration::from_secs(3_600);

/// What the sender of a refresh token came to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Tokens,
    /// It was not processed.
    NotNow,
    Dead,
    /// The answer was lost, or the time was up.
    Nothing,
    /// The exchange panicked.
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Connected,
    Disconnected,
    /// A connect or disconnect failed: it may have been written or not.
    Uncertain,
}

#[derive(Clone)]
pub struct Books(Arc<Mutex<Inner>>);

struct Inner {
    clock: JumpingClock,
    rotation: Rotation,
    reuse_ends: bool,
    delays: Vec<u16>,
    calls: usize,
    faults: VecDeque<Fault>,
    plans: VecDeque<Plan>,
    users: Vec<User>,
    rows: BTreeMap<RowKey, usize>,
    families: Vec<Family>,
    refresh_tokens: BTreeMap<String, Issued>,
    access_tokens: BTreeMap<String, usize>,
    sends: Vec<Send>,
    /// By process and user.
    views: BTreeMap<(usize, usize), View>,
    /// When the last look of each process at the keyset began and ended.
    looks: BTreeMap<usize, (Timestamp, Timestamp)>,
    /// Which access tokens were refused to which process.
    refused: Vec<(usize, String)>,
    dead: BTreeSet<usize>,
    at_rest: bool,
    broken: Vec<String>,
}

struct User {
    key: GrantKey,
    state: State,
    /// Counts connects and disconnects, also those that failed.
    turn: usize,
    /// The last turn that was acknowledged.
    durable: usize,
    family: usize,
    /// Counts what was acknowledged, and every new refresh token in the row.
    changes: usize,
    /// The refresh token that the row must hold, as far as the writes tell.
    stored: String,
}

/// Everything that comes of one consent.
struct Family {
    user: usize,
    turn: usize,
    /// The refresh token that is good.
    latest: String,
    issued: usize,
    ended: bool,
}

struct Issued {
    family: usize,
    access_token: String,
    spent: Option<(Timestamp, TokenResponse, String)>,
}

struct Send {
    process: usize,
    token: String,
    at: Timestamp,
    /// When its intent was written, at the earliest.
    intent: Timestamp,
    processed: bool,
    heard: Option<(Heard, Timestamp)>,
    /// When what was heard was written.
    saved: Option<Timestamp>,
    answer: Option<String>,
}

/// What one process knows of one user.
#[derive(Default, Clone, Copy)]
struct View {
    /// It was told of this turn, or read it.
    turn: usize,
    /// The newest of the row's changes that it read.
    changes: usize,
    /// It is about to write a turn of its own. What it finds before is what it replaces,
    /// and no news to it.
    turning: bool,
    /// The newest token it served.
    serial: Option<Serial>,
    /// The first and the last write since its last flight ended: the last one before an
    /// exchange is its intent.
    wrote: Option<(Timestamp, Timestamp)>,
    /// Some of them were no flight's.
    muddled: bool,
}

impl Books {
    pub fn new(clock: JumpingClock, history: &History) -> Self {
        let ada = GrantKey::new("model", "ada");
        let keys: [GrantKey; USERS] = [
            ada.with_connection("work"),
            GrantKey::new("model", "bob"),
            ada,
        ];
        let user = |key| User {
            key,
            state: State::Disconnected,
            turn: 0,
            durable: 0,
            changes: 0,
            family: 0,
            stored: String::new(),
        };
        Self(Arc::new(Mutex::new(Inner {
            clock,
            rotation: history.rotation,
            reuse_ends: history.reuse_ends,
            delays: history.delays.clone(),
            calls: 0,
            faults: VecDeque::new(),
            plans: VecDeque::new(),
            users: keys.into_iter().map(user).collect(),
            rows: BTreeMap::new(),
            families: Vec::new(),
            refresh_tokens: BTreeMap::new(),
            access_tokens: BTreeMap::new(),
            sends: Vec::new(),
            views: BTreeMap::new(),
            looks: BTreeMap::new(),
            refused: Vec::new(),
            dead: BTreeSet::new(),
            at_rest: false,
            broken: Vec::new(),
        })))
    }

    pub fn key(&self, user: usize) -> GrantKey {
        self.0.lock().users[user].key.clone()
    }

    pub fn row_of(&self, row: RowKey, user: usize) {
        self.0.lock().rows.insert(row, user);
    }

    pub fn plans(&self, plans: Vec<Plan>) {
        self.0.lock().plans = plans.into();
    }

    pub fn faults(&self, faults: Vec<Fault>) {
        self.0.lock().faults = faults.into();
    }

    /// From now on everything works.
    pub fn behave(&self) {
        let mut books = self.0.lock();
        books.plans.clear();
        books.faults.clear();
        books.delays = vec![1];
    }

    pub fn died(&self, process: usize) {
        self.0.lock().dead.insert(process);
    }

    pub fn breaks(&self, what: String) {
        self.0.lock().breaks(what);
    }

    pub fn broken(&self) -> Vec<String> {
        self.0.lock().broken.clone()
    }

    pub fn delay(&self) -> Duration {
        let mut books = self.0.lock();
        books.calls += 1;
        let at = books.calls % books.delays.len();
        Duration::from_millis(books.delays[at].into())
    }

    pub fn next_fault(&self) -> Option<Fault> {
        self.0.lock().faults.pop_front()
    }

    /// A user consents: the tokens to connect with.
    pub fn connects(&self, process: usize, user: usize) -> TokenResponse {
        let mut books = self.0.lock();
        let turn = books.begins_turn(process, user);
        let family = books.families.len();
        books.families.push(Family {
            user,
            turn,
            latest: String::new(),
            issued: 0,
            ended: false,
        });
        books.issue(family).0
    }

    pub fn connected(&self, process: usize, user: usize, ok: bool) {
        let mut books = self.0.lock();
        if books.ends_turn(process, user, ok, State::Connected) {
            let turn = books.users[user].turn;
            let made = |family: &Family| family.user == user && family.turn == turn;
            let family = books.families.iter().position(made).unwrap();
            books.users[user].family = family;
            books.users[user].stored = books.families[family].latest.clone();
        }
    }

    pub fn disconnects(&self, process: usize, user: usize) {
        self.0.lock().begins_turn(process, user);
    }

    pub fn disconnected(&self, process: usize, user: usize, ok: bool) {
        let mut books = self.0.lock();
        books.ends_turn(process, user, ok, State::Disconnected);
    }

    // What the store tells.

    /// The last turn that a look at this row has to show, and the last change.
    pub fn durable(&self, row: &RowKey) -> (usize, usize) {
        let books = self.0.lock();
        let user = books.rows.get(row).map(|user| &books.users[*user]);
        user.map_or((0, 0), |user| (user.durable, user.changes))
    }

    pub fn read(&self, process: usize, row: &RowKey, (turn, changes): (usize, usize)) {
        let mut books = self.0.lock();
        if let Some(&user) = books.rows.get(row) {
            let view = books.views.entry((process, user)).or_default();
            view.changes = view.changes.max(changes);
            if !view.turning {
                view.turn = view.turn.max(turn);
            }
        }
    }

    pub fn now(&self) -> Timestamp {
        self.0.lock().clock.now()
    }

    /// A look at the keyset has ended: what is to be written was made before it.
    pub fn looked(&self, process: usize, began: Timestamp) {
        let mut books = self.0.lock();
        let now = books.clock.now();
        books.looks.insert(process, (began, now));
    }

    pub fn begins_to_write(&self, process: usize, row: &RowKey) {
        let mut books = self.0.lock();
        let now = books.clock.now();
        let look = books.looks.get(&process).filter(|look| look.1 == now);
        let made = look.map_or(now, |look| look.0);
        if let Some(&user) = books.rows.get(row) {
            let view = books.views.entry((process, user)).or_default();
            view.muddled |= view.turning;
            view.wrote = Some((view.wrote.map_or(made, |(first, _)| first), now));
        }
    }

    pub fn flight_ends(&self, process: usize, row: &RowKey) {
        let mut books = self.0.lock();
        if let Some(&user) = books.rows.get(row) {
            let view = books.views.entry((process, user)).or_default();
            (view.wrote, view.muddled) = (None, view.turning);
        }
    }

    /// The row was changed, whatever the writer hears of it.
    pub fn wrote(&self, process: usize, row: &RowKey) {
        let mut books = self.0.lock();
        let Some(&user) = books.rows.get(row) else {
            return;
        };
        let (family, now) = (books.users[user].family, books.clock.now());
        let Inner {
            sends,
            refresh_tokens,
            ..
        } = &mut *books;
        let of_user = |send: &&mut Send| {
            send.process == process && refresh_tokens[&send.token].family == family
        };
        let Some(send) = sends.iter_mut().rev().find(of_user) else {
            return;
        };
        if matches!(send.heard, Some((Heard::Tokens, _))) && send.saved.is_none() {
            send.saved = Some(now);
            let answer = send.answer.clone().unwrap();
            books.users[user].stored = answer;
            books.users[user].changes += 1;
        }
    }
}

impl Inner {
    fn breaks(&mut self, what: String) {
        self.broken.push(what);
    }

    fn begins_turn(&mut self, process: usize, user: usize) -> usize {
        self.views.entry((process, user)).or_default().turning = true;
        let user = &mut self.users[user];
        user.turn += 1;
        user.state = State::Uncertain;
        user.turn
    }

    fn ends_turn(&mut self, process: usize, user: usize, ok: bool, state: State) -> bool {
        let turn = self.users[user].turn;
        let view = self.views.entry((process, user)).or_default();
        view.turning = false;
        if ok {
            view.turn = turn;
            self.users[user].durable = turn;
            self.users[user].changes += 1;
            view.changes = self.users[user].changes;
            self.users[user].state = state;
        }
        ok
    }
}
