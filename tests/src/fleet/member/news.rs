//! What the manager tells, by the number of the grant.

use std::collections::HashMap;

use tower_token::{Event, EventKind, Events, Fingerprint, TokenManager};

use super::key;

/// The events of one manager that were not looked at yet.
#[derive(Debug)]
pub(super) struct News {
    events: Events,
    numbers: HashMap<Fingerprint, usize>,
}

impl News {
    pub(super) fn new(manager: &TokenManager, grants: usize) -> Self {
        let numbered = |n| (manager.fingerprint(&key(n)), n);
        Self {
            events: manager.events(1 << 16),
            numbers: (0..grants).map(numbered).collect(),
        }
    }

    /// The next that there is now; events of no known grant are left out.
    pub(super) fn next(&mut self) -> Option<(usize, EventKind)> {
        loop {
            let Event { grant, kind, .. } = self.events.try_next()?;
            if let Some(n) = self.numbers.get(&grant) {
                return Some((*n, kind));
            }
        }
    }

    /// Whether some were missed, and what is counted is wrong.
    pub(super) fn missed(&self) -> bool {
        self.events.missed() > 0
    }
}
