//! moka, as programs have it: the token is cached, and its header made for each request.

use std::sync::Arc;
use std::time::Instant;

use benches::BoxError;
use benches::ours::{key, token};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use moka::sync::Cache;

use super::{DAY, Tokens};

#[derive(Clone)]
pub struct Moka(Cache<String, Arc<Token>>);

struct Token {
    text: String,
    expires_at: Instant,
}

impl Tokens for Moka {
    const NAME: &'static str = "moka";

    fn connected(users: usize, token_len: usize) -> Result<Self, BoxError> {
        let cache = Cache::new(users as u64);
        for user in 0..users {
            let token = Token {
                text: token(user, token_len),
                expires_at: Instant::now() + DAY,
            };
            cache.insert(key(user).subject().to_owned(), token.into());
        }
        cache.run_pending_tasks();
        Ok(Self(cache))
    }

    fn attach(&self, user: &str, headers: &mut HeaderMap) -> Option<()> {
        let token = self.0.get(user)?;
        (Instant::now() < token.expires_at).then_some(())?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.text)).ok()?;
        header.set_sensitive(true);
        headers.insert(AUTHORIZATION, header);
        Some(())
    }
}
