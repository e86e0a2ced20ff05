//! hyper's client with [tower-token](tower_token) in it: each request carries its user's valid
//! OAuth token, which is refreshed before it expires, and a 401 is healed once.
//!
//! A program, whole, with the feature `rustls`:
//!
//! ```no_run
//! # #[cfg(not(feature = "rustls"))] fn main() {}
//! # #[cfg(feature = "rustls")]
//! # mod program {
//! use http::Request;
//! use http::header::CONTENT_TYPE;
//! use http_body_util::BodyExt;
//! use hyper_client_token::TokenClient;
//! use tower_token::{GrantKey, KeyRing, OAuth2, SealedStore, SledStore, TokenManager, TokenResponse};
//!
//! #[tokio::main]
//! # pub
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let keys = KeyRing::from_env("TOWER_TOKEN_KEYS")?;
//!     let store = SealedStore::open(SledStore::open("tokens.sled").await?, keys).await?;
//!     let manager = TokenManager::builder()
//!         .store(store)
//!         .provider(
//!             OAuth2::new("google", "https://oauth2.googleapis.com/token")
//!                 .client_secret_post("client-id", "client-secret")
//!                 .allow_origin("https://www.googleapis.com"),
//!         )
//!         .build()
//!         .await?;
//!
//!     // Once, after the user's consent, with what your OAuth client got for it:
//!     let user = GrantKey::new("google", "user-17");
//!     let tokens = br#"{"access_token":"..","refresh_token":"..","expires_in":3600}"#;
//!     manager.connect(&user, TokenResponse::from_json(tokens)?).await?;
//!
//!     // One client for all users, and a handle of one of them.
//!     let client = TokenClient::builder(&manager).https_only()?.build();
//!     let calendar = client.for_key(user);
//!
//!     let events = "https://www.googleapis.com/calendar/v3/calendars/primary/events";
//!     let response = calendar.get(events.parse()?).await?;
//!     println!("{}", response.status());
//!
//!     // After a 401 the body is sent once more, with a newer token.
//!     let tea = Request::post(events)
//!         .header(CONTENT_TYPE, "application/json")
//!         .body(r#"{"summary":"tea","start":{"date":"2030-01-01"},"end":{"date":"2030-01-01"}}"#)?;
//!     let response = calendar.request(tea).await?;
//!     println!("{:?}", response.into_body().collect().await?.to_bytes());
//!     Ok(())
//! }
//! # }
//! # #[cfg(feature = "rustls")]
//! # fn main() { let _ = program::main; }
//! ```
//!
//! A client of hyper-util's that you have already needs nothing of this crate: put a
//! [`TokenLayer`](tower_token::TokenLayer) around it. With bodies that are cheap to clone it stays as
//! it is; for streams its body becomes a [`ReplayBody`](tower_token::ReplayBody) of what it was, or
//! `.replay(NoReplay)` takes any body and sends it once:
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{Full, combinators::BoxBody};
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower::Layer;
//! use tower_token::{ReplayBody, TokenLayer, TokenManager};
//!
//! # fn f(manager: TokenManager) {
//! let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
//! let client = TokenLayer::new(&manager).layer(http);
//!
//! type Upload = BoxBody<Bytes, std::io::Error>;
//! let http: Client<_, ReplayBody<Upload>> = Client::builder(TokioExecutor::new()).build_http();
//! let uploads = TokenLayer::new(&manager).buffered(64 * 1024).layer(http);
//! # let _ = (client, uploads);
//! # }
//! ```
//!
//! # Bodies
//!
//! A request's body is whatever is [`Into<Body>`](Body): `()`, a text, `Vec<u8>`, `Bytes`,
//! `Full<Bytes>`, `Empty<Bytes>`, what hyper's server received, or any other by [`Body::new`]. What
//! is in memory is sent again after a 401 however long it is. A stream is sent as it comes; up to
//! [`replay_limit`](TokenClientBuilder::replay_limit) of it is kept until the response is there, so
//! that it can be sent twice. A 401 to more than that is the answer, and the next request has a
//! newer token.
//!
//! # Layers around it
//!
//! [`TokenClient`] is a Tower service. Each try of a retry and each hop of a redirect comes in
//! anew, and gets its own token and its own check of where it goes:
//!
//! ```
//! use std::time::Duration;
//! use hyper_client_token::TokenClient;
//! use tower::ServiceBuilder;
//! use tower_http::follow_redirect::FollowRedirectLayer;
//!
//! # fn f(ada: TokenClient) -> impl tower::Service<http::Request<hyper_client_token::Body>> {
//! // The first is the outermost.
//! ServiceBuilder::new()
//!     .timeout(Duration::from_secs(30))
//!     .layer(FollowRedirectLayer::new())
//!     .service(ada)
//! # }
//! ```
//!
//! * **Time-outs.** hyper's client has none. One outside bounds the wait for a refresh as well; a
//!   caller that gives up loses nothing of it.
//! * **Redirects** are never followed by hyper. A layer that does belongs outside, around a client
//!   that is bound by [`for_key`](TokenClient::for_key): that of tower-http 0.6 drops the
//!   extensions of a request on its second hop, and the [`TokenRequest`](tower_token::TokenRequest)
//!   with them. A hop to an origin that the provider does not allow fails, or is made without a
//!   token by [`foreign_origin_without_token`](TokenClientBuilder::foreign_origin_without_token).
//!   The policies of tower-http clone no body, so a 307 or 308 to a `POST` is returned; one of yours
//!   can, by [`Body::try_clone`].
//! * **Retries** need requests that can be cloned, as those with a body of `Full<Bytes>` can. A
//!   policy sees hyper's error in [`Error::Inner`](tower_token::TokenServiceError::Inner); an
//!   [`Error::Token`](tower_token::TokenServiceError::Token) says by its
//!   [`recovery`](tower_token::Error::recovery) whether there is any use in it.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `http2` | yes | HTTP/2, by agreement over TLS or by [`http2_only`](TokenClientBuilder::http2_only) |
//! | `rustls` | | `https` by rustls, with the platform's roots: [`https_only`](TokenClientBuilder::https_only), [`https_or_http`](TokenClientBuilder::https_or_http) |
//!
//! tower-token is named beside this crate, with the features of it that you want.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod builder;
mod client;
#[cfg(feature = "rustls")]
mod https;

pub use self::body::Body;
pub use self::builder::TokenClientBuilder;
#[cfg(feature = "rustls")]
pub use self::client::HttpsTokenClient;
pub use self::client::{Error, ResponseFuture, TokenClient};
