//! Why a handler does not run, and what is answered instead.

mod login;
pub(crate) mod problem;
pub(crate) mod reader;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum_core::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use tower_token::{Error, ErrorKind, Recovery};

pub use self::login::{LoginReason, LoginRequired};
use self::problem::Problem;
use self::reader::Reader;

/// Why there is no subject or no token for a handler. Each kind is a type of its own.
///
/// Handlers return it as it is, or look first:
///
/// ```
/// use axum_token::{LoginReason, TokenRejection, Tokens};
///
/// async fn greeting(tokens: Tokens) -> Result<String, TokenRejection> {
///     match tokens.valid("google").await {
///         Ok(_token) => Ok("your calendar: ..".into()),
///         Err(TokenRejection::LoginRequired(why))
///             if why.reason() == LoginReason::NotConnected =>
///         {
///             Ok("connect your calendar".into())
///         }
///         Err(other) => Err(other),
///     }
/// }
/// ```
#[non_exhaustive]
#[derive(Debug, Clone)]
pub enum TokenRejection {
    /// The user has to do something first: a redirect, or 401.
    LoginRequired(LoginRequired),
    /// It may work in a moment: 503 with `Retry-After`.
    TemporarilyUnavailable(TemporarilyUnavailable),
    /// Something is set up wrongly: 500.
    Misconfigured(Misconfigured),
    /// The request is not one that is served: 403.
    Forbidden(Forbidden),
}

/// The token service or a store cannot answer now: 503, and `Retry-After` in seconds.
///
/// Nobody's session or grant ends by this.
#[derive(Debug, Clone)]
pub struct TemporarilyUnavailable {
    retry_after: Duration,
}

/// Something is set up wrongly, or cannot be had at all: 500 without a word about it.
///
/// What it is stands in [`message`](Self::message), and, with the feature `tracing`, in the
/// log.
#[derive(Debug, Clone)]
pub struct Misconfigured {
    message: Arc<str>,
}

/// The request is refused for where or how it came: 403.
#[derive(Debug, Clone)]
pub struct Forbidden {
    code: &'static str,
    detail: &'static str,
}

/// What is said if nobody knows when to come back.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(5);

impl TemporarilyUnavailable {
    pub(crate) fn new(retry_after: Option<Duration>) -> Self {
        Self {
            retry_after: retry_after.unwrap_or(RETRY_AFTER_DEFAULT),
        }
    }

    /// When to try again.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl Misconfigured {
    pub(crate) fn new(message: impl Into<Arc<str>>) -> Self {
        let message = message.into();
        #[cfg(feature = "tracing")]
        tracing::error!(target: "axum_token", "{message}");
        Self { message }
    }

    /// Of what stands in the log already.
    pub(crate) fn unlogged(message: impl Into<Arc<str>>) -> Self {
        let message = message.into();
        Self { message }
    }

    /// What is wrong, for whoever runs the service.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Forbidden {
    pub(crate) fn new(code: &'static str, detail: &'static str) -> Self {
        Self { code, detail }
    }

    /// The `code` of the problem document: `cross_site`, `csrf_header_missing` or
    /// `identity_refused`.
    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl TokenRejection {
    /// What `error` means to somebody who asks for a page. `login` is made of the reason
    /// where the user can do something about it.
    pub(crate) fn new(error: &Error, login: impl FnOnce(LoginReason) -> LoginRequired) -> Self {
        match (error.recovery(), error.kind()) {
            (Recovery::Reauthenticate, kind) => Self::LoginRequired(login(match kind {
                ErrorKind::NotConnected => LoginReason::NotConnected,
                ErrorKind::UserAction => LoginReason::UserAction,
                _ => LoginReason::NeedsReauth,
            })),
            (Recovery::Retry { after }, _) => TemporarilyUnavailable::new(after).into(),
            // Another instance, or this one when it is back.
            (_, ErrorKind::ShutDown) => TemporarilyUnavailable::new(None).into(),
            _ => Misconfigured::new(error.to_string()).into(),
        }
    }
}

impl IntoResponse for TemporarilyUnavailable {
    fn into_response(self) -> Response {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        let mut response = problem.detail("try again in a moment").into_response();
        // Whole seconds, and never too early.
        let seconds = self.retry_after.as_millis().div_ceil(1_000).max(1);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }
}

impl IntoResponse for Misconfigured {
    fn into_response(self) -> Response {
        let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal");
        problem.into_response()
    }
}

impl IntoResponse for Forbidden {
    fn into_response(self) -> Response {
        let problem = Problem::new(StatusCode::FORBIDDEN, self.code);
        problem.detail(self.detail).into_response()
    }
}

impl IntoResponse for TokenRejection {
    fn into_response(self) -> Response {
        match self {
            Self::LoginRequired(rejection) => rejection.into_response(),
            Self::TemporarilyUnavailable(rejection) => rejection.into_response(),
            Self::Misconfigured(rejection) => rejection.into_response(),
            Self::Forbidden(rejection) => rejection.into_response(),
        }
    }
}

impl fmt::Display for TemporarilyUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("temporarily unavailable")
    }
}

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail)
    }
}

impl fmt::Display for TokenRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoginRequired(rejection) => rejection.fmt(f),
            Self::TemporarilyUnavailable(rejection) => rejection.fmt(f),
            Self::Misconfigured(rejection) => rejection.fmt(f),
            Self::Forbidden(rejection) => rejection.fmt(f),
        }
    }
}

impl std::error::Error for TemporarilyUnavailable {}
impl std::error::Error for Misconfigured {}
impl std::error::Error for Forbidden {}
impl std::error::Error for TokenRejection {}

/// What a handler gets from the manager itself. Nobody is redirected: the error does not
/// know who reads it.
impl From<Error> for TokenRejection {
    fn from(error: Error) -> Self {
        Self::new(&error, |reason| {
            LoginRequired::new(reason, None, None, Reader::Program)
        })
    }
}

impl From<LoginRequired> for TokenRejection {
    fn from(rejection: LoginRequired) -> Self {
        Self::LoginRequired(rejection)
    }
}

impl From<TemporarilyUnavailable> for TokenRejection {
    fn from(rejection: TemporarilyUnavailable) -> Self {
        Self::TemporarilyUnavailable(rejection)
    }
}

impl From<Misconfigured> for TokenRejection {
    fn from(rejection: Misconfigured) -> Self {
        Self::Misconfigured(rejection)
    }
}

impl From<Forbidden> for TokenRejection {
    fn from(rejection: Forbidden) -> Self {
        Self::Forbidden(rejection)
    }
}
