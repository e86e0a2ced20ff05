//! Setting a stand-in up.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::ledger::Terms;
use super::link::Links;
use super::state::Book;
use super::{App, MeshServer};
use crate::clock::{Clock, SystemClock};
use crate::origin::Origin;
use crate::testkit::wire::{Faults, Port, ServerClock, Tally};

/// Builds a [`MeshServer`]; begin with [`MeshServer::builder`].
///
/// ```
/// use std::time::Duration;
/// use tower_token::testkit::MeshServer;
///
/// let server = MeshServer::builder()
///     .access_ttl(Duration::from_secs(600))
///     .parent_origin("http://127.0.0.1:3000")
///     .start()?;
/// # let _ = server;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct MeshServerBuilder {
    terms: Terms,
    clock: Box<dyn Clock>,
    latency: Duration,
    port: u16,
    state_file: Option<PathBuf>,
    parents: Vec<String>,
}

impl MeshServerBuilder {
    pub(super) fn new() -> Self {
        Self {
            terms: Terms {
                access_ttl: Duration::from_secs(60),
                refresh_ttl: Duration::from_secs(30 * 24 * 60 * 60),
                rotates: true,
            },
            clock: Box::new(SystemClock::new()),
            latency: Duration::ZERO,
            port: 0,
            state_file: None,
            parents: Vec::new(),
        }
    }

    /// How long an access token lasts: one minute by default. Answers say it in whole
    /// seconds, rounded down.
    #[must_use]
    pub fn access_ttl(mut self, ttl: Duration) -> Self {
        self.terms.access_ttl = ttl;
        self
    }

    /// How long a refresh token lasts: thirty days by default. A plain refresh does not put
    /// its end off, one with `createNewRefreshToken` does.
    #[must_use]
    pub fn refresh_ttl(mut self, ttl: Duration) -> Self {
        self.terms.refresh_ttl = ttl;
        self
    }

    /// Has a plain refresh leave the refresh token as it is. By default each refresh brings
    /// a new one, and the old one ends its connection if it comes again.
    #[must_use]
    pub fn without_rotation(mut self) -> Self {
        self.terms.rotates = false;
        self
    }

    /// What the server's time goes by: the system's clock by default.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// How long each request to refresh waits before it is processed, in real time: not at
    /// all by default. If the client hangs up meanwhile it is not processed.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Which port of the loopback interface to take: a free one by default.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Keeps the client's id and secret, the connections and their tokens in this file, from
    /// which a server that is started later goes on. Every answer waits until what it says
    /// is written, so a server that is killed forgets nothing that it said. By default all
    /// ends with the server.
    ///
    /// Links that were not used, counts and the parents' origins are not in it.
    #[must_use]
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Names the origin of a page that may show the link page in a frame, such as
    /// `"http://127.0.0.1:3000"`; Mesh has this from its dashboard. The link page talks to
    /// no other, and by default to none: what it has to say are tokens. See
    /// [`MeshServer::allow_parent`] for an origin that is known only later.
    #[must_use]
    pub fn parent_origin(mut self, origin: impl Into<String>) -> Self {
        self.parents.push(origin.into());
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    ///
    /// If the system denies the port, a thread, random numbers or the state file, if that
    /// file was not written by such a server, or if a parent's origin is none.
    pub fn start(self) -> io::Result<MeshServer> {
        let parents: io::Result<_> = self.parents.iter().map(|it| origin(it)).collect();
        let book = Book::open(self.state_file)?;
        let port = Port::take(self.port)?;
        let app = Arc::new(App {
            base_url: format!("http://{}", port.address),
            book,
            links: Links::default(),
            terms: self.terms,
            clock: ServerClock::new(self.clock, 0),
            code: Mutex::new(None),
            parents: Mutex::new(parents?),
            faults: Faults::slow(self.latency, Duration::ZERO),
            tally: Tally::default(),
        });
        let running = port.serve("mesh-server", Arc::clone(&app))?;
        Ok(MeshServer {
            app,
            _running: running,
        })
    }
}

/// An origin as browsers write it.
pub(super) fn origin(text: &str) -> io::Result<String> {
    let origin = Origin::parse(text);
    let origin = origin.map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    Ok(origin.to_string())
}
