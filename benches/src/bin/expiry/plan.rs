//! Which scenes are played, and by whom.

use std::time::Duration;

use benches::token_service::Mood;
use benches::{BoxError, Effort};

use crate::callers::Callers;
use crate::contenders::{Contender, LONG, MOMENT, Role, SHORT};
use crate::scene::{Outcome, Scene};
use crate::stage::{Stage, staggered};

/// What the token service takes to answer.
pub const SERVICE: Duration = Duration::from_millis(50);

/// How many come again and again.
pub const LASTING_CALLERS: usize = 20;

/// A token, and the mood of the service when it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The floor.
    Fresh,
    Due(Trouble),
    Dead(Trouble),
    /// A dead token, and callers whose patience is less than the exchange takes.
    GiveUp,
    /// A due token, a service that fails, and callers who keep coming.
    Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    Failing,
    Hanging,
}

const ALL: [Trouble; 3] = [Trouble::None, Trouble::Failing, Trouble::Hanging];

impl Kind {
    /// Those that a crowd is let loose on.
    pub fn of_crowds() -> Vec<Self> {
        let mut kinds = vec![Self::Fresh];
        kinds.extend(ALL.map(Self::Due));
        kinds.extend(ALL.map(Self::Dead));
        kinds
    }

    /// As the command line and the ratios name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Due(Trouble::None) => "due-healthy",
            Self::Due(Trouble::Failing) => "due-failing",
            Self::Due(Trouble::Hanging) => "due-hanging",
            Self::Dead(Trouble::None) => "dead-healthy",
            Self::Dead(Trouble::Failing) => "dead-failing",
            Self::Dead(Trouble::Hanging) => "dead-hanging",
            Self::GiveUp => "give-up",
            Self::Backoff => "backoff",
        }
    }

    fn is_played_by(self, role: Role) -> bool {
        match self {
            Self::Fresh | Self::Dead(Trouble::None) => true,
            Self::Backoff => role == Role::Ours,
            _ => role != Role::Floor,
        }
    }

    fn mood(self) -> Mood {
        match self {
            Self::Fresh | Self::Due(Trouble::None) | Self::Dead(Trouble::None) => {
                Mood::Healthy(SERVICE)
            }
            Self::Due(Trouble::Failing) | Self::Dead(Trouble::Failing) | Self::Backoff => {
                Mood::Failing(SERVICE)
            }
            Self::Due(Trouble::Hanging) | Self::Dead(Trouble::Hanging) => Mood::Hanging,
            Self::GiveUp => Mood::Healthy(SERVICE * 3),
        }
    }
}

/// How much of it is played.
pub struct Extent {
    /// The sizes of the crowds.
    pub crowds: Vec<usize>,
    /// Of a caller in a crowd.
    pub patience: Duration,
    /// Between the beginnings of two cases.
    gap: Duration,
    /// How long callers keep coming who come again and again.
    pub lasting: Duration,
    /// The cases of all scenes wait together, and not those of one.
    in_one: bool,
}

impl Extent {
    pub fn of(effort: &Effort) -> Self {
        if effort.share < 1.0 {
            return Self {
                crowds: vec![effort.of(1_000)],
                patience: Duration::from_millis(2_500),
                gap: Duration::from_millis(100),
                lasting: Duration::from_millis(600),
                in_one: true,
            };
        }
        Self {
            crowds: vec![1_000, 10_000],
            patience: Duration::from_secs(8),
            gap: Duration::from_millis(500),
            lasting: Duration::from_secs(3),
            in_one: false,
        }
    }

    fn scene(&self, kind: Kind, number: usize, contender: &Contender) -> Scene {
        let (mut life, mut moment) = match kind {
            Kind::Fresh => (LONG, MOMENT),
            Kind::Due(_) | Kind::Backoff => (contender.due, contender.due_moment),
            Kind::Dead(_) | Kind::GiveUp => (SHORT, MOMENT),
        };
        let callers = match kind {
            Kind::GiveUp => Callers::lasting(number, SERVICE * 2, SERVICE * 2, self.lasting),
            Kind::Backoff => Callers::lasting(number, SERVICE, self.patience, self.lasting),
            Kind::Fresh | Kind::Due(_) | Kind::Dead(_) => Callers::burst(number, self.patience),
        };
        if kind == Kind::Backoff && !self.in_one {
            // Ours has to stay due for as long as they come.
            (life, moment) = (life * 3, moment * 3);
        }
        Scene {
            life,
            mood: kind.mood(),
            moment,
            callers,
        }
    }
}

/// How one scene went with one contender, once.
pub struct Played {
    pub kind: Kind,
    pub number: usize,
    pub name: &'static str,
    pub outcome: Result<Outcome, BoxError>,
}

type Case<'a> = Box<dyn FnOnce() -> Played + Send + 'a>;

/// Plays whatever is asked for.
pub fn play(
    stage: &Stage,
    effort: &Effort,
    extent: &Extent,
    contenders: &[Contender],
) -> Vec<Played> {
    let mut groups: Vec<Vec<Case<'_>>> = Vec::new();
    let mut kinds = Kind::of_crowds();
    kinds.retain(|kind| effort.wants(kind.name()));
    if !kinds.is_empty() && !kinds.contains(&Kind::Fresh) {
        // Nothing can be said without the floor.
        kinds.insert(0, Kind::Fresh);
    }
    for &number in &extent.crowds {
        for &kind in &kinds {
            let of = |contender| cases(stage, extent, kind, number, contender);
            let players = contenders.iter().filter(|by| kind.is_played_by(by.role));
            // Those who flood come when all others have gone: a process has only so many sockets,
            // and a client that gets none is not the one that took them.
            let (floods, others): (Vec<_>, Vec<_>) = players.partition(|by| by.role == Role::Flood);
            groups
                .extend([others, floods].map(|players| players.into_iter().flat_map(of).collect()));
        }
    }
    let mut lasting = Vec::new();
    for kind in [Kind::Backoff, Kind::GiveUp] {
        if effort.wants(kind.name()) {
            let of = |by| cases(stage, extent, kind, LASTING_CALLERS, by).take(1);
            let players = contenders.iter().filter(|by| kind.is_played_by(by.role));
            lasting.extend(players.flat_map(of));
        }
    }
    groups.push(lasting);
    if extent.in_one {
        groups = vec![groups.into_iter().flatten().collect()];
    }
    let played = groups
        .into_iter()
        .flat_map(|group| staggered(extent.gap, group));
    played.collect()
}

/// One for each round.
fn cases<'a>(
    stage: &'a Stage,
    extent: &Extent,
    kind: Kind,
    number: usize,
    contender: &'a Contender,
) -> impl Iterator<Item = Case<'a>> + use<'a> {
    let scene = extent.scene(kind, number, contender);
    (0..contender.rounds).map(move |_| -> Case<'a> {
        Box::new(move || Played {
            kind,
            number,
            name: contender.name,
            outcome: (contender.play)(stage, scene),
        })
    })
}
