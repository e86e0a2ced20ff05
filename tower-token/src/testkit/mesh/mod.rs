//! A stand-in of Mesh: its API for client managed tokens, and the page in which users connect.

mod api;
mod broker;
mod builder;
mod counts;
mod fields;
mod ledger;
mod link;
mod payload;
mod result;
mod schema;
mod site;
mod state;
#[cfg(test)]
mod test_client;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

pub use self::broker::MeshBroker;
pub use self::builder::MeshServerBuilder;
pub use self::counts::MeshCounts;
use self::ledger::{Issued, Terms};
use self::link::Links;
use self::payload::{access_token_payload, delayed_payload};
use self::state::Book;
use crate::provider::Mesh;
use crate::secret::Secret;
use crate::testkit::wire::{Fault, Faults, Running, ServerClock, Tally, random_token};

/// A stand-in of [Mesh](https://docs.meshconnect.com) for tests, in this process but over real
/// HTTP. Dropping it stops it and closes its port.
///
/// On the loopback interface it serves what a service speaks that holds its users' tokens,
///
/// * `POST /api/v1/linktoken`, `POST /api/v1/token/refresh`, `DELETE /api/v1/account` and
///   `POST /api/v1/holdings/get`, for one client (`X-Client-Id`, `X-Client-Secret`); an unknown
///   or missing field is rejected, a spent refresh token ends its connection,
///
/// and the page that a link token opens in the browser: it speaks with
/// `@meshconnect/web-link-sdk`, and has two made-up brokers to connect
/// ([`MeshBroker`]) with a made-up login. A user who comes back with access tokens is led past
/// the login, if these are good and their own.
///
/// Its shapes are those of Mesh's published clients. It checks no more than a test needs: it
/// is not for production. It has a thread and a runtime of its own.
///
/// ```
/// # #[cfg(feature = "oauth2-http")]
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     use std::time::Duration;
///     use tower_token::testkit::{ManualClock, MeshBroker, MeshServer};
///     use tower_token::*;
///
///     let clock = ManualClock::new();
///     let server = MeshServer::builder().clock(clock.clone()).start()?;
///     let store = MemoryStore::with_clock(clock.clone());
///     let manager = TokenManager::builder()
///         .store(SealedStore::open(store, KeyRing::generate()?).await?)
///         .provider(server.provider("mesh"))
///         .clock(clock.clone())
///         .build()
///         .await?;
///
///     // What the page gets once Ada has logged in at her broker.
///     let payload = server.connect("ada", MeshBroker::Northwind);
///     let payload = MeshPayload::from_json(payload.expose().as_bytes())?;
///     let [grant] = payload.grants() else {
///         panic!("her two accounts share a refresh token");
///     };
///     let ada = GrantKey::new("mesh", "ada").with_connection(grant.connection());
///     manager.connect(&ada, grant.response()).await?;
///
///     // She comes back when the tokens have expired.
///     clock.advance(Duration::from_secs(60));
///     let accounts = manager.accounts(&ada, Duration::from_secs(10)).await?;
///     assert_eq!(accounts.len(), 2);
///     assert_eq!(server.counts().refreshes_ok, 1);
///     assert!(server.is_connected("ada", MeshBroker::Northwind));
///     Ok(())
/// }
/// # #[cfg(not(feature = "oauth2-http"))]
/// # fn main() {}
/// ```
pub struct MeshServer {
    app: Arc<App>,
    _running: Running,
}

impl MeshServer {
    /// Starts a server with the defaults.
    ///
    /// # Errors
    ///
    /// As [`MeshServerBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Begins to set a server up.
    pub fn builder() -> MeshServerBuilder {
        MeshServerBuilder::new()
    }

    /// This server as a provider that grant keys call `name`.
    pub fn provider(&self, name: impl Into<Arc<str>>) -> Mesh {
        Mesh::new(name, self.client_id(), self.client_secret()).base_url(self.base_url())
    }

    /// Where its API is, `http://127.0.0.1:port`.
    pub fn base_url(&self) -> &str {
        &self.app.base_url
    }

    /// The id of its one client.
    pub fn client_id(&self) -> &str {
        &self.app.book.client_id
    }

    /// The secret of that client, random for each server, or each state file.
    pub fn client_secret(&self) -> &str {
        &self.app.book.client_secret
    }

    /// Connects a user, as their login on the link page would have done. Returns the JSON
    /// that the SDK hands to `onIntegrationConnected`: `{"accessToken": {..}}`.
    pub fn connect(&self, user: &str, broker: MeshBroker) -> Secret {
        let payload = access_token_payload(broker, &self.app.connect(user, broker));
        json!({ "accessToken": payload }).to_string().into()
    }

    /// Connects a user who is to be asked for their consent later: there is a refresh token
    /// and nothing else. Returns the JSON that the SDK hands to `onIntegrationConnected`:
    /// `{"delayedAuth": {..}}`.
    pub fn connect_later(&self, user: &str, broker: MeshBroker) -> Secret {
        let refresh = self.app.connect_later(user, broker);
        let payload = delayed_payload(broker, &refresh, &self.app.terms);
        json!({ "delayedAuth": payload }).to_string().into()
    }

    /// Whether a refresh token of the user's would still be exchanged: their latest one,
    /// which a client only holds if its last answer arrived.
    pub fn is_connected(&self, user: &str, broker: MeshBroker) -> bool {
        let (now, broker) = (self.app.clock.now(), broker.broker_type());
        self.app
            .book
            .read(|ledger| ledger.connections(user, broker, now))
            > 0
    }

    /// What the server has done so far.
    pub fn counts(&self) -> MeshCounts {
        self.app.tally.total()
    }

    /// What it has done so far for this user, as far as it could be told whose it was.
    pub fn counts_of(&self, user: &str) -> MeshCounts {
        self.app.tally.of(user)
    }

