//! The whole race, and what is said of it.

use std::time::Duration;

use serde_json::Value;
use tests::BoxError;
use tests::fleet::{Process, Service, Setting, Store, Through, account};
use tests::oidc::{Oidc, Refreshes};
use tokio::time::Instant;

use super::round::{Tokens, Total};

/// Longer than any race.
const ACCESS_TTL: u32 = 86_400;

pub(super) struct Options {
    pub(super) store: Store,
    pub(super) through: Through,
    pub(super) processes: usize,
    pub(super) grants: usize,
    pub(super) rounds: usize,
    pub(super) storage_ms: u32,
}

#[tokio::main]
pub(super) async fn race(options: &Options) -> Result<bool, BoxError> {
    let oidc = Oidc::start_slow(ACCESS_TTL, options.storage_ms).await?;
    let setting = Setting::start(options.store, options.through).await?;
    let service = Service::of(&oidc);
    setting.connect_at(&oidc, &service, options.grants).await?;
    let mut fleet = Vec::new();
    for index in 0..options.processes {
        let task = setting.task(index, options.grants, &service);
        fleet.push(Process::start(&task, &setting.ring).await?);
    }
    all(&mut fleet, "warm").await?;
    let mut total = Total::new(options.processes);
    let mut tokens = Tokens::default();
    let begin = Instant::now();
    for round in 0..options.rounds {
        let answers = all(&mut fleet, &format!("round {round}")).await?;
        total.add(&answers)?;
        tokens.next(options.grants, &answers)?;
        // The others wait for long for what is not to be had.
        if tokens.not_replaced > 0 {
            break;
        }
    }
    let took = begin.elapsed();
    let refreshes = oidc.refreshes().await?;
    let wrong = wrong_users(&oidc, &mut fleet, options.grants).await?;
    Ok(report(options, &total, &tokens, took, refreshes, wrong))
}

/// Gives all one command at once. It is over when the last of them has answered.
async fn all(fleet: &mut [Process], command: &str) -> Result<Vec<Value>, BoxError> {
    for process in &mut *fleet {
        process.tell(command).await?;
    }
    let mut answers = Vec::new();
    for process in fleet {
        let line = process.line().await?.ok_or("a process has ended")?;
        answers.push(serde_json::from_str(&line).map_err(|_| line)?);
    }
    Ok(answers)
}

/// How many tokens are not of the user that they are held for. Each grant's is taken from another
/// process than its neighbour's.
async fn wrong_users(oidc: &Oidc, fleet: &mut [Process], grants: usize) -> Result<u64, BoxError> {
    let tokens = all(fleet, "tokens").await?;
    let mut wrong = 0;
    for n in 0..grants {
        let token = &tokens[n % tokens.len()][n];
        let subject = oidc.subject(token.as_str().unwrap_or_default()).await?;
        wrong += u64::from(subject != Some(account(n)));
    }
    Ok(wrong)
}

fn report(
    options: &Options,
    total: &Total,
    tokens: &Tokens,
    took: Duration,
    refreshes: Refreshes,
    wrong: u64,
) -> bool {
    let expected = (options.grants * options.rounds) as u64;
    let Refreshes {
        ok,
        reuse_detected,
        grants_revoked,
    } = refreshes;
    let seconds = took.as_secs_f64();
    println!(
        "processes {} grants {} rounds {} seconds {seconds:.1} exchanges_per_second {:.0}",
        options.processes,
        options.grants,
        options.rounds,
        ok as f64 / seconds
    );
    println!("exchanges_of_each_process {:?}", total.exchanges);
    let contended = percent(total.contended, expected);
    println!(
        "contended_percent {contended} told {} served_after_a_second {}",
        total.told, total.late
    );
    println!("failures {:?}", total.failures);
    println!(
        "different_tokens_of_a_grant {} tokens_of_two_grants {} not_replaced {} wrong_users {wrong}",
        tokens.different, tokens.shared, tokens.not_replaced
    );
    println!(
        "exchanges {ok} expected {expected} reuse {reuse_detected} revoked {grants_revoked} \
         lost_races {} adopted {}",
        total.lost_races, total.adopted
    );
    let least = total.exchanges.iter().min().copied().unwrap_or(0);
    ok == expected
        && total.exchanges.iter().sum::<u64>() == expected
        && (reuse_detected, grants_revoked, wrong) == (0, 0, 0)
        && (tokens.different, tokens.shared, tokens.not_replaced) == (0, 0, 0)
        && percent(least, expected) >= 5
        && contended >= 50
}

fn percent(part: u64, whole: u64) -> u64 {
    part * 100 / whole.max(1)
}
