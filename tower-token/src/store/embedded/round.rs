//! What the writer takes for one round: whatever is queued, and what comes while that is applied.

use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

/// How many commands may wait, and how many are a round at most.
pub(super) const QUEUE: usize = 1_024;
/// From how many saves on a round is worth waiting for.
const MANY: usize = 16;
/// How long is waited at a time, and how often at most.
const NAP: Duration = Duration::from_micros(50);
const NAPS: u32 = 10;

/// The commands of one round, each as soon as it is there.
///
/// Where the round before was of many, those who were just answered are likely to save again at
/// once. It is better to wait for them, as long as some come, than to sync twice.
pub(super) struct Round<'a, T, N> {
    first: Option<T>,
    queue: &'a mut mpsc::Receiver<T>,
    /// How many saves the round before had.
    before: usize,
    taken: usize,
    nap: N,
    naps: u32,
}

/// Waits a moment for those who were just answered.
pub(super) fn nap() {
    thread::sleep(NAP);
}

impl<'a, T, N: FnMut()> Round<'a, T, N> {
    pub(super) fn new(first: T, queue: &'a mut mpsc::Receiver<T>, before: usize, nap: N) -> Self {
        Self {
            first: Some(first),
            queue,
            before,
            taken: 0,
            nap,
            naps: 0,
        }
    }

    /// How many there were.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    fn waited_for(&mut self) -> Option<T> {
        let is_whole = self.before < MANY || self.taken >= self.before;
        if is_whole || self.naps == NAPS {
            return None;
        }
        self.naps += 1;
        (self.nap)();
        self.queue.try_recv().ok()
    }
}

impl<T, N: FnMut()> Iterator for Round<'_, T, N> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.taken == QUEUE {
            return None;
        }
        let queued = self.first.take().or_else(|| self.queue.try_recv().ok());
        let next = queued.or_else(|| self.waited_for());
        self.taken += usize::from(next.is_some());
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are taken of those `queued`, after a round of `before`, while one more comes in
    /// each of the first naps; and how many naps there are.
    fn taken(queued: usize, before: usize, in_naps: u32) -> (usize, u32) {
        let (sender, mut queue) = mpsc::channel(2 * QUEUE);
        for n in 1..queued {
            sender.try_send(n).unwrap();
        }
        let mut naps = 0;
        let nap = || {
            naps += 1;
            if naps <= in_naps {
                sender.try_send(usize::MAX).unwrap();
            }
        };
        let mut round = Round::new(0, &mut queue, before, nap);
        let all: Vec<usize> = round.by_ref().collect();
        let taken = round.taken();
        assert!(all.len() == taken && all.iter().take(queued).copied().eq(0..taken.min(queued)));
        (taken, naps)
    }

    #[test]
    fn a_round_takes_what_is_queued_and_no_more_than_fits() {
        assert_eq!(taken(1, 0, 0), (1, 0));
        assert_eq!(taken(3, 2, 0), (3, 0));
        assert_eq!(taken(QUEUE + 7, QUEUE, 0), (QUEUE, 0));
    }

    #[test]
    fn only_after_a_round_of_many_is_one_held_up_and_only_while_some_come() {
        assert_eq!(taken(1, MANY - 1, 9), (1, 0));
        assert_eq!(taken(MANY, MANY, 9), (MANY, 0));
        assert_eq!(taken(MANY - 1, MANY, 9), (MANY, 1));
        assert_eq!(taken(MANY - 1, 2 * MANY, 3), (MANY + 2, 4));
        assert_eq!(taken(1, QUEUE, u32::MAX), (1 + NAPS as usize, NAPS));
    }
}
