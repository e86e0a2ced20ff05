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
