//! Who a request is from, once that is known.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::HeaderName;
use http::request::Parts;
use tower_token::{Error, GrantKey, Secret};

use crate::rejection::reader::Reader;
use crate::rejection::{LoginReason, Misconfigured, TokenRejection};
use crate::scope;
use crate::sign_ins::SignIns;
use crate::source::{SignIn, SourceError};
use crate::state::HasTokenState;

/// What [`SessionTokenLayer`](crate::SessionTokenLayer) found, in the extensions of every
/// request that went through it.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub enum Visitor {
    /// This user.
    SignedIn(CurrentSubject),
    /// Nobody is signed in.
    Anonymous,
    /// It is not known. Not the same as nobody: it may be somebody.
    Unknown(SourceError),
}

/// The signed-in user, as an argument of a handler, or an `Option` of it.
///
/// Without one a handler that asks for it is not run: see
/// [`TokenRejection`](crate::TokenRejection). `Debug` hides the id, which is personal data.
///
/// ```
/// use axum_token::CurrentSubject;
///
/// async fn greet(user: Option<CurrentSubject>) -> String {
///     match user {
///         Some(user) => format!("Hello, {}!", user.as_str()),
///         None => "Hello!".into(),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct CurrentSubject(Arc<Inner>);

struct Inner {
    subject: Box<str>,
    /// What keeps them signed in, where somebody can sign out everywhere.
    admission: Option<(SignIns, Secret)>,
}

impl CurrentSubject {
    pub(crate) fn new(who: SignIn, sign_ins: Option<SignIns>) -> Self {
        Self(Arc::new(Inner {
            subject: who.subject,
            admission: sign_ins.zip(who.stamp),
        }))
    }

    /// Your id of the user.
    pub fn as_str(&self) -> &str {
        &self.0.subject
    }

    /// The user's grant at a provider.
    pub fn grant_key(&self, provider: &str) -> GrantKey {
        GrantKey::new(provider, self.as_str())
    }

    /// Whether the user still is signed in, for what outlives its request, such as a
    /// WebSocket, or connects a grant: no, after they signed out everywhere. Without
    /// [`SignIns`](crate::SignIns) nobody can know, and it is always yes.
    ///
    /// Only their stamp is asked. A session that was signed out by itself, or has expired, is
    /// not seen by this: what it opened goes on until the user signs out everywhere. Where
    /// that matters, bound how long such a handler runs, and have the page come again.
    pub async fn is_signed_in(&self) -> Result<bool, Error> {
        match &self.0.admission {
            Some((sign_ins, stamp)) => sign_ins.admits(self.as_str(), stamp).await,
            None => Ok(true),
        }
    }

    /// The user in whose scope this runs: see
    /// [`SessionTokenLayer::task_local_scope`](crate::SessionTokenLayer::task_local_scope).
    pub fn in_scope() -> Option<Self> {
        scope::current()
    }

    /// Runs `work` in the scope of this user. A spawned task has none unless it is given one
    /// by this.
    ///
    /// ```
    /// # async fn f(user: axum_token::CurrentSubject) {
    /// tokio::spawn(user.scope(async { /* outbound calls are this user's */ }));
    /// # }
    /// ```
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        scope::run(Some(self), work)
    }
}

/// The headers that said it, in the extensions of a request where there are any.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "proxy"),
    expect(dead_code, reason = "the proxy keeps them here")
)]
pub(crate) struct Believed(pub(crate) Arc<[HeaderName]>);

impl Visitor {
    /// Who it is, or nobody, or why that is not known.
    pub(crate) fn of(parts: &Parts) -> Result<Option<CurrentSubject>, TokenRejection> {
        match parts.extensions.get::<Self>() {
            Some(Self::SignedIn(subject)) => Ok(Some(subject.clone())),
            Some(Self::Anonymous) => Ok(None),
            Some(Self::Unknown(error)) => Err(error.clone().into()),
            None => Err(Misconfigured::new(
                "it was not looked who the user is: add a SessionTokenLayer to the router, \
                 below its routes",
            )
            .into()),
        }
    }
}

impl<S: HasTokenState> FromRequestParts<S> for CurrentSubject {
    type Rejection = TokenRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, TokenRejection> {
        Visitor::of(parts)?.ok_or_else(|| {
            let reader = Reader::of(&parts.headers);
            let state = state.token_state();
            state.login(LoginReason::Anonymous, None, reader).into()
        })
    }
}

impl<S: HasTokenState> OptionalFromRequestParts<S> for CurrentSubject {
    type Rejection = TokenRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        _state: &S,
    ) -> Result<Option<Self>, TokenRejection> {
        Visitor::of(parts)
    }
}

impl fmt::Debug for CurrentSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentSubject").finish_non_exhaustive()
    }
}
