//! Callers: tasks that each want one request sent, or one after the other, and measure how long
//! it takes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::BoxError;
use benches::peer::Peer;
use tokio::sync::Barrier;
use tokio::time::{sleep_until, timeout, timeout_at};

/// Who comes, when the moment is there.
#[derive(Debug, Clone, Copy)]
pub struct Callers {
    pub number: usize,
    /// How often each sends.
    pub times: u32,
    /// From one of its requests to the next.
    pub every: Duration,
    /// After which a caller gives a request up.
    pub patience: Duration,
}

/// How it went for all of them.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    pub served: usize,
    pub failed: usize,
    pub timed_out: usize,
    /// Of each request, from its sending to its answer or its end, sorted.
    pub waits: Vec<Duration>,
    /// What the first who failed was told.
    pub why: Option<String>,
}

enum Answer {
    Served,
    Failed(BoxError),
    TimedOut,
}

impl Callers {
    /// All at once, and once.
    pub fn burst(number: usize, patience: Duration) -> Self {
        Self {
            number,
            times: 1,
            every: Duration::ZERO,
            patience,
        }
    }

    /// Each with one request after the other, as far apart as `every`, for as long as `lasting`.
    pub fn lasting(number: usize, every: Duration, patience: Duration, lasting: Duration) -> Self {
        Self {
            number,
            times: lasting.div_duration_f64(every) as u32,
            every,
            patience,
        }
    }

    /// Spawns them, and lets them go at `moment`.
    pub async fn call<P: Peer>(self, peer: &P, moment: Instant) -> Answers {
        // They are all there before: none of them is measured while it is spawned.
        let gate = Arc::new(Barrier::new(self.number + 1));
        let mut callers = Vec::with_capacity(self.number);
        for _ in 0..self.number {
            let (peer, gate) = (peer.clone(), Arc::clone(&gate));
            callers.push(tokio::spawn(self.one(peer, gate)));
        }
        sleep_until(moment.into()).await;
        gate.wait().await;
        // Those who send more than one end each of them themselves.
        let longest = self.patience + (self.every * 2 + self.patience) * (self.times - 1);
        let end = Instant::now() + longest;
        let mut answers = Answers::default();
        for caller in callers {
            let abort = caller.abort_handle();
            let answered = match timeout_at(end.into(), caller).await {
                Ok(answered) => answered.map_err(|error| Answer::Failed(error.into())),
                Err(_) => {
                    abort.abort();
                    Err(Answer::TimedOut)
                }
            };
            match answered {
                Ok(of_one) => of_one.into_iter().for_each(|one| answers.add(one)),
                Err(answer) => answers.add((answer, self.patience)),
            }
        }
        answers.waits.sort_unstable();
        answers
    }

    async fn one<P: Peer>(self, mut peer: P, gate: Arc<Barrier>) -> Vec<(Answer, Duration)> {
        let mut answers = Vec::with_capacity(self.times as usize);
        let mut request = Some(peer.request());
        gate.wait().await;
        let released = Instant::now();
        for time in 0..self.times {
            if time > 0 {
                sleep_until((released + self.every * time).into()).await;
            }
            let request = request.take().unwrap_or_else(|| peer.request());
            let begun = Instant::now();
            let sent = match self.times {
                // Ended from outside: a timer for each of thousands is dear itself.
                1 => Ok(peer.send(request).await),
                _ => timeout(self.patience, peer.send(request)).await,
            };
            let answer = match sent {
                Ok(Ok(())) => Answer::Served,
                Ok(Err(error)) => Answer::Failed(error),
                Err(_) => Answer::TimedOut,
            };
            answers.push((answer, begun.elapsed()));
        }
        answers
    }
}

impl Answers {
    fn add(&mut self, (answer, wait): (Answer, Duration)) {
        match answer {
            Answer::Served => self.served += 1,
            Answer::Failed(error) => {
                self.failed += 1;
                self.why.get_or_insert_with(|| error.to_string());
            }
            Answer::TimedOut => self.timed_out += 1,
        }
        self.waits.push(wait);
    }

    pub fn requests(&self) -> usize {
        self.waits.len()
    }

    /// How long the request waited that waited longer than this part of all.
    pub fn percentile(&self, part: f64) -> Duration {
        let last = self.waits.len().saturating_sub(1);
        let at = (self.waits.len() as f64 * part) as usize;
        self.waits.get(at.min(last)).copied().unwrap_or_default()
    }
}
