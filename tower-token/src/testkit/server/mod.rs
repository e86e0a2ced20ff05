//! An OAuth 2.0 authorization server (RFC 6749) and an API behind it.

mod api;
mod builder;
mod client;
mod counts;
mod form;
mod http;
mod issued;
mod jwt;
mod ledger;
mod problem;
mod refresh;
mod revoke;
#[cfg(test)]
mod test_client;
mod token;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::builder::AuthServerBuilder;
use self::client::Client;
pub use self::counts::Counts;
pub use self::issued::Issued;
use self::ledger::{Ledger, Pair};
use crate::provider::{OAuth2, Rotation};
use crate::testkit::wire::{Fault, Faults, Running, ServerClock, Tally, random_token};

/// An OAuth 2.0 authorization server and an API behind it, in this process but over real
/// HTTP. Dropping it stops it and closes its port.
///
/// On a free port of the loopback interface it serves
///
/// * `POST /token`: the refresh of RFC 6749 section 6, for one registered client;
/// * `POST /revoke`: RFC 7009, always for the whole grant;
/// * `GET /me`, which answers `{"user": ..}`, and `POST /echo`, which answers
///   `{"user": .., "bytes": ..}`: an API that takes bearer tokens.
///
/// Everything is in memory, and it checks no more than a test needs: it is not for
/// production. It has a thread and a runtime of its own, so it starts inside or outside of
/// another runtime, and answers also while that one is blocked or its time is paused.
///
/// ```
/// use tower_token::testkit::{AuthServer, Fault};
///
/// let server = AuthServer::start()?;
/// let tokens = server.connect("ada");
/// server.set_fault(Fault::lost_answer().times(1));
/// assert!(server.is_connected("ada"));
/// assert_eq!(server.counts().token_requests, 0);
/// # let _ = tokens;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct AuthServer {
    app: Arc<App>,
    running: Running,
}

impl AuthServer {
    /// Starts a server with the defaults.
    ///
    /// # Errors
    ///
    /// As [`AuthServerBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Begins to set a server up.
    pub fn builder() -> AuthServerBuilder {
        AuthServerBuilder::new()
    }

    /// This server as a provider that grant keys call `name`: its endpoints, its client, its
    /// rotation, and leave for its tokens to go to its API.
    pub fn provider(&self, name: impl Into<Arc<str>>) -> OAuth2 {
        OAuth2::new(name, self.token_endpoint())
            .client_secret_basic(self.client_id(), self.client_secret())
            .revocation_endpoint(self.revocation_endpoint())
            .allow_origin(self.api())
            .rotation(self.app.rotation)
    }

    /// Where to refresh, `http://127.0.0.1:port/token`.
    pub fn token_endpoint(&self) -> String {
        format!("{}{}", self.api(), http::TOKEN)
    }

    /// Where to revoke, `http://127.0.0.1:port/revoke`.
    pub fn revocation_endpoint(&self) -> String {
        format!("{}{}", self.api(), http::REVOKE)
    }

    /// The base address of the API, `http://127.0.0.1:port`.
    pub fn api(&self) -> String {
        format!("http://{}", self.running.address)
    }

    /// The id of the one registered client.
    pub fn client_id(&self) -> &str {
        &self.app.client.id
    }

    /// The secret of that client, random for each server. It contains characters that HTTP
    /// Basic must carry form-encoded (RFC 6749 section 2.3.1).
    pub fn client_secret(&self) -> &str {
        &self.app.client.secret
    }

    /// Issues the first tokens of a new grant, as the consent of `user` would have done.
    pub fn connect(&self, user: &str) -> Issued {
        let now = self.app.clock.now();
        self.app.ledger.lock().connect(user, random_pair(), now)
    }

    /// Whether a refresh token of the user's would still be exchanged: their latest one,
    /// which a client only holds if its last answer arrived.
    ///
    /// A grant ends by the reuse of a refresh token, by a revocation, or with the life of its
    /// refresh token.
    pub fn is_connected(&self, user: &str) -> bool {
        let now = self.app.clock.now();
        self.app.ledger.lock().is_connected(user, now)
    }

    /// What the server has done so far.
    pub fn counts(&self) -> Counts {
        self.app.tally.total()
    }

    /// What it has done so far for this user: every request that brought a token of theirs,
    /// good or not.
    pub fn counts_of(&self, user: &str) -> Counts {
        self.app.tally.of(user)
    }

    /// Moves the server's time forward, but not the clock it goes by.
    pub fn advance(&self, by: Duration) {
        self.app.clock.advance(by);
    }

    /// Makes every access token expire now. The grants stand.
    pub fn expire_access_tokens(&self) {
        let now = self.app.clock.now();
        self.app.ledger.lock().expire_access(now);
    }

    /// Makes the user's access tokens void before their time. The grants stand.
    pub fn kill_access(&self, user: &str) {
        self.app.ledger.lock().kill_access(user);
    }

    /// Revokes every grant of the user, with all tokens.
    pub fn revoke_grant(&self, user: &str) {
        self.app.ledger.lock().revoke_user(user);
    }

    /// Sets what goes wrong with the token requests that arrive from now on, in place of what
    /// was set before. Requests that are held stay held.
    pub fn set_fault(&self, fault: Fault) {
        self.app.faults.set(Some(fault));
    }

    /// Nothing goes wrong any more with the token requests that arrive from now on.
    pub fn clear_fault(&self) {
        self.app.faults.set(None);
    }

    /// Lets go of the requests that are held, and ends the fault that holds them.
    pub fn release(&self) {
        self.app.faults.release();
    }

    /// Resolves when a token request is held: at once if one is already.
    ///
    /// It waits for requests from the time of the call, not of the first poll. It also
    /// resolves when the server stops.
    pub fn held(&self) -> impl Future<Output = ()> + Send + use<> {
        self.app.faults.holds.held()
    }
}

impl fmt::Debug for AuthServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthServer")
            .field("address", &self.running.address)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// What the handle and the routes share.
struct App {
    client: Client,
    clock: ServerClock,
    rotation: Rotation,
    ledger: Mutex<Ledger>,
    faults: Faults,
    tally: Tally<Counts>,
}

impl App {
    /// Counts something that came with a token of whoever it belongs to.
    fn count(&self, token: Option<&str>, count: impl Fn(&mut Counts)) {
        let ledger = self.ledger.lock();
        let owner = token.and_then(|token| ledger.owner_of(token));
        self.tally.add(owner, count);
    }
}

#[expect(
    clippy::expect_used,
    reason = "no server starts without its random secret, and the source does not dry up"
)]
fn random_pair() -> Pair {
    let token = || random_token().expect("it has worked before");
    Pair {
        access: token(),
        refresh: token(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn it_needs_no_runtime_and_hangs_up_when_dropped() {
        let server = AuthServer::start().unwrap();
        let mut stream = TcpStream::connect(server.running.address).unwrap();
        stream
            .write_all(b"GET /me HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HTTP/1.1 401");

        drop(server);
        // Without the hang-up this would wait for ever.
        let _ = stream.read_to_end(&mut Vec::new());
    }

    #[test]
    fn debug_shows_no_secret() {
        let server = AuthServer::start().unwrap();
        let issued = server.connect("ada");
        let shown = format!("{server:?} {issued:?}");
        for secret in [
            server.client_secret(),
            &issued.access_token,
            &issued.refresh_token,
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
