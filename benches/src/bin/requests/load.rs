//! So many requests, so many at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use benches::BoxError;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A client that knows what to ask for.
pub trait Client: Clone + Send + Sync + 'static {
    /// Asks once, and reads the answer to its end. An error if it is not the right one.
    fn ask(&self) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Whatever can ask.
pub trait Load {
    /// Asks so often, with so many tasks at once.
    fn run(&self, at_once: usize, requests: usize) -> Result<(), BoxError>;

    /// The same, and how long each took, in order.
    fn timed(&self, at_once: usize, requests: usize) -> Result<Vec<Duration>, BoxError>;
}

/// A client and the runtime it lives on, of one thread: the other core is the server's.
pub struct OneThread<C> {
    pub runtime: Runtime,
    pub client: C,
}

impl<C: Client> Load for OneThread<C> {
    fn run(&self, at_once: usize, requests: usize) -> Result<(), BoxError> {
        self.runtime
            .block_on(ask_all(&self.client, at_once, requests))
    }

    fn timed(&self, at_once: usize, requests: usize) -> Result<Vec<Duration>, BoxError> {
        let timed = Timed {
            client: self.client.clone(),
            took: Arc::default(),
        };
        self.runtime.block_on(ask_all(&timed, at_once, requests))?;
        let mut took =
            std::mem::take(&mut *timed.took.lock().unwrap_or_else(PoisonError::into_inner));
        took.sort_unstable();
        Ok(took)
    }
}

async fn ask_all<C: Client>(client: &C, at_once: usize, requests: usize) -> Result<(), BoxError> {
    let mut tasks = JoinSet::new();
    for task in 0..at_once {
        let client = client.clone();
        let share = requests / at_once + usize::from(task < requests % at_once);
        tasks.spawn(async move {
            for _ in 0..share {
                client.ask().await?;
            }
            Ok::<_, BoxError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// A client that notes how long it took.
#[derive(Clone)]
struct Timed<C> {
    client: C,
    took: Arc<Mutex<Vec<Duration>>>,
}

impl<C: Client> Client for Timed<C> {
    async fn ask(&self) -> Result<(), BoxError> {
        let begin = Instant::now();
        self.client.ask().await?;
        let took = begin.elapsed();
        self.took
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(took);
        Ok(())
    }
}
