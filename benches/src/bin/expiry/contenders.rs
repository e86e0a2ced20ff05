//! Everybody, and when the tokens of each fall due.

use std::time::Duration;

use benches::Effort;
use benches::peer::Peer;

use crate::bare_wait::BareWait;
use crate::ours::{InMemory, InSled};
use crate::scene::{Play, play};

/// When callers come, after the first token was issued. The moments of cases that begin half a
/// second apart are then none at which another case begins.
pub const MOMENT: Duration = Duration::from_millis(2_200);

/// When they come to those whose tokens are due for a part of their life, not for a fixed time.
pub const LATER: Duration = Duration::from_millis(4_250);

/// The life of a token that is dead at [`MOMENT`], whoever looks.
pub const SHORT: Duration = Duration::from_secs(2);

/// The life of a token that nobody has to think of.
pub const LONG: Duration = Duration::from_secs(86_400);

/// A way to put tokens into requests.
pub struct Contender {
    pub name: &'static str,
    /// The life of a token that is due at the moment, and not yet dead.
    pub due: Duration,
    /// When that is: [`MOMENT`], or [`LATER`].
    pub due_moment: Duration,
    pub play: Play,
    /// How often each scene is played with it.
    pub rounds: usize,
    pub role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What it says has bars.
    Ours,
    #[cfg_attr(not(feature = "peers"), expect(dead_code, reason = "there are none"))]
    Peer,
    /// A peer each of whose callers asks the token service: thousands of connections at once.
    Flood,
    /// No client at all: only the waking of callers.
    Floor,
}

/// Ours after the floor.
pub fn contenders(effort: &Effort) -> Vec<Contender> {
    let all = ours(effort).into_iter();
    all.chain(peers(effort)).collect()
}

/// The life of our tokens that are due at [`LATER`]: when a third of it is left, at most two tenths
/// of a second later. For the rest of it, nearly 2 s, callers are served while nothing is well.
pub const OURS: Duration = Duration::from_secs(6);

fn ours(effort: &Effort) -> Vec<Contender> {
    let of = |name, play, rounds, role| Contender {
        name,
        due: OURS,
        due_moment: LATER,
        play,
        rounds: effort.of(rounds),
        role,
    };
    vec![
        of(BareWait::NAME, play::<BareWait>, 5, Role::Floor),
        of(InMemory::NAME, play::<InMemory>, 5, Role::Ours),
        of(InSled::NAME, play::<InSled>, 3, Role::Ours),
    ]
}

#[cfg(not(feature = "peers"))]
fn peers(_: &Effort) -> Vec<Contender> {
    Vec::new()
}

#[cfg(feature = "peers")]
fn peers(effort: &Effort) -> Vec<Contender> {
    use benches::peers::aws::Aws;
    use benches::peers::azure::Azure;
    use benches::peers::by_hand::MARGIN;
    use benches::peers::gcp_auth::GcpAuth;
    use benches::peers::gears::{Gears, GearsAutoRefresh};
    use benches::peers::google::Google;
    use benches::peers::kube::Kube;
    use benches::peers::middleware::ReqwestMiddleware;
    use benches::peers::moka::MokaByHand;
    use benches::peers::mutex::MutexByHand;
    use benches::peers::rwlock::RwLockByHand;
    use benches::peers::yup::Yup;

    /// Due `margin` before the end of its tokens.
    fn of<P: Peer>(margin: Duration) -> Contender {
        Contender {
            name: P::NAME,
            due: margin + Duration::from_secs(1),
            due_moment: MOMENT,
            play: play::<P>,
            rounds: 1,
            role: Role::Peer,
        }
    }
    /// Due after half of a life that is shorter than half an hour.
    fn after_half<P: Peer>() -> Contender {
        Contender {
            due: OURS,
            due_moment: LATER,
            ..of::<P>(Duration::ZERO)
        }
    }
    /// One that floods the token service.
    fn flood<P: Peer>(margin: Duration) -> Contender {
        Contender {
            role: Role::Flood,
            ..of::<P>(margin)
        }
    }
    let secs = Duration::from_secs;
    let mut all = vec![
        of::<MutexByHand>(MARGIN),
        of::<ReqwestMiddleware>(MARGIN),
        of::<Kube>(secs(60)),
        of::<GcpAuth>(secs(20)),
        of::<Azure>(secs(300)),
        // At the latest: at the earliest twice as long before.
        of::<Aws>(secs(5)),
        of::<Google>(secs(240)),
        after_half::<Gears>(),
        after_half::<GearsAutoRefresh>(),
        flood::<Yup>(secs(60)),
        flood::<RwLockByHand>(MARGIN),
        flood::<MokaByHand>(MARGIN),
    ];
    if effort.share < 1.0 {
        all.truncate(2);
    }
    all
}
