//! Users who connect accounts at Mesh.

mod access_tokens;
mod answer;
mod body;
mod connections;
mod id;
mod link_token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use axum_core::extract::FromRef;
use tower_token::{Grant, LinkTokenRequest, MeshLink};

use crate::layers::{NoStoreLayer, SameOriginLayer};
use crate::origin::PublicOrigin;
use crate::state::TokenState;
use crate::turns::Turns;

/// Routes for pages with Mesh's SDK (feature `mesh`), for whoever is signed in:
///
/// | route | answer |
/// |---|---|
/// | `POST /link-token` | 200 `{"linkToken": ".."}`, for `createLink` |
/// | `POST /connections`, the SDK's `LinkPayload`, perhaps with `receivedAt` | 201 `{"connections": [..]}`, those that it made or renewed |
/// | `GET /connections` | 200 `{"connections": [{"id", "brokerType", "brokerName", "state", "expiresAt", "refreshedAt", "accounts": [{"accountId", "accountName"}]}]}` |
/// | `POST /access-tokens` | 200 `{"accessTokens": [{"accountId", "accountName", "accessToken", "brokerType", "brokerName"}]}`, refreshed if near their expiry: what a returning user's `createLink` takes |
/// | `DELETE /connections/{id}` | 204, and Mesh is told behind |
///
/// `state` is `active` or `needs_reauth`; times are milliseconds since 1970; `receivedAt` is
/// when the page got the payload by its own clock, which can only make tokens older. A payload
/// is for the user who is signed in: one that names a user is refused. An id says
/// nothing.
///
/// A connection whose accounts are all connected anew gives way to the new one; a payload that
/// comes again changes nothing. `/access-tokens` adds `"incomplete": true` if the tokens of some
/// connection could not be had just now.
///
/// Only `/access-tokens` answers with tokens, and nothing with a refresh token. Refusals are
/// problem documents: 401 `login_required`, 403 `cross_site` and `csrf_header_missing`, 404
/// `unknown_connection`, 409 `too_many_connections`, 413 `too_large`, 415 `not_json`, 422
/// `invalid_payload`, 503 with `Retry-After`.
///
/// What changes something has to come from the service's own pages, and no answer is kept:
/// the layers for that are in the routes. A [`SessionTokenLayer`](crate::SessionTokenLayer)
/// goes around them.
///
/// ```
/// # #[cfg(feature = "tower-sessions")]
/// # fn f(origin: axum_token::PublicOrigin, manager: tower_token::TokenManager)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use axum::Router;
/// use axum_token::{MeshRoutes, SessionTokenLayer, TokenState, sessions};
/// use tower::ServiceBuilder;
/// use tower_sessions::MemoryStore;
/// use tower_token::Mesh;
///
/// // Also registered with the manager, by `.provider(mesh.clone())`.
/// let mesh = Mesh::new("mesh", "client-id", "client-secret");
/// let routes = MeshRoutes::new("mesh", mesh.link()?);
/// let app: Router = Router::new()
///     .nest("/mesh", routes.router(&origin))
///     .layer(
///         ServiceBuilder::new()
///             .layer(sessions::layer(&origin, MemoryStore::default()))
///             .layer(SessionTokenLayer::new(sessions::Sessions)),
///     )
///     .with_state(TokenState::new(&manager));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MeshRoutes {
    provider: Arc<str>,
    link: MeshLink,
    options: Vec<(String, String)>,
    min_validity: Duration,
    user_id: Option<Arc<UserId>>,
    turns: Arc<Turns>,
}

type UserId = dyn Fn(&str) -> String + Send + Sync;

/// A payload is a few kilobytes.
const MAX_BODY: usize = 256 << 10;

impl MeshRoutes {
    /// Routes over the provider that the manager calls `provider`.
    pub fn new(provider: impl Into<Arc<str>>, link: MeshLink) -> Self {
        Self {
            provider: provider.into(),
            link,
            options: Vec::new(),
            min_validity: Duration::from_secs(60),
            user_id: None,
            turns: Arc::new(Turns::new()),
        }
    }

    /// One of Mesh's own options of a link token by its name, in JSON.
    #[must_use]
    pub fn link_option(mut self, name: impl Into<String>, json: impl Into<String>) -> Self {
        self.options.push((name.into(), json.into()));
        self
    }

    /// What Mesh is told as the user's id: by default the subject. Mesh wants one that is no
    /// personal data, and has at most 300 characters: if your subjects are e-mail addresses, say
    /// here what else they are called.
    #[must_use]
    pub fn user_id(mut self, of_subject: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.user_id = Some(Arc::new(of_subject));
        self
    }

    /// How long the tokens of `/access-tokens` stay valid at least, if Mesh issues such: a
    /// minute by default.
    #[must_use]
    pub fn min_validity(mut self, span: Duration) -> Self {
        self.min_validity = span;
        self
    }

    /// The routes, for pages of `origin`.
    pub fn router<S>(self, origin: &PublicOrigin) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
        TokenState: FromRef<S>,
    {
        let routes = Arc::new(self);
        let link = Arc::clone(&routes);
        let connect = Arc::clone(&routes);
        let list = Arc::clone(&routes);
        let tokens = Arc::clone(&routes);
        Router::new()
            .route(
                "/link-token",
                post(async move |user, body| link.link_token(user, body).await),
            )
            .route(
                "/connections",
                get(async move |user, state| list.list(user, state).await).post(
                    async move |user, state, headers, body| {
                        connect.connect(user, state, headers, body).await
                    },
                ),
            )
            .route(
                "/connections/{id}",
                delete(async move |user, state, id| routes.disconnect(user, state, id).await),
            )
            .route(
                "/access-tokens",
                post(async move |user, state, body| tokens.access_tokens(user, state, body).await),
            )
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(SameOriginLayer::new(origin))
            .layer(NoStoreLayer)
    }

    fn link_request(&self, subject: &str) -> LinkTokenRequest {
        let user_id = match &self.user_id {
            Some(of_subject) => of_subject(subject),
            None => subject.to_owned(),
        };
        let request = LinkTokenRequest::new(user_id);
        self.options
            .iter()
            .fold(request, |request, (name, json)| request.option(name, json))
    }

    /// Of all of a user's grants those that these routes are about.
    fn is_ours(&self, grant: &Grant) -> bool {
        grant.key().provider() == &*self.provider && grant.key().connection().is_some()
    }
}

impl fmt::Debug for MeshRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshRoutes")
            .field("provider", &self.provider)
            .field("min_validity", &self.min_validity)
            .finish_non_exhaustive()
    }
}
