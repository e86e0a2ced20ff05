//! The same in shards with a lock each.

use std::sync::Arc;

use benches::BoxError;
use benches::ours::key;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use http::HeaderMap;
use tower_token::{Clock as _, SystemClock};

use super::{Cached, Tokens};

/// dashmap, and the rest as the bare map has it.
#[derive(Clone)]
pub struct Dash {
    map: Arc<DashMap<Box<str>, Arc<Cached>, RandomState>>,
    clock: Arc<SystemClock>,
}

impl Tokens for Dash {
    const NAME: &'static str = "dashmap";

    fn connected(users: usize, token_len: usize) -> Result<Self, BoxError> {
        let (map, clock) = (DashMap::default(), SystemClock::new());
        for user in 0..users {
            let cached = Cached::new(user, token_len, &clock)?;
            map.insert(key(user).subject().into(), cached.into());
        }
        Ok(Self {
            map: map.into(),
            clock: clock.into(),
        })
    }

    fn attach(&self, user: &str, headers: &mut HeaderMap) -> Option<()> {
        let now = self.clock.now();
        self.map.get(user)?.attach(now, headers)
    }
}
