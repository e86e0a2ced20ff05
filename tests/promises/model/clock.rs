//! Time that passes as the runtime's does, which is paused, and jumps besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tower_token::{Clock, Timestamp};

#[derive(Debug, Clone)]
pub struct JumpingClock {
    start: Instant,
    jumped: Arc<AtomicU64>,
}

impl JumpingClock {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            jumped: Arc::default(),
        }
    }

    /// Timers do not notice: so it is when a machine was suspended.
    pub fn jump(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap();
        self.jumped.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        let jumped = Duration::from_millis(self.jumped.load(Ordering::Relaxed));
        Timestamp::from_unix_millis(1_735_689_600_000) + self.start.elapsed() + jumped
    }
}
