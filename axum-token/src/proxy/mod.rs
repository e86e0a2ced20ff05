//! Pages that call APIs with their user's token, and never get it.

mod body;
mod forward;
mod hop_by_hop;
mod path;
mod refusal;
mod request;
mod response;
mod upstream;
mod user;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::any;
use axum_core::BoxError;
use axum_core::body::Body;
use axum_core::extract::FromRef;
use bytes::Bytes;
use http::HeaderName;
use tower_layer::Layer as _;
use tower_service::Service;
use tower_token::{ReplayBody, TokenLayer, TokenManager};

use self::forward::Forward;
pub use self::upstream::{InvalidUpstream, Upstream};
pub use self::user::UserRoutes;
use crate::layers::{NoStoreLayer, SameOriginLayer};
use crate::origin::PublicOrigin;
use crate::state::TokenState;

/// Routes by which a page calls APIs with the token of whoever is signed in, which it never gets
/// (feature `proxy`): the back end for a front end of a browser, or BFF.
///
/// | route | what happens |
/// |---|---|
/// | any method, `/{upstream}/{*path}?query` | the same request goes to that path below the [`Upstream`]'s base, with the user's token; a 401 is healed once; the answer streams back |
///
/// ```
/// # #[cfg(feature = "tower-sessions")]
/// # fn f(origin: axum_token::PublicOrigin, manager: tower_token::TokenManager)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, body::Body};
/// use axum_token::{ProxyRoutes, SessionTokenLayer, TokenState, Upstream, UserRoutes, sessions};
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceBuilder;
/// use tower_sessions::MemoryStore;
/// use tower_token::ReplayBody;
///
/// // In earnest over a connector with TLS. It follows no redirects by itself.
/// let client: Client<_, ReplayBody<Body>> =
///     Client::builder(TokioExecutor::new()).build_http();
/// let routes = ProxyRoutes::new(&manager, client).upstream(
///     Upstream::new("calendar", "google", "https://www.googleapis.com/calendar/v3/")
///         .path_prefix("/users/me"),
/// );
/// let app: Router = Router::new()
///     .nest("/api", routes.router(&origin)?)
///     .merge(UserRoutes::new().router())
///     .layer(
///         ServiceBuilder::new()
///             .layer(sessions::layer(&origin, MemoryStore::default()))
///             .layer(SessionTokenLayer::new(sessions::Sessions)),
///     )
///     .with_state(TokenState::new(&manager));
/// # Ok(()) }
/// ```
///
/// The page:
///
/// ```js
/// const url = "/api/calendar/users/me/calendarList";
/// const answer = await fetch(url, { headers: { "x-csrf": "1" } });
/// ```
///
/// # Who may call
///
/// Scripts of the service's own pages. Every request carries the header `x-csrf: 1`, also one
/// that only reads, and none shows that it comes from elsewhere, by the rules of
/// [`SameOriginLayer`]. No link, form, image, script, frame or worker sends that header: what an
/// API answers is data for a script, and is never opened as a page of the service's origin. Show
/// a picture by a `blob:` URL.
///
/// # The path
///
/// It goes on as it was written, and so does the query. A path that is read differently by some
/// is refused: dot segments, encoded slashes, backslashes, empty segments and such of a parameter
/// alone, control characters, characters that are folded into one of these (NFKC), what is not
/// UTF-8, and all of these encoded once or more often. So an id with a `/` in it cannot be called.
/// The origin of the URL is the base's, whatever `Host` or an absolute request target says.
///
/// # What does not go on
///
/// | of the request | why |
/// |---|---|
/// | `Connection` and all it names, `Keep-Alive`, `Proxy-*`, `TE`, `Trailer`, `Transfer-Encoding`, trailers | they are about one connection (RFC 9110 section 7.6.1) |
/// | `Cookie`, `Authorization`, `Origin`, `Referer`, `Host`, `Sec-*`, `x-csrf` | they are about the user and this service; the token takes their place |
/// | `Forwarded`, `X-Forwarded-*`, `X-Real-IP`, `Via`, what CDNs and proxies of sign-ins add; see [`strip_header`](Self::strip_header) | the network in front of this service is none of the API's business |
/// | `X-HTTP-Method-Override`, `X-Original-*`, `X-Rewrite-*` and their like; names with `_`, which many servers take for `-` | they would get around what was looked at |
/// | `Content-Length`, `Expect` | told anew, by what arrives |
///
/// Everything else does, `Accept-Encoding` included: bodies are not decoded.
///
/// Of an answer's headers only those pass that are about its content (`Content-*`, `ETag`, `Vary`
/// and so on), its pace (`Retry-After`, `RateLimit-*`) or its id, and those that are named by
/// [`Upstream::response_header`]: no `Set-Cookie`, `WWW-Authenticate`, `Clear-Site-Data`,
/// `Service-Worker-Allowed`, `Access-Control-*` or `X-Accel-Redirect` acts on the service's
/// origin. `Cache-Control: no-store`, `X-Content-Type-Options: nosniff`, `Cross-Origin-Resource-Policy:
/// same-origin` and a `Content-Security-Policy` with `sandbox` take their place. Trailers are
/// dropped: what is taken out of the head must not come at the end.
///
/// A redirect is not followed, as the token would go along, and is handed on without its
/// `Location`.
///
/// # Bodies
///
/// Both stream, at the pace of whoever receives, and neither has a limit unless
/// [`Upstream::max_body`] sets one: axum's `DefaultBodyLimit` is for extractors. After a 401 an
/// upload is sent again if no more of it had gone by than [`replay_limit`](Self::replay_limit);
/// else the page is told `upstream_refused`, and may send it again itself.
///
/// A page that goes away takes its call of the API along. An answer that is on its way when the
/// user signs out comes to its end. A connection to an API that reads nothing more stays until
/// the API ends it: where an API may hang, let the connector give up (hyper-util's, on Linux, by
/// `set_tcp_user_timeout`).
///
/// # What is answered in place of the API
///
/// Problem documents (RFC 9457):
///
/// | status | `code` |
/// |---|---|
/// | 400 | `invalid_path`, `invalid_length`, `not_received` |
/// | 401 | `login_required`, `not_connected`, `needs_reauth`, `user_action`: with `provider`, and with `page`, where to do it, if the [`TokenState`] knows |
/// | 403 | `cross_site`, `csrf_header_missing`, `path_not_allowed` |
/// | 405 | `method_not_allowed` |
/// | 413, 414 | `too_large`, `uri_too_long`: 8 KiB |
/// | 500 | `internal`, such as a base that the provider does not allow: the log says it |
/// | 501 | `upgrade_not_supported`: WebSockets, and any other `Upgrade` |
/// | 502 | `upstream_unreachable`, `upstream_refused` |
/// | 503 | `temporarily_unavailable`, with `Retry-After`: the token service or the store |
/// | 504 | `upstream_timeout` |
///
/// An API's own 401, after the one that was healed, is a 502 `upstream_refused`, and so are its
/// 407 and 421, which are about this service. Here a 401 says that the user can do something
/// about it, by signing in or connecting, as where the token cannot be renewed; about a fresh
/// token that an API refuses they cannot, and a page that sent them to sign in would do so for
/// ever. Every other status of an API, 403 and 5xx included, is its own.
///
/// # What it does not do
///
/// It looks into no body and no query. An API that echoes what it is sent, token included, shows
/// it to the page. One that takes a method from there, such as `_method=DELETE`, or several calls
/// in one body, as by a path for batches, is not held to [`Upstream::methods`]: keep pages from
/// such paths. And a script that got into a page can call what the page can, as its user, while
/// it runs there: `methods` and [`Upstream::path_prefix`] say what that is.
#[derive(Clone)]
pub struct ProxyRoutes<C> {
    manager: TokenManager,
    client: C,
    replay_limit: usize,
    upstreams: Vec<Upstream>,
    stripped: Vec<HeaderName>,
}

