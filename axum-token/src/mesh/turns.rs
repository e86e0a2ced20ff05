//! One after the other for each user.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use tokio::sync::{Mutex, MutexGuard};

/// What looks at a user's connections and then adds to them takes a turn: two at once would both
/// find the room that there is for one. Users share the few turns there are.
pub(super) struct Turns {
    places: [Mutex<()>; 64],
    seed: RandomState,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            places: std::array::from_fn(|_| Mutex::default()),
            seed: RandomState::new(),
        }
    }

    pub(super) async fn take(&self, subject: &str) -> MutexGuard<'_, ()> {
        let place = self.seed.hash_one(subject) % self.places.len() as u64;
        self.places[place as usize].lock().await
    }
}
