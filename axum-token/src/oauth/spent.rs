//! What is good once, and was used.

use std::collections::HashMap;

use parking_lot::Mutex;
use tower_token::Timestamp;

/// Texts that were used, each until it is no good anyway. Of this process alone: see where it
/// is used for what stands behind it.
///
/// Where there are too many the older half is forgotten. Nobody is refused for want of room:
/// whoever fills it would lock out everybody else.
pub(super) struct Spent {
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Default)]
struct Kept {
    newer: HashMap<String, Timestamp>,
    older: HashMap<String, Timestamp>,
}

impl Spent {
    pub(super) fn new(most: usize) -> Self {
        let kept = Mutex::default();
        Self { kept, most }
    }

    /// Whether `text` was not used before: now it was, until `end`.
    pub(super) fn spend(&self, text: &str, end: Timestamp, now: Timestamp) -> bool {
        let mut kept = self.kept.lock();
        let is_used = |used: &HashMap<String, Timestamp>| {
            let end = used.get(text);
            end.is_some_and(|end| now <= *end)
        };
        if is_used(&kept.newer) || is_used(&kept.older) {
            return false;
        }
        if kept.newer.len() >= self.most / 2 {
            kept.older = std::mem::take(&mut kept.newer);
        }
        kept.newer.insert(text.to_owned(), end);
        true
    }

    /// It was not used after all.
    pub(super) fn give_back(&self, text: &str) {
        let mut kept = self.kept.lock();
        kept.newer.remove(text);
        kept.older.remove(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn what_was_spent_is_not_spent_again_while_it_is_good() {
        let spent = Spent::new(4);
        assert!(spent.spend("a", at(10), at(0)));
        assert!(!spent.spend("a", at(20), at(10)));
        assert!(spent.spend("b", at(10), at(0)));
        assert!(spent.spend("c", at(10), at(0)));
        assert!(!spent.spend("a", at(20), at(10)), "the older half counts");
        spent.give_back("a");
        assert!(spent.spend("a", at(10), at(6)));
        assert!(spent.spend("a", at(30), at(11)));
    }

    #[test]
    fn whoever_fills_it_keeps_nobody_out() {
        let spent = Spent::new(100);
        for n in 0..1_000 {
            assert!(spent.spend(&n.to_string(), at(10), at(0)));
            let kept = spent.kept.lock();
            assert!(kept.newer.len() + kept.older.len() <= 100);
        }
        for n in 950..1_000 {
            assert!(!spent.spend(&n.to_string(), at(10), at(0)));
        }
    }
}
