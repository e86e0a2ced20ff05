#![doc = include_str!("lib.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod error;
mod event;
mod freshness;
mod grant;
mod key;
mod layer;
mod manager;
mod origin;
mod provider;
mod secret;
mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use self::clock::{Clock, SystemClock, Timestamp};
pub use self::error::{Error, ErrorKind, Recovery};
pub use self::event::{Event, EventKind, Events, Fingerprint};
pub use self::freshness::{Freshness, RefreshWindow};
pub use self::grant::{
    AccessToken, Grant, GrantState, InvalidTokenResponse, Serial, TokenResponse,
};
pub use self::key::GrantKey;
pub use self::layer::{
    CloneBody, NoReplay, Replay, ResponseFuture, TokenLayer, TokenRequest, TokenService,
    TokenServiceError,
};
pub use self::manager::{TokenManager, TokenManagerBuilder};
pub use self::provider::{
    IntoProvider, NotSent, OAuth2, Provider, RefreshError, RefreshRequest, Refresher, Verdict,
};
pub use self::secret::Secret;
#[cfg(feature = "sled")]
pub use self::store::SledStore;
pub use self::store::{
    ByteStore, Durability, Expected, Group, KeyRing, Lease, LeaseOwner, MemoryStore, Row, RowKey,
    SaveOutcome, SealedRow, SealedStore, StoreError, StoreErrorKind, Version,
};
