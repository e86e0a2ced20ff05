//! [tower-token](tower_token) in [axum](https://docs.rs/axum) 0.8: a handler takes its user's
//! valid OAuth token as an argument, and pages are safe by default.
//!
//! A small service, whole. `Sessions` say who the user is, `ValidToken<Google>` is refreshed
//! before the handler runs, and whatever changes something has to come from its own pages:
//!
//! ```
//! # #[cfg(feature = "tower-sessions")] mod service {
//! use axum::extract::{FromRef, Path, State};
//! use axum::routing::{get, post};
//! use axum::{Router, http::Uri};
//! use axum_token::*;
//! use tower::ServiceBuilder;
//! use tower_sessions::{MemoryStore as MemorySessions, Session};
//! use tower_token::{KeyRing, MemoryStore, OAuth2, SealedStore, TokenManager};
//!
//! /// The provider, as the manager knows it.
//! struct Google;
//!
//! impl ProviderName for Google {
//!     const NAME: &'static str = "google";
//! }
//!
//! #[derive(Clone)]
//! struct App {
//!     tokens: TokenState,
//!     sign_ins: SignIns,
//! }
//!
//! impl FromRef<App> for TokenState {
//!     fn from_ref(app: &App) -> Self {
//!         app.tokens.clone()
//!     }
//! }
//!
//! /// The token is good for the next call. Who has none is sent to sign in or to connect, or
//! /// gets a 401 if it is a program.
//! async fn calendar(token: ValidToken<Google>) -> String {
//!     format!("a token until {:?}", token.access_token().expires_at())
//! }
//!
//! /// A page that does without.
//! async fn home(user: Option<CurrentSubject>, token: Option<ValidToken<Google>>) -> &'static str {
//!     match (user, token) {
//!         (Some(_), Some(_)) => "your calendar",
//!         (Some(_), None) => "connect your calendar",
//!         (None, _) => "sign in",
//!     }
//! }
//!
//! /// After your own check of who it is: the session gets a new id.
//! async fn login(State(app): State<App>, session: Session) -> Result<(), TokenRejection> {
//!     sessions::sign_in(&session, app.sign_ins.admit("user-17").await?).await
//! }
//!
//! /// Signs out here and everywhere else, and disconnects.
//! async fn logout(
//!     State(app): State<App>,
//!     user: CurrentSubject,
//!     session: Session,
//! ) -> Result<(), TokenRejection> {
//!     let logout = Logout::of(&user).disconnect("google").everywhere(&app.sign_ins);
//!     let outcome = logout.run(app.tokens.manager()).await?;
//!     sessions::sign_out(&session).await?;
//!     outcome.complete()
//! }
//!
//! pub async fn app() -> Result<Router, Box<dyn std::error::Error>> {
//!     // From the configuration. Plain http is for loopback only.
//!     let origin: PublicOrigin = "https://app.example.com".parse()?;
//!     let manager = TokenManager::builder()
//!         .store(SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?)
//!         .provider(
//!             OAuth2::new("google", "https://oauth2.googleapis.com/token")
//!                 .client_secret_post("client-id", "client-secret")
//!                 .allow_origin("https://www.googleapis.com"),
//!         )
//!         .provider(SignIns::provider())
//!         .build()
//!         .await?;
//!     let sign_ins = SignIns::new(&manager);
//!     let tokens = TokenState::new(&manager)
//!         .login_at(Uri::from_static("/login"))
//!         .connect_at("google", Uri::from_static("/connect/google"));
//!
//!     Ok(Router::new()
//!         .route("/", get(home))
//!         .route("/calendar", get(calendar))
//!         .route("/login", post(login))
//!         .route("/logout", post(logout))
//!         .layer(
//!             // The first is the outermost.
//!             ServiceBuilder::new()
//!                 .layer(NoStoreLayer)
//!                 .layer(SameOriginLayer::new(&origin))
//!                 .layer(sessions::layer(&origin, MemorySessions::default()))
//!                 .layer(SessionTokenLayer::new(sessions::Sessions).sign_ins(&sign_ins)),
//!         )
//!         .with_state(App { tokens, sign_ins }))
//! }
//! # }
//! # #[cfg(feature = "tower-sessions")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     use axum::{body::Body, http::{Request, StatusCode}};
//! #     use tower::ServiceExt;
//! #     let app = service::app().await?;
//! #     let request = |path: &str| Request::get(path).body(Body::empty());
//! #     let home = app.clone().oneshot(request("/")?).await?;
//! #     assert_eq!(home.status(), StatusCode::OK);
//! #     let program = app.clone().oneshot(request("/calendar")?).await?;
//! #     assert_eq!(program.status(), StatusCode::UNAUTHORIZED);
//! #     let login = |csrf| {
//! #         let request = Request::post("/login").header("sec-fetch-site", "same-origin");
//! #         request.header("x-csrf", csrf).body(Body::empty())
//! #     };
//! #     assert_eq!(app.clone().oneshot(login("0")?).await?.status(), StatusCode::FORBIDDEN);
//! #     let cookie = app.clone().oneshot(login("1")?).await?.headers()["set-cookie"].clone();
//! #     let mut person = request("/calendar")?;
//! #     person.headers_mut().insert("cookie", cookie);
//! #     person.headers_mut().insert("accept", "text/html".parse()?);
//! #     let person = app.oneshot(person).await?;
//! #     assert_eq!(person.headers()["location"], "/connect/google");
//! #     Ok(())
//! # }
//! # #[cfg(not(feature = "tower-sessions"))]
//! # fn main() {}
//! ```
//!
//! # The way of a request
//!
//! ```text
//! request -> NoStoreLayer -> SameOriginLayer -> sessions -> SessionTokenLayer -> ValidToken -> handler
//!                              403 cross-site                 who is it?           manager: refreshed
//!                                                             a Visitor            401, 303, 503, 500
//! ```
//!
//! # Where to look
//!
//! | to | see |
//! |---|---|
//! | take a token | [`ValidToken`], or [`Tokens`] by name; [`TokenState`] in the router's state |
//! | take the user | [`CurrentSubject`] |
//! | say who the user is | `sessions` (tower-sessions), `PrivateCookies` (axum-extra), [`TrustedHeader`], or a [`SubjectSource`] of yours, in a [`SessionTokenLayer`] |
//! | send requests as the user, by a client of tower-token | [`ValidToken::request`], or [`CurrentUserLayer`] |
//! | answer who has no token | [`TokenRejection`] |
//! | let users leave | [`Logout`] and its [`LogoutOutcome`], [`SignIns`] |
//! | have users sign in, or connect accounts, by OAuth and OpenID Connect | `OAuthRoutes`, `ConnectProvider`, `OpenId` |
//! | have users connect accounts at Mesh | `MeshRoutes` |
//! | have pages call APIs with a token that they never get | `ProxyRoutes`, with an `Upstream` for each API |
//! | tell pages who is signed in, and what is connected | `UserRoutes` |
//! | keep other sites out | [`PublicOrigin`], [`SameOriginLayer`], [`NoStoreLayer`], [`HostCookiesLayer`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `tracing` | yes | what is set up wrongly, as `tracing` errors of the target `axum_token` |
//! | `tower-sessions` | | `sessions`: users in sessions of tower-sessions 0.15 |
//! | `private-cookies` | | `PrivateCookies`: users in encrypted cookies of axum-extra 0.12 |
//! | `oauth` | | `OAuthRoutes`: sign in and connect by OAuth 2.0 and OpenID Connect, reconnect, log out everywhere |
//! | `mesh` | | `MeshRoutes`: connect accounts at Mesh, come back, leave |
//! | `proxy` | | `ProxyRoutes`: pages call APIs with their user's token; `UserRoutes`: who that is |
//!
//! Which store and which back channel tower-token has is said by its own features.
//!
//! # What it does not do
//!
//! It knows no passwords: who somebody is says a provider of OpenID Connect (`OAuthRoutes`), or a
//! sign-in of yours. Tokens that came by another way, such as a client of OAuth that you have,
//! are handed to [`TokenManager::connect`](tower_token::TokenManager::connect).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod extract;
mod layers;
mod logout;
#[cfg(feature = "mesh")]
mod mesh;
#[cfg(feature = "oauth")]
mod oauth;
mod origin;
#[cfg(feature = "proxy")]
mod proxy;
mod random;
mod rejection;
mod scope;
mod session_token;
mod sign_ins;
mod source;
mod state;
mod turns;
mod visitor;

