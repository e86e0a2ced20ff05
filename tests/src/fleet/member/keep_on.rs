//! Refreshes all grants again and again, and tells everything as it happens.
//!
//! | line | what |
//! |---|---|
//! | `b N` | asks for another token of grant N |
//! | `t N EPOCH ISSUE MARK` | was given this one |
//! | `e N KIND` | was given none |
//! | `r N EPOCH ISSUE` | this one was issued to us, and is stored |
//! | `a N EPOCH ISSUE` | this one was found in the store |
//! | `u N` | what was issued to us could not be stored yet |
//! | `n N` | the user has to connect again |
//! | `x N` | a sibling was at it |
//! | `rest` | nothing is asked for any more |

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinSet, spawn_local};
use tokio::time::sleep;
use tower_token::{EventKind, Serial};

use super::{Member, mark, say};
use crate::fleet::Random;

/// Between two rounds, and between two looks at what happens behind.
const PAUSE: Duration = Duration::from_millis(20);

/// Few at a time, so that a fault hits few.
const AT_ONCE: usize = 5;

pub(super) async fn keep_on(member: Rc<Member>, seed: usize) {
    member.resting.set(false);
    let behind = spawn_local({
        let member = Rc::clone(&member);
        async move {
            loop {
                sleep(PAUSE).await;
                tell(&member);
            }
        }
    });
    let mut round = 0;
    while !member.resting.get() {
        round += 1;
        let mut random = Random::new(&[seed as u64, member.index as u64, round]);
        let order = Rc::new(RefCell::new(VecDeque::from(
            random.shuffled(member.grants()),
        )));
        let mut workers = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (member, order) = (Rc::clone(&member), Rc::clone(&order));
            workers.spawn_local(async move {
                while !member.resting.get() {
                    let next = order.borrow_mut().pop_front();
                    let Some(n) = next else { return };
                    ask(&member, n).await;
                }
            });
        }
        while workers.join_next().await.is_some() {}
        sleep(PAUSE).await;
    }
    behind.abort();
    tell(&member);
    say("rest");
}

async fn ask(member: &Member, n: usize) {
    say(&format!("b {n}"));
    let answer = member.another(n).await;
    // That it could not be stored is told before it counts as served.
    tell(member);
    match answer {
        Ok((token, _)) => {
            let Serial { epoch, issue } = token.serial();
            member.held.borrow_mut()[n] = token.serial();
            say(&format!("t {n} {epoch} {issue} {}", mark(&token)));
        }
        Err(error) => say(&format!("e {n} {:?}", error.kind())),
    }
}

fn tell(member: &Member) {
    let mut news = member.news.borrow_mut();
    while let Some((n, kind)) = news.next() {
        match kind {
            EventKind::Refreshed { serial, .. } => {
                say(&format!("r {n} {} {}", serial.epoch, serial.issue));
            }
            EventKind::Adopted { serial, .. } => {
                say(&format!("a {n} {} {}", serial.epoch, serial.issue));
            }
            EventKind::SaveFailed => say(&format!("u {n}")),
            EventKind::NeedsReauth { .. } => say(&format!("n {n}")),
            EventKind::LostRace => say(&format!("x {n}")),
            _ => {}
        }
    }
}
