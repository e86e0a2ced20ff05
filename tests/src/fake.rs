//! A token service that does as it is told, for what no real one can be made to do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tower_token::{RefreshError, RefreshRequest, Refresher, TokenResponse, Verdict};

/// What the next exchange does.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a script has a handful of these")]
pub enum Next {
    /// Answers new tokens.
    Answer,
    /// Answers this.
    With(TokenResponse),
    /// Fails, and so does the grant or not, by the verdict.
    Fail(Verdict),
    /// Panics.
    Panic,
}

/// Rotates refresh tokens `r1`, `r2`, .. and notices a second use of one.
#[derive(Debug, Clone)]
pub struct Fake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    script: Mutex<VecDeque<Next>>,
    state: Mutex<State>,
    gate: Semaphore,
    exchanges: watch::Sender<usize>,
    lifetime: Duration,
}

#[derive(Debug, Default)]
struct State {
    spent: Vec<String>,
    reused: usize,
}

impl Fake {
    /// A service whose access tokens live for `lifetime`.
    pub fn new(lifetime: Duration) -> Self {
        Self(Arc::new(Inner {
            script: Mutex::default(),
            state: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            exchanges: watch::Sender::new(0),
            lifetime,
        }))
    }

    /// What a user's consent brings: access token `a0`, refresh token `r0`.
    pub fn consent(&self) -> TokenResponse {
        self.tokens(0)
    }

    fn tokens(&self, n: usize) -> TokenResponse {
        TokenResponse::new(format!("a{n}"))
            .refresh_token(format!("r{n}"))
            .expires_in(self.0.lifetime)
    }

    /// What the next exchanges do, one after the other; after that they answer.
    pub fn script(&self, next: impl IntoIterator<Item = Next>) {
        self.0.script.lock().extend(next);
    }

    /// Holds every exchange from now on until [`release`](Self::release).
    pub fn hold(&self) {
        self.0.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets held exchanges go, `n` of them.
    pub fn release(&self, n: usize) {
        self.0.gate.add_permits(n);
    }

    /// Waits until `n` exchanges have begun.
    pub async fn begun(&self, n: usize) {
        let mut exchanges = self.0.exchanges.subscribe();
        // The sender lives in `self`.
        let _ = exchanges.wait_for(|begun| *begun >= n).await;
    }

    /// How many exchanges have begun.
    pub fn exchanges(&self) -> usize {
        *self.0.exchanges.borrow()
    }

    /// How often a spent refresh token came again.
    pub fn reused(&self) -> usize {
        self.0.state.lock().reused
    }
}

impl Refresher for Fake {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let mut number = 0;
        self.0.exchanges.send_modify(|begun| {
            *begun += 1;
            number = *begun;
        });
        if let Ok(permit) = self.0.gate.acquire().await {
            permit.forget();
        }
        let next = self.0.script.lock().pop_front().unwrap_or(Next::Answer);
        let unprocessed = matches!(
            next,
            Next::Fail(Verdict::Transient { .. } | Verdict::Misconfigured)
        );
        if !unprocessed {
            let token = request.refresh_token().expose().to_owned();
            let mut state = self.0.state.lock();
            if state.spent.contains(&token) {
                state.reused += 1;
            }
            state.spent.push(token);
        }
        match next {
            Next::Answer => Ok(self.tokens(number)),
            Next::With(response) => Ok(response),
            Next::Fail(verdict) => Err(RefreshError::new(verdict, "as told")),
            #[allow(clippy::panic)]
            Next::Panic => panic!("as told"),
        }
    }
}
