//! Several managers over one store, a token service and a store that fail in every way:
//! whatever happens in whatever order, nobody who disconnected comes back, nobody gets
//! another's token, no older token follows a newer one, no refresh token is sent twice but
//! as its rotation allows, and none that was answered is lost.
//!
//! What the model leaves open: a sibling serves a fresh token that it has in memory until
//! it hears of a disconnect elsewhere; who joins a look that is under way hears what stood
//! there before; what a failed connect finds is not published; and the store tells the time
//! of a lease at once.

use std::time::Duration;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tower_token::Rotation;

use crate::model::step::{Fault, History, Plan, Step, histories};
use crate::model::world::play;

fn played(history: &History) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(play(history))
}

/// One user, one manager unless said otherwise, and calls that take a millisecond.
fn keeps(rotation: Rotation, steps: Vec<Step>) {
    let history = History {
        rotation,
        reuse_ends: true,
        delays: vec![1],
        steps,
    };
    played(&history).unwrap();
}

const ASK: Step = Step::Ask {
    manager: 0,
    user: 0,
};
const UNTIL_DUE: Step = Step::Jump(Duration::from_secs(3_340));
const UNTIL_EXPIRED: Step = Step::Jump(Duration::from_secs(3_600));
const A_WHILE: Step = Step::Pass(Duration::from_secs(35));

#[test]
fn any_history_keeps_the_invariants() {
    let mut config = Config {
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 600;
    }
    let done = TestRunner::new(config).run(&histories(), |history| {
        played(&history).map_err(TestCaseError::fail)
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}

#[test]
fn a_grace_period_counts_from_the_first_time_a_token_was_sent() {
    let hangs = Step::Exchanges(vec![Plan::Hang { processed: true }; 4]);
    let grace = Rotation::Grace(Duration::from_secs(20));
    keeps(grace, vec![UNTIL_DUE, hangs, ASK, A_WHILE, ASK, A_WHILE]);
}

#[test]
fn a_process_that_dies_between_the_answer_and_the_write_leaves_its_intent() {
    for written in [false, true] {
        let dies = Step::CrashAtSave {
            manager: 0,
            written,
        };
        // The first write is the intent.
        let intent = Step::Pass(Duration::from_millis(2));
        let steps = vec![UNTIL_DUE, ASK, intent, dies, A_WHILE, ASK, A_WHILE];
        keeps(Rotation::Strict, steps);
    }
}

#[test]
fn a_panic_in_an_exchange_costs_no_second_one_at_once() {
    let panics = Step::Exchanges(vec![Plan::Panic; 3]);
    let soon = Step::Pass(Duration::from_millis(50));
    let steps = vec![UNTIL_EXPIRED, panics, ASK, soon.clone(), ASK, soon, ASK];
    keeps(Rotation::Strict, steps);
}

#[test]
fn a_tombstone_is_not_undone_by_a_save_that_waits() {
    let fails = Step::Saves(vec![Fault::None, Fault::Fail]);
    let disconnect = Step::Disconnect {
        manager: 1,
        user: 0,
    };
    let soon = Step::Pass(Duration::from_millis(50));
    let steps = vec![UNTIL_DUE, fails, ASK, soon, disconnect, A_WHILE, ASK];
    keeps(Rotation::Strict, steps);
}

#[test]
fn an_exchange_that_was_not_processed_leaves_what_was_unknown_before() {
    let plans = Step::Exchanges(vec![Plan::LostAnswer, Plan::NotNow]);
    let later = Step::Jump(Duration::from_secs(31));
    let steps = vec![UNTIL_DUE, plans, ASK, A_WHILE, later, ASK, A_WHILE];
    keeps(Rotation::Grace(Duration::from_secs(20)), steps);
}

#[test]
fn what_a_slow_load_brings_replaces_nothing_newer() {
    let history = History {
        rotation: Rotation::Strict,
        reuse_ends: false,
        // The load comes back after the connect is done.
        delays: vec![1, 13, 0, 0, 8, 7],
        steps: vec![
            Step::Ask {
                manager: 1,
                user: 0,
            },
            Step::Connect {
                manager: 1,
                user: 0,
            },
        ],
    };
    played(&history).unwrap();
}
