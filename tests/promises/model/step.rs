//! What can happen, and how often it does.

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use tower_token::Rotation;

pub const MANAGERS: usize = 3;
pub const USERS: usize = 3;

/// One history: what the provider says of its refresh tokens, how long the calls between
/// the parties take (in ms, over and over), and what happens.
#[derive(Clone)]
pub struct History {
    pub rotation: Rotation,
    /// Whether a refresh token that comes twice ends the grant, or is refused and no more.
    pub reuse_ends: bool,
    pub delays: Vec<u16>,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub enum Step {
    Connect {
        manager: usize,
        user: usize,
    },
    Disconnect {
        manager: usize,
        user: usize,
    },
    /// Somebody asks for a token, and nobody waits for the answer.
    Ask {
        manager: usize,
        user: usize,
    },
    /// The same, and what comes next comes after the answer.
    Token {
        manager: usize,
        user: usize,
    },
    /// An API refuses the token that the manager has.
    Refuse {
        manager: usize,
        user: usize,
    },
    /// The manager's process dies, and another is started.
    Crash {
        manager: usize,
    },
    /// The same at its next write, which is made or not.
    CrashAtSave {
        manager: usize,
        written: bool,
    },
    /// The store cannot be reached by the manager, or can be again.
    Outage {
        manager: usize,
        begins: bool,
    },
    /// What the next writes to the store do.
    Saves(Vec<Fault>),
    /// What the next exchanges do.
    Exchanges(Vec<Plan>),
    /// Time in which everyone works.
    Pass(Duration),
    /// Time in which nobody works: every process was suspended.
    Jump(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    LostAck,
    LostWrite,
    FalseConflict,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Answer,
    /// Processed, and the answer is lost.
    LostAnswer,
    /// Never arrives, which nobody can know.
    LostRequest,
    /// Never answered, processed or not.
    Hang {
        processed: bool,
    },
    /// 429.
    NotNow,
    /// Ends the grant.
    Dead,
    Panic,
}

impl fmt::Debug for History {
    /// A step a line, as a counterexample is read and as a test of it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "rotation: {:?}, reuse_ends: {}, delays: {:?}",
            self.rotation, self.reuse_ends, self.delays
        )?;
        self.steps
            .iter()
            .try_for_each(|step| writeln!(f, "    {step:?},"))
    }
}

pub fn histories() -> impl Strategy<Value = History> {
    let rotation = prop_oneof![
        3 => Just(Rotation::Strict),
        2 => Just(Rotation::Grace(Duration::from_secs(20))),
        1 => Just(Rotation::Reusable),
    ];
    let delay = prop_oneof![6 => 0..10u16, 2 => 10..300u16, 1 => 300..8_000u16];
    let delays = prop::collection::vec(delay, 1..8);
    let steps = prop::collection::vec(step(), 1..40);
    let all = (rotation, any::<bool>(), delays, steps);
    all.prop_map(|(rotation, reuse_ends, delays, steps)| History {
        rotation,
        reuse_ends,
        delays,
        steps,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let manager = || prop::sample::select(vec![0, 0, 0, 1, 1, 2]);
    // Most of it happens to one user, or little would happen to any.
    let at = move || (manager(), prop::sample::select(vec![0, 0, 0, 1, 2]));
    prop_oneof![
        8 => at().prop_map(|(manager, user)| Step::Ask { manager, user }),
        6 => at().prop_map(|(manager, user)| Step::Token { manager, user }),
        2 => at().prop_map(|(manager, user)| Step::Refuse { manager, user }),
        2 => at().prop_map(|(manager, user)| Step::Connect { manager, user }),
        2 => at().prop_map(|(manager, user)| Step::Disconnect { manager, user }),
        1 => manager().prop_map(|manager| Step::Crash { manager }),
        2 => (manager(), any::<bool>())
            .prop_map(|(manager, written)| Step::CrashAtSave { manager, written }),
        2 => (manager(), any::<bool>())
            .prop_map(|(manager, begins)| Step::Outage { manager, begins }),
        4 => prop::collection::vec(fault(), 1..4).prop_map(Step::Saves),
        5 => plans().prop_map(Step::Exchanges),
        6 => span(&[0, 5, 50, 500, 2_000, 8_000, 35_000, 35_000]).prop_map(Step::Pass),
        6 => span(&[1_000, 7_000, 15_000, 31_000, 3_340_000, 3_530_000, 3_600_000, 86_400_000])
            .prop_map(Step::Jump),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::None,
        Fault::LostAck,
        Fault::LostWrite,
        Fault::FalseConflict,
        Fault::Fail,
    ])
}

/// One after the other, or the same again and again: as a service that is down.
fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let plan = prop::sample::select(vec![
        Plan::Answer,
        Plan::LostAnswer,
        Plan::LostRequest,
        Plan::Hang { processed: true },
        Plan::Hang { processed: false },
        Plan::NotNow,
        Plan::Dead,
        Plan::Panic,
    ]);
    prop_oneof![
        prop::collection::vec(plan.clone(), 1..4),
        (plan, 2..8usize).prop_map(|(plan, times)| vec![plan; times]),
    ]
}

fn span(millis: &'static [u64]) -> impl Strategy<Value = Duration> {
    prop::sample::select(millis).prop_map(Duration::from_millis)
}
