//! Users who sign in, or connect accounts, by OAuth 2.0 and OpenID Connect.

mod account;
mod authorization_request;
mod backchannel_logout;
mod begin;
mod callback;
mod connect_provider;
mod failure;
mod flow;
mod leave;
mod next;
mod openid;
mod parameters;
mod routes;
mod sealed_cookies;
mod spent;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum_core::extract::FromRef;
use axum_core::response::Response;
use axum_extra::extract::cookie::Key;
use tower_token::{Clock, SystemClock};

pub use self::account::Account;
pub use self::connect_provider::ConnectProvider;
pub use self::failure::{ConnectFailure, ConnectFailureKind};
use self::next::safe_next;
pub use self::openid::{Identity, OpenId, OpenIdError, OpenIdErrorKind};
use self::routes::{FailurePage, OnSignIn, Routes, Shared, SubjectOf};
use self::sealed_cookies::SealedCookies;
use self::spent::Spent;
use crate::layers::{NoStoreLayer, SameOriginLayer};
use crate::origin::PublicOrigin;
use crate::sign_ins::SignIns;
use crate::source::{SourceError, SubjectSource};
use crate::state::TokenState;

/// Routes for people who sign in, or connect accounts, by OAuth (feature `oauth`): the
/// authorization code grant with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 9700). For each
/// provider, below a path of yours such as `/auth`:
///
/// | route | what it does |
/// |---|---|
/// | `GET /auth/{provider}?next=/path` | sends the browser to the provider. Whoever is signed in connects it, or connects it again; somebody else signs in by it, if it [`signs_in`](ConnectProvider::signs_in) |
/// | `GET /auth/{provider}/callback` | the redirect URI to register at the provider: gets the tokens, checks the id token, and goes on at `next` |
/// | `DELETE /auth/{provider}` | 204, disconnected; the provider is told behind |
/// | `POST /auth/{provider}/logout` | 200 `{"location": "/path"}`: signed out here; the page goes there, and from there to the provider's own logout, if it has one. `?everywhere=true` ends all of the user's sessions |
/// | `POST /auth/{provider}/backchannel-logout` | for the provider: signs a user out everywhere, and disconnects |
///
/// What a page asks for by `DELETE` or `POST` needs `x-csrf: 1`, as [`SameOriginLayer`] says, which is in the
/// routes; a [`SessionTokenLayer`](crate::SessionTokenLayer) goes around them. They are merged
/// into a router and not nested: a redirect URI is registered to the letter, so the whole path is
/// said here.
///
/// ```
/// # #[cfg(feature = "tower-sessions")]
/// # async fn f(origin: axum_token::PublicOrigin, key: axum_extra::extract::cookie::Key)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use axum::Router;
/// use axum_token::*;
/// use tower::ServiceBuilder;
/// use tower_sessions::MemoryStore as MemorySessions;
/// use tower_token::{KeyRing, MemoryStore, SealedStore, TokenManager};
///
/// let openid = OpenId::discover("https://accounts.example.com").await?;
/// let provider = openid.provider("example").client_secret_basic("client-id", "client-secret");
/// let example = ConnectProvider::openid(&openid, provider.code_exchange()?)
///     .scope("offline_access")
///     .signs_in();
///
/// let manager = TokenManager::builder()
///     .store(SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?)
///     .provider(provider.allow_origin("https://api.example.com"))
///     .provider(SignIns::provider())
///     .build()
///     .await?;
/// let sign_ins = SignIns::new(&manager);
///
/// let routes = OAuthRoutes::new(&origin, "/auth", key, sessions::Sessions)
///     .sign_ins(&sign_ins)
///     .provider(example);
/// let app: Router = Router::new()
///     .merge(routes.router()?)
///     .layer(
///         ServiceBuilder::new()
///             .layer(sessions::layer(&origin, MemorySessions::default()))
///             .layer(SessionTokenLayer::new(sessions::Sessions).sign_ins(&sign_ins)),
///     )
///     .with_state(TokenState::new(&manager).login_at("/auth/example".parse()?));
/// # Ok(()) }
/// ```
///
/// # What is checked
///
/// * Each flow is in a cookie of its own, sealed by `key`, for ten minutes, and goes with its
///   first callback: several tabs do not mind each other. `state` and `nonce` have 256 bits; a
///   `state` that came back once is refused, also with a copy of the cookie. A process remembers
///   50,000 of them at least; behind that, and behind other instances, stands the provider, which
///   takes a code once.
/// * `iss`, if the answer names one, and always where the provider says that it sends it
///   (RFC 9207); each provider has a redirect URI of its own.
/// * The id token: its signature by the provider's keys, issuer, audience, times, `nonce`.
/// * `next` is a path of this origin; anything else is refused before the provider is asked.
/// * Who connects is still the one who began it. An account of a provider that
///   [`signs_in`](ConnectProvider::signs_in) is connected to its own user alone.
///
/// * Who is signed in is not sent to connect an account by another site's page, as the account
///   could be of whoever wrote that: they see whose doing it is, and go on by a click. Providers
///   that sign users in say themselves whose account it is.
///
/// Whatever is refused leaves the store and the session as they were. Tokens that had come by
/// then are revoked if it is known whose they are, and that user has none there that live, which
/// some providers would end as well; otherwise they end by themselves. Only a failure of the
/// store, or of the session itself, may leave tokens that came. Who leaves everywhere before they
/// are back keeps no grant by it. An answer without a refresh token never takes the place of a
/// grant of the same account that has one.
///
/// # Logging out
///
/// `POST ../logout` ends the session, and `?everywhere=true` all of them; the grant stays, unless
/// the provider [`disconnects_at_logout`](ConnectProvider::disconnects_at_logout). From
/// `location` the browser is sent to the provider's `end_session_endpoint` (OpenID Connect
/// RP-Initiated Logout 1.0), past the page, as the id token goes with it: one of up to 2,400
/// bytes does.
///
/// A logout token of the provider (Back-Channel Logout 1.0) ends all of the user's sessions and
/// the grant. It has to name the user: one with nothing but `sid` is refused. Each is good once
/// within a process, for at most five minutes; another instance, or one that was started anew,
/// takes it once more, which signs out whoever has signed in again meanwhile.
#[derive(Clone)]
pub struct OAuthRoutes<Q> {
    origin: PublicOrigin,
    base: String,
    key: Key,
    source: Q,
    sign_ins: Option<SignIns>,
    subject_of: Arc<SubjectOf>,
    on_sign_in: Option<Arc<OnSignIn>>,
    failure_page: Option<Arc<FailurePage>>,
    after_logout: String,
    clock: Arc<dyn Clock>,
    providers: Vec<ConnectProvider>,
}

