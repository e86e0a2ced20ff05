//! One after the other for each user.

use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

/// What looks at what a user has and then adds to it takes a turn: two at once would both find
/// that there is nothing yet, or room for one more. Some users share a turn, by chance.
pub(crate) struct Turns {
    places: [Mutex<()>; 64],
    seed: RandomState,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| Mutex::default()),
            seed: RandomState::new(),
        }
    }

    pub(crate) async fn take(&self, subject: &str) -> MutexGuard<'_, ()> {
        let place = self.seed.hash_one(subject) as usize % self.places.len();
        self.places[place].lock().await
    }
}
