//! Counts, in all and by user.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What a server has done, counted in a `C`.
#[derive(Debug, Default)]
pub(in crate::testkit) struct Tally<C>(Mutex<Kept<C>>);

#[derive(Debug, Default)]
struct Kept<C> {
    total: C,
    by_user: HashMap<String, C>,
}

impl<C: Copy + Default> Tally<C> {
    /// Counts something; for a user, if it is known whose it was.
    pub(in crate::testkit) fn add(&self, user: Option<&str>, count: impl Fn(&mut C)) {
        let mut kept = self.0.lock();
        count(&mut kept.total);
        if let Some(user) = user {
            count(kept.by_user.entry(user.to_owned()).or_default());
        }
    }

    pub(in crate::testkit) fn total(&self) -> C {
        self.0.lock().total
    }

    pub(in crate::testkit) fn of(&self, user: &str) -> C {
        self.0.lock().by_user.get(user).copied().unwrap_or_default()
    }
}
