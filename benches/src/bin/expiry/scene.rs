//! One peer, one token, one mood of the token service, and the callers who come at one moment.

use std::time::{Duration, Instant};

use benches::BoxError;
use benches::peer::Peer;
use benches::token_service::Mood;

use crate::callers::{Answers, Callers};
use crate::stage::Stage;

/// What happens, and when.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// Of the first token, which the peer gets when it connects. Those after it live for an hour.
    pub life: Duration,
    /// Of the token service, from then on.
    pub mood: Mood,
    /// When the callers come, after the peer has connected.
    pub moment: Duration,
    pub callers: Callers,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// After the first token.
    pub exchanges: u64,
    pub answers: Answers,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// What an exchange takes to begin behind the last caller, and one that follows it.
const SETTLED: Duration = Duration::from_millis(120);

pub type Play = fn(&Stage, Scene) -> Result<Outcome, BoxError>;

/// Plays `scene` with one peer, on a runtime of its own.
pub fn play<P: Peer>(stage: &Stage, scene: Scene) -> Result<Outcome, BoxError> {
    let service = stage.service(scene.life)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let limit = Duration::from_secs(10);
        let peer = tokio::time::timeout(limit, P::connect(&service)).await??;
        let connected = Instant::now();
        service.set_life(HOUR);
        service.set_mood(scene.mood);
        let before = service.exchanges();
        let answers = scene.callers.call(&peer, connected + scene.moment).await;
        tokio::time::sleep(SETTLED).await;
        let exchanges = service.exchanges() - before;
        Ok(Outcome { exchanges, answers })
    });
    // With whatever the peer does behind its callers.
    runtime.shutdown_background();
    outcome
}
