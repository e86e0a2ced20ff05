//! What extractors need of the application's state.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum_core::extract::FromRef;
use http::Uri;
use tower_token::TokenManager;

use crate::rejection::reader::Reader;
use crate::rejection::{LoginReason, LoginRequired};

/// The manager, and where people are sent who have to do something first. Cheap to clone.
///
/// It is the state of a router, or a part of it by [`FromRef`].
///
/// ```
/// use axum_core::extract::FromRef;
/// use axum_token::TokenState;
/// use http::Uri;
/// use tower_token::TokenManager;
///
/// #[derive(Clone)]
/// struct AppState {
///     tokens: TokenState,
/// }
///
/// impl FromRef<AppState> for TokenState {
///     fn from_ref(app: &AppState) -> Self {
///         app.tokens.clone()
///     }
/// }
///
/// fn state(manager: &TokenManager) -> AppState {
///     let tokens = TokenState::new(manager)
///         .login_at(Uri::from_static("/login"))
///         .connect_at("google", Uri::from_static("/connect/google"));
///     AppState { tokens }
/// }
/// ```
#[derive(Clone)]
pub struct TokenState(Arc<Settings>);

#[derive(Clone)]
struct Settings {
    manager: TokenManager,
    login: Option<Uri>,
    connect: HashMap<Arc<str>, Uri>,
    min_validity: Duration,
}

impl TokenState {
    /// Tokens of `manager`. Everyone who has to do something first gets a 401.
    pub fn new(manager: &TokenManager) -> Self {
        Self(Arc::new(Settings {
            manager: manager.clone(),
            login: None,
            connect: HashMap::new(),
            min_validity: Duration::ZERO,
        }))
    }

    /// Sends people who are not signed in to this page of yours; also those who have to
    /// connect a provider that has no page of its own.
    #[must_use]
    pub fn login_at(mut self, page: Uri) -> Self {
        Arc::make_mut(&mut self.0).login = Some(page);
        self
    }

    /// Sends people who have to connect `provider` to this page of yours.
    #[must_use]
    pub fn connect_at(mut self, provider: impl Into<Arc<str>>, page: Uri) -> Self {
        let settings = Arc::make_mut(&mut self.0);
        settings.connect.insert(provider.into(), page);
        self
    }

    /// How long the tokens that handlers get stay valid at least: zero by default. Where
    /// handlers call slow APIs, a minute.
    #[must_use]
    pub fn min_validity(mut self, span: Duration) -> Self {
        Arc::make_mut(&mut self.0).min_validity = span;
        self
    }

    /// The manager.
    pub fn manager(&self) -> &TokenManager {
        &self.0.manager
    }

    #[cfg(feature = "proxy")]
    pub(crate) fn connect_page(&self, provider: &str) -> Option<&Uri> {
        self.0.connect.get(provider)
    }

    /// Those that have a page where they are connected.
    #[cfg(feature = "proxy")]
    pub(crate) fn connect_providers(&self) -> impl Iterator<Item = &str> {
        self.0.connect.keys().map(|name| &**name)
    }

    pub(crate) fn validity(&self) -> Duration {
        self.0.min_validity
    }

    /// The refusal of somebody who has to do something first.
    pub(crate) fn login(
        &self,
        reason: LoginReason,
        provider: Option<&str>,
        reader: Reader,
    ) -> LoginRequired {
        let connect = provider.and_then(|provider| self.0.connect.get(provider));
        let page = connect.or(self.0.login.as_ref());
        LoginRequired::new(reason, provider.map(Arc::from), page, reader)
    }
}

impl fmt::Debug for TokenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenState")
            .field("login", &self.0.login)
            .field("connect", &self.0.connect)
            .field("min_validity", &self.0.min_validity)
            .finish_non_exhaustive()
    }
}

/// A router's state that holds a [`TokenState`]: every state that `TokenState` implements
/// [`FromRef`] for. It is not implemented by hand.
#[diagnostic::on_unimplemented(
    message = "the router's state `{Self}` holds no `TokenState`",
    label = "an extractor of axum-token cannot find its manager in this state",
    note = "add a field `tokens: TokenState` to it, and \
            `impl FromRef<{Self}> for TokenState {{ fn from_ref(state: &{Self}) -> Self {{ \
            state.tokens.clone() }} }}`"
)]
pub trait HasTokenState: Send + Sync {
    /// The manager and its settings.
    fn token_state(&self) -> TokenState;
}

// So that the message above is shown, and not this implementation's bound.
#[diagnostic::do_not_recommend]
impl<S> HasTokenState for S
where
    S: Send + Sync,
    TokenState: FromRef<S>,
{
    fn token_state(&self) -> TokenState {
        TokenState::from_ref(self)
    }
}