    /// Moves the server's time forward, but not the clock it goes by.
    pub fn advance(&self, by: Duration) {
        self.app.clock.advance(by);
    }

    /// Makes every access token expire now. The connections stand.
    pub fn expire_access_tokens(&self) {
        let now = self.app.clock.now();
        self.app.book.change(|ledger| ledger.expire_access(now));
    }

    /// Ends every connection of the user, with all tokens.
    pub fn end_connections(&self, user: &str) {
        self.app.book.change(|ledger| ledger.end(user));
    }

    /// Has every refresh ask for this code of the user's, from now on: it is answered with
    /// `mfaRequired` and an access token, which a second request has to bring along with the
    /// code. `None` ends that.
    pub fn require_code<'a>(&self, code: impl Into<Option<&'a str>>) {
        *self.app.code.lock() = code.into().map(str::to_owned);
    }

    /// Lets pages of this origin, too, show the link page in a frame.
    ///
    /// # Errors
    ///
    /// If it is no origin.
    pub fn allow_parent(&self, origin: &str) -> io::Result<()> {
        self.app.parents.lock().push(builder::origin(origin)?);
        Ok(())
    }

    /// Sets what goes wrong with the requests to refresh that arrive from now on, in place of
    /// what was set before. Requests that are held stay held.
    pub fn set_fault(&self, fault: Fault) {
        self.app.faults.set(Some(fault));
    }

    /// Nothing goes wrong any more with the requests that arrive from now on.
    pub fn clear_fault(&self) {
        self.app.faults.set(None);
    }

    /// Lets go of the requests that are held, and ends the fault that holds them.
    pub fn release(&self) {
        self.app.faults.release();
    }

    /// Resolves when a request to refresh is held: at once if one is already.
    ///
    /// It waits for requests from the time of the call, not of the first poll. It also
    /// resolves when the server stops.
    pub fn held(&self) -> impl Future<Output = ()> + Send + use<> {
        self.app.faults.holds.held()
    }
}

impl fmt::Debug for MeshServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshServer")
            .field("base_url", &self.app.base_url)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// What the handle and the routes share.
struct App {
    base_url: String,
    book: Book,
    links: Links,
    terms: Terms,
    clock: ServerClock,
    code: Mutex<Option<String>>,
    parents: Mutex<Vec<String>>,
    faults: Faults,
    tally: Tally<MeshCounts>,
}

impl App {
    fn connect(&self, user: &str, broker: MeshBroker) -> Issued {
        self.tally.add(Some(user), |counts| counts.connections += 1);
        let now = self.clock.now();
        self.book
            .change(|ledger| ledger.connect(user, broker, &self.terms, now, &mut mint))
    }

    fn connect_later(&self, user: &str, broker: MeshBroker) -> String {
        self.tally.add(Some(user), |counts| counts.connections += 1);
        let now = self.clock.now();
        self.book
            .change(|ledger| ledger.connect_later(user, broker, &self.terms, now, &mut mint))
    }

    /// Counts something that came with a token of whoever it belongs to.
    fn count(&self, token: Option<&str>, count: impl Fn(&mut MeshCounts)) {
        let owner = self.book.read(|ledger| {
            let owner = token.and_then(|token| ledger.owner_of(token));
            owner.map(str::to_owned)
        });
        self.tally.add(owner.as_deref(), count);
    }
}

#[expect(
    clippy::expect_used,
    reason = "no server starts without its random secret, and the source does not dry up"
)]
fn mint() -> String {
    random_token().expect("it has worked before")
}

#[cfg(test)]
mod tests {
    use super::test_client::{Caller, tokens};
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let server = MeshServer::start().unwrap();
        let payload = server.connect("ada", MeshBroker::Northwind);
        let token = tokens(&payload)[0]["refreshToken"].clone();
        let shown = format!("{server:?} {payload:?}");
        for secret in [server.client_secret(), token.as_str().unwrap()] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[tokio::test]
    async fn it_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.json");
        let start = |port| {
            let builder = MeshServer::builder().state_file(&file).port(port);
            builder.start().unwrap()
        };
        let first = start(0);
        let payload = first.connect("ada", MeshBroker::Northwind);
        let (id, url) = (first.client_id().to_owned(), first.base_url().to_owned());
        drop(first);

        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let second = start(port);
        assert_eq!((second.client_id(), second.base_url()), (&*id, &*url));
        let token = &tokens(&payload)[0]["refreshToken"];
        let body = json!({ "type": "sandbox", "refreshToken": token });
        let caller = Caller::new(&second);
        let reply = caller.post("/api/v1/token/refresh", &body).await;
        assert_eq!(reply.json()["content"]["status"], "succeeded");
        drop(second);

        let third = start(0);
        let caller = Caller::new(&third);
        let reply = caller.post("/api/v1/token/refresh", &body).await;
        assert_eq!(reply.json()["message"], "Unauthorized token");
        assert_eq!(third.counts().reuse_detected, 1);
        assert!(!third.is_connected("ada", MeshBroker::Northwind));
    }

    #[tokio::test]
    async fn an_answer_waits_for_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let server = MeshServer::builder()
            .state_file(folder.path().join("mesh.json"))
            .start()
            .unwrap();
        let payload = server.connect("ada", MeshBroker::Northwind);
        let token = &tokens(&payload)[0]["refreshToken"];
        std::fs::remove_dir_all(folder.path()).unwrap();
        let body = json!({ "type": "sandbox", "refreshToken": token });
        let caller = Caller::new(&server);
        let reply = caller.post("/api/v1/token/refresh", &body).await;
        assert_eq!(reply.status, http::StatusCode::INTERNAL_SERVER_ERROR);
    }
}
