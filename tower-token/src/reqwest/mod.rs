//! Tokens for [reqwest], with the feature `reqwest`.
//!
//! ```no_run
//! use tower_token::reqwest::{SendWith, TokenClient};
//! use tower_token::{GrantKey, KeyRing, MemoryStore, OAuth2, SealedStore, TokenManager, TokenResponse};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // In a service: `SledStore`, and a key that outlives the process.
//!     let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
//!     let manager = TokenManager::builder()
//!         .store(store)
//!         .provider(
//!             OAuth2::new("example", "https://auth.example.com/token")
//!                 .client_secret_basic("client-id", "client-secret")
//!                 .allow_origin("https://api.example.com"),
//!         )
//!         .build()
//!         .await?;
//!
//!     // Once, after the user's consent:
//!     let user = GrantKey::new("example", "user-17");
//!     manager.connect(&user, TokenResponse::new("access").refresh_token("refresh")).await?;
//!
//!     // One client with its connections, and of that a handle for each user:
//!     let tokens = TokenClient::new(&manager, ::reqwest::Client::builder())?;
//!     let ada = tokens.for_key(user);
//!
//!     let response = tokens
//!         .client()
//!         .post("https://api.example.com/notes")
//!         .body("hello")
//!         .send_with(&ada)
//!         .await?
//!         .error_for_status()?;
//!     println!("{}", response.text().await?);
//!     Ok(())
//! }
//! ```
//!
//! # `send_with`, not `send`
//!
//! A request builder of reqwest's belongs to a client, and `send` is that client's: it knows
//! nothing of tokens. [`send_with`](SendWith::send_with) sends what was built by the handle that
//! it is given. Any way of building a request goes through it, `json`, `form` and `multipart`
//! included, and its response is reqwest's.
//!
//! (In a file with `use tower_token::*` the crate is `::reqwest`, as this module has its name.)
//!
//! # Bodies
//!
//! What is in memory can be sent again after a 401, and follows a redirect; it is never copied
//! for that. Of a stream, such as a multipart form, what went by is kept up to
//! [`replay_limit`](TokenClientBuilder::replay_limit); a redirect that wants it again (307, 308)
//! is returned.
//!
//! # Redirects
//!
//! [`TokenClient`] follows them, and not reqwest: each hop gets its own token, and its own check
//! of where it goes. One to an origin that the provider does not allow fails, or goes without a
//! token with [`foreign_origin_without_token`](TokenClientBuilder::foreign_origin_without_token).
//! `Authorization`, `Cookie` and whatever is marked as sensitive stay at the origin that they
//! were given for. So a builder's redirect policy does not count, and its `referer` is not sent.
//!
//! A request with a token of its own never gets another on its way; and once a redirect was where
//! no token may go there is none in its hops any more, also if it comes back.
//!
//! Default headers of the client are another matter: reqwest adds them to each hop by itself,
//! wherever that goes. No secret belongs there.
//!
//! # What users share
//!
//! All handles of a client share what its builder was given. **A cookie store would be shared by
//! all users**, and an API may take a cookie for more than a token: with `cookie_store` make a
//! client for each user.
//!
//! reqwest goes by the proxies of the environment, also to an API of plain `http` on loopback,
//! whose tokens such a proxy reads: give the builder `no_proxy()` there.
//!
//! # Time-outs
//!
//! Those of the client, and one of a request's own, are for one try at one hop. The wait for a
//! token has the manager's. A limit over all of it goes around the call, or around the handle, as
//! a Tower layer.
//!
//! # Errors
//!
//! [`TokenServiceError::Token`](crate::TokenServiceError::Token) says why there was no token. The
//! hop that it was needed for was not sent, those before it were.
//! [`Inner`](crate::TokenServiceError::Inner) has reqwest's own error, with its `is_timeout()`,
//! `is_connect()` and its source.

mod body;
mod builder;
mod client;
mod future;
mod redirect;
mod send_with;
mod service;

pub use self::builder::TokenClientBuilder;
pub use self::client::TokenClient;
pub use self::future::TokenClientFuture;
pub use self::send_with::{SendWith, SendWithFuture};
pub use self::service::{ReqwestFuture, ReqwestService};
