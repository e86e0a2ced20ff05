//! A round: a new token of every grant, once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower_token::{ErrorKind, EventKind};

use super::{AT_ONCE, Member, shown};
use crate::BoxError;
use crate::fleet::Random;

/// Who waits for longer is served late.
const LATE: Duration = Duration::from_secs(1);
/// When a grant that was not refreshed is tried again, and how often.
const PAUSE: Duration = Duration::from_millis(100);
const TRIES: u32 = 200;

#[derive(Default)]
struct Count {
    told: u64,
    late: u64,
    tokens: BTreeMap<usize, Value>,
    failures: BTreeMap<String, u64>,
}

/// All grants, in an order that no other process has.
pub(super) async fn round(member: &Rc<Member>, round: usize) -> Result<Value, BoxError> {
    let order = Random::new(&[member.index as u64, round as u64]).shuffled(member.grants());
    asked(member, order).await
}

/// Those whose number is ours in so many processes.
pub(super) async fn part(member: &Rc<Member>, processes: usize) -> Result<Value, BoxError> {
    let ours = |n: &usize| n % processes == member.index;
    let order = (0..member.grants()).filter(ours).collect();
    asked(member, order).await
}

async fn asked(member: &Rc<Member>, order: Vec<usize>) -> Result<Value, BoxError> {
    let (order, count) = (RefCell::new(VecDeque::from(order)), RefCell::default());
    let (order, count) = (Rc::new(order), Rc::new(count));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (member, order) = (Rc::clone(member), Rc::clone(&order));
        let count: Rc<RefCell<Count>> = Rc::clone(&count);
        workers.spawn_local(async move {
            loop {
                let next = order.borrow_mut().pop_front();
                let Some(n) = next else { return };
                ask(&member, n, &count).await;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done?;
    }
    let count = std::mem::take(&mut *count.borrow_mut());
    Ok(report(member, count))
}

async fn ask(member: &Member, n: usize, count: &RefCell<Count>) {
    let began = Instant::now();
    let before = member.held.borrow()[n];
    for _ in 0..TRIES {
        match member.another(n).await {
            Ok((token, told)) if token.serial() > before => {
                member.held.borrow_mut()[n] = token.serial();
                let mut count = count.borrow_mut();
                count.told += u64::from(told);
                count.late += u64::from(began.elapsed() > LATE);
                count.tokens.insert(n, shown(&token));
                return;
            }
            // Why is told by an event.
            Ok(_) => count.borrow_mut().failed("unchanged"),
            Err(error) => {
                count.borrow_mut().failed(&format!("{:?}", error.kind()));
                if error.kind() == ErrorKind::NeedsReauth {
                    return;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

impl Count {
    fn failed(&mut self, cause: &str) {
        *self.failures.entry(cause.to_owned()).or_default() += 1;
    }
}

fn report(member: &Member, mut count: Count) -> Value {
    let (mut exchanges, mut adopted) = (0, 0);
    let (mut lost_races, mut lost) = (0, BTreeSet::new());
    let mut news = member.news.borrow_mut();
    while let Some((n, kind)) = news.next() {
        match kind {
            EventKind::LostRace => {
                lost_races += 1;
                lost.insert(n);
            }
            EventKind::Refreshed { .. } => exchanges += 1,
            EventKind::Adopted { .. } => adopted += 1,
            EventKind::RefreshFailed { cause, .. } => count.failed(&format!("refresh: {cause:?}")),
            EventKind::SaveFailed => count.failed("save"),
            _ => {}
        }
    }
    if news.missed() {
        count.failed("missed events");
    }
    json!({
        "exchanges": exchanges,
        "adopted": adopted,
        "lost_races": lost_races,
        "lost": lost,
        "told": count.told,
        "late": count.late,
        "failures": count.failures,
        "tokens": count.tokens.into_iter().map(|(n, token)| json!([n, token])).collect::<Vec<_>>(),
    })
}
