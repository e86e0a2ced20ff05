//! What the processes answer to a round, taken together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use tests::BoxError;

/// Their counts.
#[derive(Default)]
pub(super) struct Total {
    /// Of each process.
    pub(super) exchanges: Vec<u64>,
    pub(super) adopted: u64,
    pub(super) lost_races: u64,
    /// Refreshes for which at least one other process lost the race.
    pub(super) contended: u64,
    pub(super) told: u64,
    pub(super) late: u64,
    pub(super) failures: BTreeMap<String, u64>,
}

impl Total {
    pub(super) fn new(processes: usize) -> Self {
        Self {
            exchanges: vec![0; processes],
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, answers: &[Value]) -> Result<(), BoxError> {
        let mut contended = BTreeSet::new();
        for (process, answer) in answers.iter().enumerate() {
            let count = |name: &str| answer[name].as_u64().ok_or("no such count");
            self.exchanges[process] += count("exchanges")?;
            self.adopted += count("adopted")?;
            self.lost_races += count("lost_races")?;
            self.told += count("told")?;
            self.late += count("late")?;
            let lost = answer["lost"].as_array().into_iter().flatten();
            contended.extend(lost.filter_map(Value::as_u64));
            for (cause, times) in answer["failures"].as_object().into_iter().flatten() {
                let times = times.as_u64().unwrap_or(0);
                *self.failures.entry(cause.clone()).or_default() += times;
            }
        }
        self.contended += contended.len() as u64;
        Ok(())
    }
}

/// The tokens they hold.
#[derive(Default)]
pub(super) struct Tokens {
    /// Whose each token ever seen is.
    of: HashMap<u64, usize>,
    /// What each grant had after the round before.
    last: HashMap<usize, Value>,
    /// A grant of which two processes hold different tokens, once for each round.
    pub(super) different: u64,
    pub(super) shared: u64,
    /// A grant that was not replaced by its next token, once for each round.
    pub(super) not_replaced: u64,
}

impl Tokens {
    /// After another round.
    pub(super) fn next(&mut self, grants: usize, answers: &[Value]) -> Result<(), BoxError> {
        let mut held: Vec<BTreeSet<String>> = vec![BTreeSet::new(); grants];
        for answer in answers {
            let tokens = answer["tokens"].as_array().ok_or("no tokens")?;
            self.not_replaced += (grants - tokens.len()) as u64;
            for token in tokens {
                let n = token[0].as_u64().ok_or("no number")? as usize;
                held[n].insert(token[1].to_string());
            }
        }
        for (n, tokens) in held.iter().enumerate() {
            self.different += u64::from(tokens.len() > 1);
            for token in tokens {
                let token: Value = serde_json::from_str(token)?;
                let mark = token[2].as_u64().ok_or("no mark")?;
                let whose = *self.of.entry(mark).or_insert(n);
                self.shared += u64::from(whose != n);
                let issue = |token: &Value| token[1].as_u64();
                let last = self.last.insert(n, token.clone());
                let last = last.as_ref().and_then(issue).unwrap_or(1);
                // Connected with the first, and one more with each round.
                self.not_replaced += u64::from(issue(&token) != Some(last + 1));
            }
        }
        Ok(())
    }
}
