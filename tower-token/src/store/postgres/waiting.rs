//! Who waits for news. Nothing is kept for a key that nobody waits for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::rt::{Mutex, sleep, timeout, watch};
use crate::store::contract::RowKey;

/// How long who waits is kept at most: news may be lost, and rows are looked at anyway.
const ANNOUNCED: Duration = Duration::from_millis(500);
const RELEASED: Duration = Duration::from_secs(2);
const UNHEARD: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Waiting {
    announced: watch::Sender<()>,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    by_key: HashMap<RowKey, watch::Sender<()>>,
    is_heard: bool,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self {
            announced: watch::Sender::new(()),
            keys: Mutex::default(),
        }
    }

    /// Listens from the call on.
    pub(super) fn announced(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut news = self.announced.subscribe();
        async move {
            // The store may go meanwhile; its news never come then.
            if let Ok(Err(_)) = timeout(ANNOUNCED, news.changed()).await {
                sleep(ANNOUNCED).await;
            }
        }
    }

    /// Listens from the call on.
    pub(super) fn released(
        self: &Arc<Self>,
        key: &RowKey,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut keys = self.keys.lock();
        let news = keys
            .by_key
            .entry(*key)
            .or_insert_with(|| watch::Sender::new(()));
        let mut waits = Waits {
            news: Some(news.subscribe()),
            key: *key,
            of: Arc::clone(self),
        };
        let most = if keys.is_heard { RELEASED } else { UNHEARD };
        async move {
            if let Some(news) = &mut waits.news {
                // Its end is the news: the sender is dropped.
                let _ = timeout(most, news.changed()).await;
            }
        }
    }

    pub(super) fn wake_announced(&self) {
        self.announced.send_replace(());
    }

    pub(super) fn wake_released(&self, key: &RowKey) {
        self.keys.lock().by_key.remove(key);
    }

    /// Whether news come from now on. Those of before may be lost: all look for themselves.
    pub(super) fn hear(&self, is_heard: bool) {
        let gone = {
            let mut keys = self.keys.lock();
            keys.is_heard = is_heard;
            std::mem::take(&mut keys.by_key)
        };
        drop(gone);
        self.wake_announced();
    }
}

/// One who waits for a key.
struct Waits {
    news: Option<watch::Receiver<()>>,
    key: RowKey,
    of: Arc<Waiting>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut keys = self.of.keys.lock();
        self.news = None;
        let nobody = keys
            .by_key
            .get(&self.key)
            .is_some_and(|news| news.is_closed());
        if nobody {
            keys.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn key(id: u8) -> RowKey {
        RowKey::from_bytes(&[id; RowKey::LEN]).unwrap()
    }

    async fn took(wait: impl Future<Output = ()>) -> Duration {
        #[allow(clippy::disallowed_methods)]
        let begin = Instant::now();
        wait.await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn news_since_the_call_end_a_wait_and_news_of_others_do_not() {
        let waiting = Arc::new(Waiting::new());
        waiting.hear(true);
        let (one, same) = (waiting.released(&key(1)), waiting.released(&key(1)));
        let other = waiting.released(&key(2));
        let announced = waiting.announced();
        waiting.wake_released(&key(1));
        assert_eq!(took(one).await, Duration::ZERO);
        assert_eq!(took(same).await, Duration::ZERO);
        assert_eq!(took(waiting.released(&key(1))).await, RELEASED);
        assert_eq!(took(other).await, RELEASED);
        assert_eq!(took(announced).await, ANNOUNCED);
        let announced = waiting.announced();
        waiting.wake_announced();
        assert_eq!(took(announced).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_heard_is_looked_after_sooner_and_a_change_wakes_all() {
        let waiting = Arc::new(Waiting::new());
        assert_eq!(took(waiting.released(&key(1))).await, UNHEARD);
        for is_heard in [true, false] {
            let (released, announced) = (waiting.released(&key(1)), waiting.announced());
            waiting.hear(is_heard);
            assert_eq!(took(released).await, Duration::ZERO);
            assert_eq!(took(announced).await, Duration::ZERO);
        }
        assert_eq!(took(waiting.released(&key(1))).await, UNHEARD);
        let announced = waiting.announced();
        drop(waiting);
        assert_eq!(took(announced).await, ANNOUNCED);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_a_key_at_rest() {
        let waiting = Arc::new(Waiting::new());
        let count = || waiting.keys.lock().by_key.len();
        let (first, second) = (waiting.released(&key(1)), waiting.released(&key(1)));
        assert_eq!(count(), 1);
        drop(first);
        assert_eq!(count(), 1);
        second.await;
        assert_eq!(count(), 0);
        let old = waiting.released(&key(1));
        waiting.wake_released(&key(1));
        let new = waiting.released(&key(1));
        drop(old);
        assert_eq!(count(), 1, "another's place");
        drop(new);
        assert_eq!(count(), 0);
    }
}