/// Why there are no [`OAuthRoutes`], and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOAuthRoutes {
    message: String,
}

/// Five minutes of 160 callbacks a second at least. Under more, a copy of a cookie whose `state`
/// came back is refused by the provider alone, which takes a code once.
const MOST_STATES: usize = 100_000;
/// Five minutes of 160 logouts a second at least.
const MOST_LOGOUT_TOKENS: usize = 100_000;
/// A logout token, in a form.
const MAX_FORM: usize = 128 << 10;

impl<Q: SubjectSource> OAuthRoutes<Q> {
    /// Routes below `base`, a path such as `/auth`, for pages of `origin`. `source` is where
    /// users are signed in; all instances of a service share `key`.
    pub fn new(origin: &PublicOrigin, base: impl Into<String>, key: Key, source: Q) -> Self {
        Self {
            origin: origin.clone(),
            base: base.into(),
            key,
            source,
            sign_ins: None,
            subject_of: Arc::new(|account| account.to_string()),
            on_sign_in: None,
            failure_page: None,
            after_logout: "/".into(),
            clock: Arc::new(SystemClock::new()),
            providers: Vec::new(),
        }
    }

    /// One more provider.
    #[must_use]
    pub fn provider(mut self, provider: ConnectProvider) -> Self {
        self.providers.push(provider);
        self
    }

    /// What sessions begin with, and end everywhere by: the same as in the
    /// [`SessionTokenLayer`](crate::SessionTokenLayer). Providers that
    /// [`signs_in`](ConnectProvider::signs_in) need it.
    #[must_use]
    pub fn sign_ins(mut self, sign_ins: &SignIns) -> Self {
        self.sign_ins = Some(sign_ins.clone());
        self
    }