impl<C> ProxyRoutes<C> {
    /// Calls APIs by `client`, with tokens of `manager`. The client is any Tower service over
    /// `http`'s types that streams bodies, such as hyper-util's, without a [`TokenLayer`] of its
    /// own. It must not follow redirects, nor keep cookies, which would be all users'.
    pub fn new(manager: &TokenManager, client: C) -> Self {
        Self {
            manager: manager.clone(),
            client,
            replay_limit: 64 << 10,
            upstreams: Vec::new(),
            stripped: Vec::new(),
        }
    }

    /// One more API.
    #[must_use]
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstreams.push(upstream);
        self
    }

    /// How much of an upload is kept, in case it has to be sent again: 64 KiB by default. See
    /// [`TokenLayer::buffered`].
    #[must_use]
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = bytes;
        self
    }

    /// One more header of requests that does not go on. Those by which a
    /// [`SubjectSource`](crate::SubjectSource) knows who the user is, such as
    /// [`TrustedHeader`](crate::TrustedHeader), never do.
    #[must_use]
    pub fn strip_header(mut self, name: HeaderName) -> Self {
        self.stripped.push(name);
        self
    }
}

impl<C, B> ProxyRoutes<C>
where
    C: Service<http::Request<ReplayBody<Body>>, Response = http::Response<B>>
        + Clone
        + Send
        + Sync
        + 'static,
    C::Future: Send,
    C::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    /// The routes, for pages of `origin`, or what is wrong with an upstream.
    pub fn router<S>(self, origin: &PublicOrigin) -> Result<Router<S>, InvalidUpstream>
    where
        S: Clone + Send + Sync + 'static,
        TokenState: FromRef<S>,
    {
        let client = TokenLayer::new(&self.manager)
            .buffered(self.replay_limit)
            .layer(self.client);
        let stripped: Arc<[HeaderName]> = self.stripped.into();
        let mut names = HashSet::new();
        let mut router = Router::new();
        for upstream in self.upstreams {
            let upstream = upstream.checked()?;
            if !names.insert(Arc::clone(&upstream.name)) {
                return Err(upstream.invalid("another one has its name"));
            }
            let mut providers = self.manager.providers();
            if !providers.any(|name| *name == *upstream.provider) {
                return Err(upstream.invalid("the manager has no such provider"));
            }
            let name = Arc::clone(&upstream.name);
            let forward = Arc::new(Forward {
                upstream,
                client: client.clone(),
                manager: self.manager.clone(),
                stripped: Arc::clone(&stripped),
            });
            let route = any(
                async move |State(state): State<TokenState>, request: Request| {
                    forward.serve(&state, request).await
                },
            );
            router = router
                .route(&format!("/{name}/"), route.clone())
                .route(&format!("/{name}/{{*path}}"), route);
        }
        Ok(router
            .layer(SameOriginLayer::new(origin).and_reads())
            .layer(NoStoreLayer))
    }
}

impl<C> fmt::Debug for ProxyRoutes<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyRoutes")
            .field("upstreams", &self.upstreams)
            .field("replay_limit", &self.replay_limit)
            .finish_non_exhaustive()
    }
}