pub use self::extract::{ByName, ProviderName, Tokens, ValidToken};
pub use self::layers::{
    EditedResponse, HostCookies, HostCookiesLayer, NoStore, NoStoreLayer, SameOrigin,
    SameOriginFuture, SameOriginLayer,
};
pub use self::logout::{LeftGrants, LeftReason, Logout, LogoutOutcome};
#[cfg(feature = "mesh")]
pub use self::mesh::MeshRoutes;
#[cfg(feature = "oauth")]
pub use self::oauth::{
    Account, ConnectFailure, ConnectFailureKind, ConnectProvider, Identity, InvalidOAuthRoutes,
    OAuthRoutes, OpenId, OpenIdError, OpenIdErrorKind,
};
pub use self::origin::{InvalidPublicOrigin, PublicOrigin};
#[cfg(feature = "proxy")]
pub use self::proxy::{InvalidUpstream, ProxyRoutes, Upstream, UserRoutes};
pub use self::rejection::{
    Forbidden, LoginReason, LoginRequired, Misconfigured, TemporarilyUnavailable, TokenRejection,
};
pub use self::scope::{CurrentUser, CurrentUserLayer};
pub use self::session_token::{ResponseFuture, SessionTokenLayer, SessionTokenService};
pub use self::sign_ins::SignIns;
#[cfg(feature = "private-cookies")]
pub use self::source::PrivateCookies;
#[cfg(feature = "tower-sessions")]
pub use self::source::sessions;
pub use self::source::{SignIn, SourceError, SourceErrorKind, SubjectSource, TrustedHeader};
pub use self::state::{HasTokenState, TokenState};
pub use self::visitor::{CurrentSubject, Visitor};
