//! The floor of all waiting: no client, no token and no request, only callers who wait until a
//! flag is raised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use benches::BoxError;
use benches::peer::Peer;
use benches::token_service::TokenService;
use tokio::sync::watch;

use crate::contenders::SHORT;
use crate::plan::SERVICE;

/// A flag that the first to wait has raised after what an exchange takes; where a token would be
/// fresh it is raised already.
#[derive(Clone)]
pub struct BareWait {
    raise: Arc<watch::Sender<bool>>,
    raised: watch::Receiver<bool>,
    asked: Arc<AtomicBool>,
}

impl Peer for BareWait {
    const NAME: &'static str = "(a bare wait)";
    type Request = ();

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let (raise, raised) = watch::channel(service.life() > SHORT);
        Ok(Self {
            raise: Arc::new(raise),
            raised,
            asked: Arc::default(),
        })
    }

    fn request(&self) {}

    async fn bare(&mut self, (): ()) -> Result<(), BoxError> {
        Ok(())
    }

    async fn send(&mut self, (): ()) -> Result<(), BoxError> {
        if !self.asked.swap(true, Ordering::Relaxed) {
            let raise = Arc::clone(&self.raise);
            tokio::spawn(async move {
                tokio::time::sleep(SERVICE).await;
                raise.send_replace(true);
            });
        }
        self.raised.wait_for(|raised| *raised).await?;
        Ok(())
    }
}
