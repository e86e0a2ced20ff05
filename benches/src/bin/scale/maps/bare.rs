//! The least that does it: a map that is read without a lock, a coarse clock, a header that is
//! made once and inserted in place.

use std::sync::Arc;

use benches::BoxError;
use benches::ours::key;
use foldhash::fast::RandomState;
use http::HeaderMap;
use papaya::HashMap;
use tower_token::{Clock as _, SystemClock};

use super::{Cached, Tokens};

/// papaya, hashed with a seed as ids from outside have to be.
#[derive(Clone)]
pub struct Bare {
    map: Arc<HashMap<Box<str>, Arc<Cached>, RandomState>>,
    clock: Arc<SystemClock>,
}

impl Tokens for Bare {
    const NAME: &'static str = "map";

    fn connected(users: usize, token_len: usize) -> Result<Self, BoxError> {
        let (map, clock) = (HashMap::default(), SystemClock::new());
        for user in 0..users {
            let cached = Cached::new(user, token_len, &clock)?;
            map.pin().insert(key(user).subject().into(), cached.into());
        }
        Ok(Self {
            map: map.into(),
            clock: clock.into(),
        })
    }

    fn attach(&self, user: &str, headers: &mut HeaderMap) -> Option<()> {
        let now = self.clock.now();
        self.map.pin().get(user)?.attach(now, headers)
    }
}
