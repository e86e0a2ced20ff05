//! Attaching tokens that are there, of one user up to a million, by one thread and by two.

use std::sync::Arc;

use benches::noop::Noop;
use benches::ours::{Ours, key};
use benches::{BoxError, Case, Effort, Measured, Report, measure};
use tower_layer::Layer as _;
use tower_token::{NoReplay, TokenLayer, TokenRequest};

use crate::TOKEN;
use crate::draws::Users;
use crate::lanes::{Run, run};
use crate::maps::{Attach, Bare, Tokens, UserId};

const USERS: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
/// Of each thread in a round.
const REQUESTS: usize = 50_000;
/// Of each thread in all, before they start again.
const DRAWS: usize = 500_000;
const THREADS: usize = 2;

/// A way to attach tokens.
struct Way {
    name: &'static str,
    /// Sends requests that name their users as this way wants it, without a token.
    floor: Start,
    send: Start,
}

/// Made for as many threads as there are lists of what is drawn.
type Start = Box<dyn Fn(&Names) -> Result<Run, BoxError>>;

/// What the requests of each thread carry. Each has a name of its own, as one that was made for it.
struct Names {
    keys: Vec<Arc<[TokenRequest]>>,
    ids: Vec<Arc<[UserId]>>,
}

impl Names {
    fn of(draws: &[Vec<usize>]) -> Self {
        Self {
            keys: names(draws, |user| TokenRequest::new(key(user))),
            ids: names(draws, UserId::new),
        }
    }

    /// Those of the first thread.
    fn first(&self) -> Self {
        Self {
            keys: self.keys[..1].to_vec(),
            ids: self.ids[..1].to_vec(),
        }
    }
}

fn names<N>(draws: &[Vec<usize>], name: impl Fn(usize) -> N) -> Vec<Arc<[N]>> {
    let of = |draws: &Vec<usize>| draws.iter().map(|&user| name(user)).collect();
    draws.iter().map(of).collect()
}

/// Our layer; a 401 is an answer.
fn ours(users: usize) -> Result<Way, BoxError> {
    let ours = Ours::connected(users, TOKEN)?;
    let layer = TokenLayer::new(&ours.manager).replay(NoReplay);
    let service = layer.layer(Noop);
    Ok(Way {
        name: "tower-token",
        floor: Box::new(|names| run(&Noop, &names.keys)),
        send: Box::new(move |names| run(&service, &names.keys)),
    })
}

fn map<T: Tokens>(users: usize) -> Result<Way, BoxError> {
    let service = Attach(T::connected(users, TOKEN)?);
    Ok(Way {
        name: T::NAME,
        floor: Box::new(|names| run(&Noop, &names.ids)),
        send: Box::new(move |names| run(&service, &names.ids)),
    })
}

pub fn measured(effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    for users in USERS.into_iter().filter(|&n| n == effort.grants(n)) {
        let ways = [
            ours(users)?,
            map::<Bare>(users)?,
            #[cfg(feature = "peers")]
            map::<crate::maps::Dash>(users)?,
            #[cfg(feature = "peers")]
            map::<crate::maps::Moka>(users)?,
        ];
        of(Users::Uniform, users, &ways, effort, report)?;
        if users > 1 {
            of(Users::Zipf, users, &ways, effort, report)?;
        }
    }
    Ok(())
}

/// What a way costs over its floor.
struct Cost {
    name: &'static str,
    /// Nanoseconds of a request on one thread.
    alone: f64,
    /// Nanoseconds of a request on each of several threads.
    each: f64,
}

impl Cost {
    /// How many requests all threads send while one alone sends one.
    fn gain(&self) -> f64 {
        THREADS as f64 * self.alone / self.each
    }
}

fn of(
    kind: Users,
    users: usize,
    ways: &[Way],
    effort: &Effort,
    report: &mut Report,
) -> Result<(), BoxError> {
    let requests = effort.of(REQUESTS);
    let draws = |thread| kind.draws(users, thread, effort.of(DRAWS));
    let draws: Vec<_> = (0..THREADS as u64).map(draws).collect();
    let all = Names::of(&draws);
    let names = [all.first(), all];
    let mut cases = Vec::new();
    for way in ways {
        for names in &names {
            for start in [&way.floor, &way.send] {
                let mut run = start(names)?;
                cases.push(Case::new(way.name, move || run(requests)));
            }
        }
    }
    let measured = measure(effort, cases)?;
    let ns = |case: &Measured| case.median.as_secs_f64() / requests as f64 * 1e9;
    let costs: Vec<_> = measured
        .chunks(4)
        .zip(ways)
        .map(|(cases, way)| Cost {
            name: way.name,
            alone: ns(&cases[1]) - ns(&cases[0]),
            each: ns(&cases[3]) - ns(&cases[2]),
        })
        .collect();
    let ours = &costs[0];
    let row = |cost: &Cost| {
        let numbers = [cost.alone, cost.each].map(|ns| format!("{ns:.0}"));
        let ratios = [ours.alone / cost.alone, cost.gain()].map(|ratio| format!("{ratio:.2}"));
        let name = std::iter::once(cost.name.to_owned());
        name.chain(numbers).chain(ratios).collect()
    };
    let (name, about) = (kind.name(), format!("{users} grants, {}", kind.name()));
    let head = [
        &about,
        "ns",
        "ns, 2 threads",
        "ours of it",
        "gain of 2 threads",
    ];
    report.table(&head, costs.iter().map(row).collect());
    let gain = format!("{name}-{users}/2-threads-of-1");
    report.ratio(gain.clone(), ours.gain());
    for cost in &costs[1..] {
        let other = cost.name;
        report.ratio(
            format!("{name}-{users}/of-{other}"),
            ours.alone / cost.alone,
        );
        report.ratio(format!("{gain}-{other}"), cost.gain());
    }
    Ok(())
}
