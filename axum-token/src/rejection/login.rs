//! The user has to do something first.

use std::fmt;
use std::sync::Arc;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, LOCATION, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::problem::Problem;
use super::reader::Reader;

/// Nobody is signed in, or the user has to connect a provider (again).
///
/// A browser that goes to a page is sent on by a 303, if the [`TokenState`] knows where to;
/// everything else is answered with a 401 and a problem document (RFC 9457) whose `code`
/// is [`LoginReason::as_str`], and that names the `page`, too.
///
/// [`TokenState`]: crate::TokenState
#[derive(Debug, Clone)]
pub struct LoginRequired {
    reason: LoginReason,
    provider: Option<Arc<str>>,
    /// Where it is done.
    page: Option<Uri>,
    reader: Reader,
}

/// What the user has to do.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoginReason {
    /// Sign in: nobody is.
    Anonymous,
    /// Connect the provider: they never did, or disconnected.
    NotConnected,
    /// Connect it again: its grant can no longer be refreshed.
    NeedsReauth,
    /// Answer what the token service asks for first, such as a second factor.
    UserAction,
}

impl LoginReason {
    /// The `code` of the problem document: `login_required`, `not_connected`,
    /// `needs_reauth`, `user_action`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "login_required",
            Self::NotConnected => "not_connected",
            Self::NeedsReauth => "needs_reauth",
            Self::UserAction => "user_action",
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Anonymous => "sign in first",
            Self::NotConnected => "connect the provider first",
            Self::NeedsReauth => "connect the provider again: its grant has ended",
            Self::UserAction => "the provider asks for something first, such as a second factor",
        }
    }
}

impl LoginRequired {
    /// People are sent to the page, programs are told of it.
    pub(crate) fn new(
        reason: LoginReason,
        provider: Option<Arc<str>>,
        page: Option<&Uri>,
        reader: Reader,
    ) -> Self {
        Self {
            reason,
            provider,
            page: page.cloned(),
            reader,
        }
    }

    /// What the user has to do.
    pub fn reason(&self) -> LoginReason {
        self.reason
    }

    /// The provider it is about, if it is about one.
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    fn redirect(&self) -> Option<Response> {
        let page = self
            .page
            .as_ref()
            .filter(|_| self.reader == Reader::Person)?;
        let location = HeaderValue::from_str(&page.to_string()).ok()?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(LOCATION, location);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    fn problem(&self) -> Response {
        let problem = Problem::new(StatusCode::UNAUTHORIZED, self.reason.as_str());
        let mut problem = problem.detail(self.reason.detail());
        if let Some(provider) = &self.provider {
            problem = problem.with("provider", &**provider);
        }
        if let Some(page) = &self.page {
            problem = problem.with("page", page.to_string());
        }
        let mut response = problem.into_response();
        // A 401 has to name a scheme (RFC 9110 section 15.5.2). Browsers ask nobody for a
        // password on account of this one.
        let challenge = HeaderValue::from_static("Cookie realm=\"sign in\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

impl IntoResponse for LoginRequired {
    fn into_response(self) -> Response {
        let mut response = self.redirect().unwrap_or_else(|| self.problem());
        vary(response.headers_mut());
        response.extensions_mut().insert(self);
        response
    }
}

/// Whoever caches it has to know what it was decided by.
fn vary(headers: &mut HeaderMap) {
    headers.insert(VARY, HeaderValue::from_static("accept, sec-fetch-mode"));
}

impl fmt::Display for LoginRequired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.detail())
    }
}

impl std::error::Error for LoginRequired {}
