//! For tests of your own (feature `testkit`): an authorization server and an API to run your
//! service against, a stand-in of Mesh, a clock that a test moves, and the suite that checks a
//! [`ByteStore`](crate::ByteStore).
//!
//! A service that calls an API for its users is tested with [`AuthServer`] in place of the
//! authorization server and the API, over real HTTP, and with one [`ManualClock`] for the
//! server and the manager, so that an hour passes at once:
//!
//! ```
//! use std::error::Error;
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::{BodyExt, Full};
//! use hyper_util::client::legacy::{Client, connect::HttpConnector};
//! use hyper_util::rt::TokioExecutor;
//! use tower::{Layer, ServiceExt};
//! use tower_token::testkit::{AuthServer, Fault, ManualClock};
//! use tower_token::*;
//!
//! /// The service under test: it greets its users by the name that an API knows.
//! struct Greeter {
//!     client: TokenService<Client<HttpConnector, Full<Bytes>>>,
//!     api: String,
//! }
//!
//! impl Greeter {
//!     async fn greet(&self, user: &str) -> Result<String, Box<dyn Error>> {
//!         let request = Request::get(format!("{}/me", self.api))
//!             .extension(TokenRequest::new(GrantKey::new("demo", user)))
//!             .body(Full::default())?;
//!         let response = self.client.clone().oneshot(request).await?;
//!         let body = response.into_body().collect().await?.to_bytes();
//!         let me: serde_json::Value = serde_json::from_slice(&body)?;
//!         Ok(format!("Hello, {}!", me["user"].as_str().unwrap_or("stranger")))
//!     }
//! }
//!
//! # #[cfg(feature = "oauth2-http")]
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn Error>> {
//!     let clock = ManualClock::new();
//!     let server = AuthServer::builder()
//!         .clock(clock.clone())
//!         .access_ttl(Duration::from_secs(3_600))
//!         .start()?;
//!     let store = MemoryStore::with_clock(clock.clone());
//!     let manager = TokenManager::builder()
//!         .store(SealedStore::open(store, KeyRing::generate()?).await?)
//!         .provider(server.provider("demo"))
//!         .clock(clock.clone())
//!         .build()
//!         .await?;
//!     let http = Client::builder(TokioExecutor::new()).build_http();
//!     let greeter = Greeter {
//!         client: TokenLayer::new(&manager).layer(http),
//!         api: server.api(),
//!     };
//!
//!     // Ada consents, once.
//!     let ada = GrantKey::new("demo", "ada");
//!     manager.connect(&ada, server.connect("ada").into()).await?;
//!     assert_eq!(greeter.greet("ada").await?, "Hello, ada!");
//!
//!     // Her token expires, and is refreshed.
//!     clock.advance(Duration::from_secs(3_600));
//!     assert_eq!(greeter.greet("ada").await?, "Hello, ada!");
//!     assert_eq!(server.counts().refreshes_ok, 1);
//!
//!     // The API refuses one that has not expired: refreshed, and sent again.
//!     server.kill_access("ada");
//!     assert_eq!(greeter.greet("ada").await?, "Hello, ada!");
//!     assert_eq!(server.counts().refreshes_ok, 2);
//!     assert_eq!(server.counts().api_unauthorized, 1);
//!
//!     // The server is down just when the token has expired. It costs nothing but that call.
//!     clock.advance(Duration::from_secs(3_600));
//!     server.set_fault(Fault::status(503));
//!     assert!(greeter.greet("ada").await.is_err());
//!     server.clear_fault();
//!     clock.advance(Duration::from_secs(1));
//!     assert_eq!(greeter.greet("ada").await?, "Hello, ada!");
//!     assert!(server.is_connected("ada"));
//!     assert_eq!(server.counts().reuse_detected, 0);
//!     Ok(())
//! }
//! # #[cfg(not(feature = "oauth2-http"))]
//! # fn main() {}
//! ```

mod clock;
#[cfg(feature = "testkit")]
mod mesh;
#[cfg(feature = "testkit")]
mod server;
#[cfg(feature = "testkit")]
mod wire;

pub use self::clock::ManualClock;
#[cfg(feature = "testkit")]
pub use self::mesh::{MeshBroker, MeshCounts, MeshServer, MeshServerBuilder};
#[cfg(feature = "testkit")]
pub use self::server::{AuthServer, AuthServerBuilder, Counts, Issued};
#[cfg(feature = "testkit")]
pub use self::wire::Fault;
pub use crate::store::contract::suite::contract_suite;

/// For the benchmarks of this workspace.
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub mod probe {
    pub use crate::store::probe::{Sample, opened, sealed};
}
