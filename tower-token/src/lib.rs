//! A Tower layer for outbound HTTP clients that keeps each user's OAuth token valid:
//! encrypted at rest, refreshed once, never lost.
//!
//! Your service calls APIs for its users. A user connects once; from then on every request
//! that names the user carries a valid token, across expiry, a 401, and a restart.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::{ServiceBuilder, ServiceExt};
//! use tower_token::{GrantKey, KeyRing, OAuth2, SealedStore, SledStore};
//! use tower_token::{TokenLayer, TokenManager, TokenRequest, TokenResponse};
//!
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(all(feature = "sled", feature = "oauth2-http"))] {
//! let store = SledStore::open("tokens.sled").await?;
//! let manager = TokenManager::builder()
//!     .store(SealedStore::open(store, KeyRing::from_env("TOWER_TOKEN_KEYS")?).await?)
//!     .provider(
//!         OAuth2::new("google", "https://oauth2.googleapis.com/token")
//!             .client_secret_post("client-id", "client-secret")
//!             .allow_origin("https://www.googleapis.com"),
//!     )
//!     .build()
//!     .await?;
//! # let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
//! let client = ServiceBuilder::new().layer(TokenLayer::new(&manager)).service(http);
//!
//! // Once, after the user's consent, with what your OAuth client got for it:
//! let user = GrantKey::new("google", "user-17");
//! manager.connect(&user, TokenResponse::new("access").refresh_token("refresh")).await?;
//!
//! // Every time after:
//! let request = http::Request::get("https://www.googleapis.com/calendar/v3/users/me/calendarList")
//!     .extension(TokenRequest::new(user))
//!     .body(Full::default())?;
//! let response = client.oneshot(request).await?;
//! # } Ok(()) }
//! ```
//!
//! # The way of a request
//!
//! ```text
//! request -> layer -> manager -> slot --fresh--> header on the request -> your client
//!                        |   due: the same, and a flight starts behind
//!                        |   expired, refused or unknown:
//!                        v
//!                      flight: lease -> load -> intent -> exchange -> save -> publish
//! ```
//!
//! A flight is one refresh of one grant: a task of its own that any number of callers wait
//! for and none can cancel. Before it spends a refresh token it writes down that it will;
//! what it gets is stored before anyone is served from it.
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | wrap a client | [`TokenLayer`], [`TokenRequest`], [`Replay`] |
//! | wrap reqwest | `reqwest::TokenClient`, with the feature `reqwest` |
//! | put other layers around it | [`order_of_layers`] |
//! | connect and disconnect users | [`TokenManager`], [`TokenResponse`] |
//! | describe a token service | [`OAuth2`], or [`Provider`] with a [`Refresher`] of yours |
//! | store tokens | [`SealedStore`] with a [`KeyRing`] over a [`ByteStore`] |
//! | keep them in a table of your own | [`store::custom`] |
//! | write a back end | [`store::contract`] |
//! | change keys without a stop | [`KeyRotation`] |
//! | back up, restore, move to another store | [`backup_and_migration`] |
//! | go from one process to many, without a stop | [`many_processes`] |
//! | know what to do about a failure | [`Error::recovery`] |
//! | see what happens | [`TokenManager::events`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `sled` | yes | [`SledStore`], the embedded store |
//! | `redb` | | [`RedbStore`], the other one; needs Rust 1.90 |
//! | `postgres` | | [`PostgresStore`], the store for many instances |
//! | `oauth2-http` | yes | the back channel of [`OAuth2`]: reqwest over rustls |
//! | `reqwest` | | `reqwest`: a client over reqwest, its redirects checked, and `send_with` for its requests |
//! | `tracing` | | the manager's events as `tracing` events, target `tower_token` |
//! | `metrics` | | counters and histograms of them, by the `metrics` facade |
//! | `testkit` | | `testkit`: an authorization server, a stand-in of Mesh, a manual clock, the suite that checks a [`ByteStore`] |
//!
//! # What it does not do
//!
//! It does not send users to a consent page: use any OAuth client for that, and hand the
//! tokens to [`TokenManager::connect`]. It does not check tokens that arrive at your
//! service. It needs a tokio runtime with its timers on.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod error;
mod event;
mod freshness;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod grant;
mod key;
mod layer;
mod manager;
mod origin;
mod provider;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod rt;
mod secret;
pub mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

#[doc = include_str!("layer/order_of_layers.md")]
pub mod order_of_layers {}

#[doc = include_str!("store/transfer/transfer.md")]
pub mod backup_and_migration {}

#[doc = include_str!("store/many_processes.md")]
pub mod many_processes {}

pub use self::clock::{Clock, SystemClock, Timestamp};
pub use self::error::{Error, ErrorKind, Recovery};
pub use self::event::{Event, EventKind, Events, Fingerprint};
pub use self::freshness::{Freshness, RefreshWindow};
pub use self::grant::{
    AccessToken, Account, AccountToken, Grant, GrantState, InvalidTokenResponse, ReauthReason,
    Serial, TokenResponse,
};
pub use self::key::GrantKey;
pub use self::layer::{
    Authorization, BodyRefusalFuture, BodyRefusalLayer, BodyRefusalService, Buffered, CloneBody,
    JsonBody, NoReplay, PeekedBody, Placement, RefusalFuture, RefusalLayer, RefusalService, Replay,
    ReplayAgain, ReplayBody, ReplayBodyError, ResponseFuture, TokenHeader, TokenLayer,
    TokenRefused, TokenRequest, TokenService, TokenServiceError,
};
pub use self::manager::{
    OnStale, SweepAction, SweepItem, SweepReport, TokenManager, TokenManagerBuilder,
};
pub use self::provider::{
    AssertionClaims, ClientAssertion, CodeExchange, CodeRequest, IntoProvider, InvalidMeshPayload,
    LinkTokenRequest, Mesh, MeshGrant, MeshLink, MeshPayload, MetadataClient, NotSent, OAuth2,
    Provider, RefreshError, RefreshRequest, Refresher, Revoker, Rotation, Verdict, VerdictRule,
};
pub use self::secret::Secret;
pub use self::store::contract::byte_store::{
    ByteStore, Durability, Expected, Group, Lease, LeaseOwner, Row, RowKey, SaveOutcome, SealedRow,
    SharedStore, StoreError, StoreErrorKind, Version,
};
pub use self::store::contract::changes::{Announce, Changes, Cursor};
pub use self::store::key_provider::KeyProvider;
pub use self::store::keyring::KeyRing;
pub use self::store::keyset::{DataKey, DataKeyState};
pub use self::store::memory::MemoryStore;
pub use self::store::moving::{MoveProgress, MovingStore};
pub use self::store::open::SealedStoreBuilder;
#[cfg(feature = "postgres")]
pub use self::store::postgres::{PostgresMigration, PostgresStore, PostgresStoreBuilder};
#[cfg(feature = "redb")]
pub use self::store::redb::RedbStore;
pub use self::store::rotation::{KeyRotation, Rewrap, RewrapProgress};
pub use self::store::sealed::SealedStore;
#[cfg(feature = "sled")]
pub use self::store::sled::SledStore;
pub use self::store::transfer::{Export, Import, StoreCopy, TransferProgress};