    /// Your id of whoever signs in by an account. By default it is `provider|sub`. The same
    /// account has to be the same user always: a logout token is read by this, too.
    #[must_use]
    pub fn subject(
        mut self,
        of_account: impl Fn(&Account<'_>) -> String + Send + Sync + 'static,
    ) -> Self {
        self.subject_of = Arc::new(of_account);
        self
    }

    /// Told who signs in before they are: your id of them, and what the id token says. For what
    /// the service keeps of its users, such as a name. An error keeps them out, and is answered
    /// as any of the kind: see [`SourceError`].
    ///
    /// ```
    /// # use axum_token::{OAuthRoutes, SourceError, sessions::Sessions};
    /// # async fn save(_: &str, _: Option<&str>) -> Result<(), ()> { Ok(()) }
    /// # fn f(routes: OAuthRoutes<Sessions>) -> OAuthRoutes<Sessions> {
    /// routes.on_sign_in(async |user, identity| {
    ///     let name = identity.claim("name").and_then(|name| name.as_str());
    ///     let saved = save(&user, name).await;
    ///     saved.map_err(|_| SourceError::unavailable("the users cannot be written"))
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn on_sign_in<F>(
        mut self,
        told: impl Fn(String, Identity) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), SourceError>> + Send + 'static,
    {
        let told = Arc::new(told);
        self.on_sign_in = Some(Arc::new(move |user, identity| {
            Box::pin(told(user, identity))
        }));
        self
    }

    /// A page of your own for people for whom it did not work. Programs get a problem document.
    #[must_use]
    pub fn failure_page(
        mut self,
        page: impl Fn(&ConnectFailure) -> Response + Send + Sync + 'static,
    ) -> Self {
        self.failure_page = Some(Arc::new(page));
        self
    }

    /// The path of the page for who has signed out: `/` by default. With RP-initiated logout its
    /// URL is the `post_logout_redirect_uri` to register at the provider.
    #[must_use]
    pub fn after_logout(mut self, path: impl Into<String>) -> Self {
        self.after_logout = path.into();
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The routes.
    pub fn router<S>(self) -> Result<Router<S>, InvalidOAuthRoutes>
    where
        S: Clone + Send + Sync + 'static,
        TokenState: FromRef<S>,
    {
        self.check()?;
        let shared = Arc::new(Shared {
            cookies: SealedCookies::new(self.key, &self.origin),
            source: self.source,
            sign_ins: self.sign_ins,
            base: self.base,
            subject_of: self.subject_of,
            on_sign_in: self.on_sign_in,
            failure_page: self.failure_page,
            after_logout: self.after_logout,
            clock: self.clock,
            states: Spent::new(MOST_STATES),
            logout_tokens: Spent::new(MOST_LOGOUT_TOKENS),
            origin: self.origin,
        });
        let mut router = Router::new();
        for provider in self.providers {
            let shared = Arc::clone(&shared);
            router = router.merge(routes_of(Routes { shared, provider }));
        }
        Ok(router.layer(NoStoreLayer))
    }

    fn check(&self) -> Result<(), InvalidOAuthRoutes> {
        let invalid = |message: String| Err(InvalidOAuthRoutes { message });
        let base = &self.base;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
        if safe_next(Some(base)) != Some(base) || base.ends_with('/') || !base.bytes().all(is_plain)
        {
            return invalid("the routes begin at a path such as \"/auth\"".into());
        }
        if safe_next(Some(&self.after_logout)) != Some(&self.after_logout) {
            return invalid("after_logout takes a path of this service".into());
        }
        for (at, provider) in self.providers.iter().enumerate() {
            let name = provider.name();
            if let Some(problem) = provider.problem() {
                return invalid(format!("provider {name:?}: {problem}"));
            }
            if self
                .providers
                .iter()
                .skip(at + 1)
                .any(|other| other.name() == name)
            {
                return invalid(format!("provider {name:?} is given twice"));
            }
            if provider.signs_in && self.sign_ins.is_none() {
                return invalid(format!(
                    "provider {name:?}: add .sign_ins(&sign_ins), which its users' sessions begin \
                     and end by"
                ));
            }
        }
        Ok(())
    }
}

fn routes_of<S, Q>(routes: Routes<Q>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    TokenState: FromRef<S>,
    Q: SubjectSource,
{
    let path = routes.path();
    let routes = Arc::new(routes);
    let begin = Arc::clone(&routes);
    let callback = Arc::clone(&routes);
    let disconnect = Arc::clone(&routes);
    let logout = Arc::clone(&routes);
    let end_session = Arc::clone(&routes);
    let from_pages = Router::new()
        .route(
            &path,
            get(async move |user, state, request| begin.begin(user, state, request).await)
                .delete(async move |user, state| disconnect.disconnect(user, state).await),
        )
        .route(
            &format!("{path}/logout"),
            post(async move |user, state, request| logout.logout(user, state, request).await),
        )
        .layer(SameOriginLayer::new(&routes.shared.origin));
    let mut router = from_pages
        .route(
            &format!("{path}/callback"),
            get(async move |user, state, request| callback.callback(user, state, request).await),
        )
        .route(
            &format!("{path}/end-session"),
            get(async move |request| end_session.end_session(request).await),
        );
    if routes.provider.signs_in {
        // From the provider and no page: the token says who it is.
        let from_provider = post(async move |state, headers, body| {
            routes.backchannel_logout(state, headers, body).await
        });
        let from_provider = from_provider.layer(DefaultBodyLimit::max(MAX_FORM));
        router = router.route(&format!("{path}/backchannel-logout"), from_provider);
    }
    router
}

impl<Q> fmt::Debug for OAuthRoutes<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthRoutes")
            .field("base", &self.base)
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidOAuthRoutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the OAuth routes are set up wrongly: {}", self.message)
    }
}

impl std::error::Error for InvalidOAuthRoutes {}
