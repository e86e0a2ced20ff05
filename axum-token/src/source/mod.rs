//! Who the user is: a question to the request.

mod header;
#[cfg(feature = "private-cookies")]
mod private_cookies;
#[cfg(feature = "tower-sessions")]
pub mod sessions;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;

use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tower_token::Secret;

pub use self::header::TrustedHeader;
#[cfg(feature = "private-cookies")]
pub use self::private_cookies::PrivateCookies;
use crate::rejection::{Forbidden, Misconfigured, TemporarilyUnavailable, TokenRejection};

/// Says who sent a request. [`SessionTokenLayer`](crate::SessionTokenLayer) asks it, once a
/// request.
///
/// There are three: [`sessions::Sessions`](crate::sessions::Sessions) (feature
/// `tower-sessions`), [`PrivateCookies`](crate::PrivateCookies) (feature `private-cookies`),
/// and [`TrustedHeader`]. One of your own:
///
/// ```
/// use axum_token::{SignIn, SourceError, SubjectSource};
/// use http::request::Parts;
///
/// /// The user whom an authentication layer outside of ours has found.
/// #[derive(Clone)]
/// struct Authenticated(String);
///
/// #[derive(Clone)]
/// struct Found;
///
/// impl SubjectSource for Found {
///     async fn subject(&self, request: &Parts) -> Result<Option<SignIn>, SourceError> {
///         let found = request.extensions.get::<Authenticated>();
///         Ok(found.map(|user| SignIn::new(user.0.as_str())))
///     }
/// }
/// ```
///
/// Beside [`SignIns`](crate::SignIns) a source also keeps the stamp of a sign-in:
/// [`SignIn::stamp`], [`SignIn::with_stamp`]. [`TrustedHeader`] has none, and cannot be used
/// with them: sessions end where the proxy says so.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say who the user is",
    label = "this is no `SubjectSource`",
    note = "use `axum_token::sessions::Sessions` (feature `tower-sessions`), \
            `axum_token::PrivateCookies` (feature `private-cookies`) or \
            `axum_token::TrustedHeader`, or implement `SubjectSource`"
)]
pub trait SubjectSource: Clone + Send + Sync + 'static {
    /// Who is signed in, or nobody.
    ///
    /// An error is not nobody: handlers that ask for the user are not run, and no session
    /// ends.
    fn subject(
        &self,
        request: &Parts,
    ) -> impl Future<Output = Result<Option<SignIn>, SourceError>> + Send;

    /// The headers by which it knows who the user is, beside cookies: what goes on from here to
    /// somewhere else, as by `ProxyRoutes`, has none of them. By default there are none.
    fn headers(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// Signs `who` in, for whoever sent `request`, as `OAuthRoutes` do after a sign-in at a
    /// provider. Headers of the answer, such as a cookie, are added to `answer`.
    ///
    /// By default it is an error of the set-up: who the user is is then decided elsewhere.
    fn begin(
        &self,
        request: &Parts,
        answer: &mut HeaderMap,
        who: SignIn,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        let _ = (request, answer, who);
        async {
            Err(SourceError::misconfigured(
                "the source of users cannot sign anybody in: use sessions, or private cookies",
            ))
        }
    }

    /// Signs the sender of `request` out, if the source can. Headers of the answer, such as
    /// the removal of a cookie, are added to `answer`.
    ///
    /// By default it does nothing: who the user is is then decided elsewhere.
    fn end(
        &self,
        request: &Parts,
        answer: &mut HeaderMap,
    ) -> impl Future<Output = Result<(), SourceError>> + Send {
        let _ = (request, answer);
        async { Ok(()) }
    }
}

/// Who signs in: your id of the user, and the stamp of
/// [`SignIns`](crate::SignIns::admit) where those are used.
///
/// `Debug` hides both.
#[derive(Clone)]
pub struct SignIn {
    pub(crate) subject: Box<str>,
    pub(crate) stamp: Option<Secret>,
    /// Whether its source knows of stamps, with or without one here.
    pub(crate) keeps_stamps: bool,
}

impl SignIn {
    /// This user. The subject has 1 to 1,024 bytes; another is refused where it is used.
    pub fn new(subject: impl Into<Box<str>>) -> Self {
        Self {
            subject: subject.into(),
            stamp: None,
            keeps_stamps: false,
        }
    }

    /// With the stamp that a source has kept of it: see [`stamp`](Self::stamp). `None` says
    /// that this session has none, such as one from before there were stamps: where
    /// [`SignIns`](crate::SignIns) are used it is over.
    ///
    /// A source that never calls this keeps no stamps. Beside `SignIns` that is a mistake of
    /// the set-up, as it could never let anybody in: a 500, and not a 401.
    #[must_use]
    pub fn with_stamp(mut self, stamp: Option<Secret>) -> Self {
        self.stamp = stamp;
        self.keeps_stamps = true;
        self
    }

    /// The stamp of [`SignIns::admit`](crate::SignIns::admit), for a source of your own: kept
    /// where nobody but the service can read and write it, and given back by
    /// [`with_stamp`](Self::with_stamp) on each request. It is a secret: whoever could write
    /// it beside a subject would be that user.
    pub fn stamp(&self) -> Option<&Secret> {
        self.stamp.as_ref()
    }

    /// Your id of the user.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    #[cfg(feature = "oauth")]
    pub(crate) fn checked(self) -> Result<Self, SourceError> {
        self.check().map(|()| self)
    }

    /// An empty subject would put everyone without one under the same grants.
    pub(crate) fn check(&self) -> Result<(), SourceError> {
        if self.subject.is_empty() || self.subject.len() > 1_024 {
            return Err(SourceError::misconfigured(
                "a subject has 1 to 1024 bytes: nobody is signed in under another",
            ));
        }
        Ok(())
    }
}

impl From<&str> for SignIn {
    fn from(subject: &str) -> Self {
        Self::new(subject)
    }
}

impl From<String> for SignIn {
    fn from(subject: String) -> Self {
        Self::new(subject)
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").finish_non_exhaustive()
    }
}

/// Why it is not known who the user is.
#[derive(Debug, Clone)]
pub struct SourceError {
    kind: SourceErrorKind,
    message: Cow<'static, str>,
}

/// What to do about a [`SourceError`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// Try again: the store of the sessions cannot be reached.
    Unavailable,
    /// Nothing: the request claims an identity in a way that is not accepted.
    Refused,
    /// Have somebody look at the set-up.
    Misconfigured,
}

impl SourceError {
    /// It cannot be known now. Answered with 503.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(SourceErrorKind::Unavailable, message)
    }

    /// The request claims an identity in a way that is not accepted. Answered with 403.
    pub fn refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(SourceErrorKind::Refused, message)
    }

    /// It cannot be known as the service is set up. Answered with 500.
    pub fn misconfigured(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(SourceErrorKind::Misconfigured, message)
    }

    fn new(kind: SourceErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    /// What to do about it.
    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SourceError {}

impl From<SourceError> for TokenRejection {
    fn from(error: SourceError) -> Self {
        match error.kind {
            SourceErrorKind::Unavailable => TemporarilyUnavailable::new(None).into(),
            SourceErrorKind::Refused => {
                let detail = "who the user is was not said in a way that is accepted here";
                Forbidden::new("identity_refused", detail).into()
            }
            SourceErrorKind::Misconfigured => Misconfigured::new(error.message.as_ref()).into(),
        }
    }
}
