//! The inbound middleware: who the user is, for everything behind it.

mod future;
mod identify;
mod service;

use std::sync::Arc;

use tower_layer::Layer;

pub use self::future::ResponseFuture;
use self::identify::Settings;
pub use self::service::SessionTokenService;
use crate::sign_ins::SignIns;
use crate::source::SubjectSource;

/// Finds out who sent each request, once, and says it to everything behind it: a
/// [`Visitor`](crate::Visitor) in the request's extensions, which the extractors read.
///
/// It goes around the routes and inside of whatever the source needs, such as the layer of
/// the sessions:
///
/// ```
/// # #[cfg(feature = "tower-sessions")]
/// # fn f(origin: axum_token::PublicOrigin) {
/// use axum::{Router, routing::get};
/// use axum_token::{CurrentSubject, SessionTokenLayer, sessions};
/// use tower::ServiceBuilder;
/// use tower_sessions::MemoryStore;
///
/// async fn me(user: Option<CurrentSubject>) {}
///
/// # let _: Router<axum_token::TokenState> =
/// Router::new().route("/me", get(me)).layer(
///     ServiceBuilder::new()
///         .layer(sessions::layer(&origin, MemoryStore::default()))
///         .layer(SessionTokenLayer::new(sessions::Sessions)),
/// );
/// # }
/// ```
///
/// Where it cannot be known who the user is, requests go on as nobody's: only handlers that
/// ask who it is are refused. A temporary failure never ends a session.
///
/// It asks before it is known whether the handler will: the store of the sessions, where the
/// request has a session at all, and the stamp. Routes that never ask who it is, such as those
/// of images, do without if they are added after the layer.
#[derive(Debug, Clone)]
pub struct SessionTokenLayer<Q> {
    settings: Settings<Q>,
}

impl<Q: SubjectSource> SessionTokenLayer<Q> {
    /// Asks `source`. Sessions are kept whatever happens to their user's grants.
    pub fn new(source: Q) -> Self {
        Self {
            settings: Settings {
                source,
                sign_ins: None,
                end_on_reauth: Vec::new(),
                scoped: false,
            },
        }
    }

    /// Lets users sign out everywhere: a session whose stamp is an old one, or that has none,
    /// is ended, and its request is nobody's.
    ///
    /// The source has to keep stamps, see [`SignIn::with_stamp`](crate::SignIn::with_stamp).
    /// With one that does not, such as [`TrustedHeader`](crate::TrustedHeader), everybody
    /// whom it names is refused with a 500, and the log says why.
    #[must_use]
    pub fn sign_ins(mut self, sign_ins: &SignIns) -> Self {
        self.settings.sign_ins = Some(sign_ins.clone());
        self
    }

    /// Ends the session of a user whose request was refused because their grant at `provider`
    /// can no longer be refreshed. By default it is kept: they are who they are, and only have
    /// to connect again. For services where the grant at that provider *is* the sign-in; other
    /// grants end without the session, unless this is called for them, too.
    ///
    /// What counts is the answer: the rejection of a [`ValidToken`](crate::ValidToken) or of
    /// [`Tokens`](crate::Tokens), answered as it is. A handler that takes an
    /// `Option<ValidToken>`, or catches the rejection, has dealt with it, and the session goes
    /// on; so it does with an error that the handler had from the manager itself, which does
    /// not say whose grant it is about.
    #[must_use]
    pub fn end_session_on_needs_reauth(mut self, provider: impl Into<Arc<str>>) -> Self {
        self.settings.end_on_reauth.push(provider.into());
        self
    }

    /// Runs handlers in the scope of their user, for clients with a
    /// [`CurrentUserLayer`](crate::CurrentUserLayer). See there for where a scope ends.
    #[must_use]
    pub fn task_local_scope(mut self) -> Self {
        self.settings.scoped = true;
        self
    }
}

impl<S, Q: Clone> Layer<S> for SessionTokenLayer<Q> {
    type Service = SessionTokenService<S, Q>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionTokenService {
            inner,
            settings: self.settings.clone(),
        }
    }
}
