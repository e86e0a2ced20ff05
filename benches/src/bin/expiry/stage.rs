//! Where the token services run, and how cases that mostly wait run beside each other.

use std::thread;
use std::time::Duration;

use benches::BoxError;
use benches::token_service::TokenService;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A thread for the token services, so that no caller's runtime does their work.
pub struct Stage {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

/// The length of every token.
pub const TOKEN: usize = 64;

impl Stage {
    pub fn new() -> Result<Self, BoxError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        thread::spawn(move || runtime.block_on(ended));
        Ok(Self { handle, _end: end })
    }

    /// A token service of its own for a case.
    pub fn service(&self, life: Duration) -> Result<TokenService, BoxError> {
        self.handle.block_on(TokenService::start(TOKEN, life))
    }
}

/// Runs each of `cases` on a thread of its own, one begun `gap` after the other: they wait
/// together, and each is busy while the others wait. Returns when all have ended.
pub fn staggered<'a, T: Send>(
    gap: Duration,
    cases: Vec<Box<dyn FnOnce() -> T + Send + 'a>>,
) -> Vec<T> {
    thread::scope(|scope| {
        let begin = |case| {
            let running = scope.spawn(case);
            thread::sleep(gap);
            running
        };
        let running: Vec<_> = cases.into_iter().map(begin).collect();
        let ended = running.into_iter().map(|case| case.join());
        // One that panicked has said so.
        ended.filter_map(Result::ok).collect()
    })
}
