//! Setting a server up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::client::Client;
use super::ledger::{Ledger, Terms};
use super::{App, AuthServer};
use crate::clock::{Clock, SystemClock};
use crate::provider::Rotation;
use crate::testkit::wire::{Faults, Port, ServerClock, Tally, millis, random_token};

/// Builds an [`AuthServer`]; begin with [`AuthServer::builder`].
///
/// ```
/// use std::time::Duration;
/// use tower_token::Rotation;
/// use tower_token::testkit::AuthServer;
///
/// let server = AuthServer::builder()
///     .access_ttl(Duration::from_secs(3_600))
///     .rotation(Rotation::Grace(Duration::from_secs(30)))
///     .latency(Duration::from_millis(50))
///     .start()?;
/// # let _ = server;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct AuthServerBuilder {
    terms: Terms,
    latency: Duration,
    answer_latency: Duration,
    clock: Box<dyn Clock>,
    ahead_millis: i64,
}

impl AuthServerBuilder {
    pub(super) fn new() -> Self {
        Self {
            terms: Terms {
                access_ttl: Duration::from_secs(60),
                refresh_ttl: Duration::from_secs(30 * 24 * 60 * 60),
                absolute_ttl: None,
                tell_refresh_ttl: false,
                rotation: Rotation::Strict,
                jwt: false,
            },
            latency: Duration::ZERO,
            answer_latency: Duration::ZERO,
            clock: Box::new(SystemClock::new()),
            ahead_millis: 0,
        }
    }

    /// How long an access token lasts: one minute by default. The answer says it in whole
    /// seconds, rounded down.
    #[must_use]
    pub fn access_ttl(mut self, ttl: Duration) -> Self {
        self.terms.access_ttl = ttl;
        self
    }

    /// How long a refresh token lasts from its issue: thirty days by default. Each refresh
    /// brings a whole new life, also where the token stays the same.
    #[must_use]
    pub fn refresh_ttl(mut self, ttl: Duration) -> Self {
        self.terms.refresh_ttl = ttl;
        self
    }

    /// How long after its connect a grant ends, however often it is refreshed: never by
    /// default.
    #[must_use]
    pub fn absolute_ttl(mut self, ttl: Duration) -> Self {
        self.terms.absolute_ttl = Some(ttl);
        self
    }

    /// Has every answer say how long its refresh token lasts, as `refresh_token_expires_in`.
    /// By default nothing says so.
    #[must_use]
    pub fn tell_refresh_ttl(mut self) -> Self {
        self.terms.tell_refresh_ttl = true;
        self
    }

    /// What happens to a refresh token that comes twice. By default [`Rotation::Strict`]: it
    /// ends its grant. With [`Rotation::Grace`] the same tokens are answered again for that
    /// long, with [`Rotation::Reusable`] there is but one refresh token and answers leave it
    /// out.
    #[must_use]
    pub fn rotation(mut self, rotation: Rotation) -> Self {
        self.terms.rotation = rotation;
        self
    }

    /// Makes access tokens JWTs, whose `exp` is by the server's clock. By default they are
    /// opaque.
    #[must_use]
    pub fn jwt_access_tokens(mut self) -> Self {
        self.terms.jwt = true;
        self
    }

    /// How long each token request waits before it is processed, in real time: not at all by
    /// default. If the client hangs up meanwhile it is not processed.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// How long each answer waits after its request was processed, in real time: not at all
    /// by default. A client that hangs up meanwhile has lost it. Answers that a
    /// [`Fault`](crate::testkit::Fault) spoils do not wait.
    #[must_use]
    pub fn answer_latency(mut self, latency: Duration) -> Self {
        self.answer_latency = latency;
        self
    }

    /// What the server's time goes by: the system's clock by default. A
    /// [`ManualClock`](crate::testkit::ManualClock) that the manager under test has as well
    /// moves both.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Sets the server's time this much ahead of its clock.
    #[must_use]
    pub fn clock_ahead(mut self, by: Duration) -> Self {
        self.ahead_millis = millis(by);
        self
    }

    /// Sets the server's time this much behind its clock.
    #[must_use]
    pub fn clock_behind(mut self, by: Duration) -> Self {
        self.ahead_millis = -millis(by);
        self
    }

    /// Starts the server on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If the system denies a port, a thread or random numbers.
    pub fn start(self) -> io::Result<AuthServer> {
        let app = Arc::new(App {
            client: Client {
                id: "demo app".to_owned(),
                secret: format!("{}+/:%&=", random_token()?),
            },
            clock: ServerClock::new(self.clock, self.ahead_millis),
            rotation: self.terms.rotation,
            ledger: Mutex::new(Ledger::new(self.terms)),
            faults: Faults::slow(self.latency, self.answer_latency),
            tally: Tally::default(),
        });
        let running = Port::take(0)?.serve("auth-server", Arc::clone(&app))?;
        Ok(AuthServer { app, running })
    }
}
