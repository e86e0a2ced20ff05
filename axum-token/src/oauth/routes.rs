//! What the routes of a provider share.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum_core::body::Body;
use axum_core::response::Response;
use http::header::{LOCATION, REFERRER_POLICY, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use tower_token::{Clock, Timestamp};

use super::Account;
use super::connect_provider::ConnectProvider;
use super::failure::{ConnectFailure, ConnectFailureKind, Refusal};
use super::openid::Identity;
use super::sealed_cookies::SealedCookies;
use super::spent::Spent;
use crate::origin::PublicOrigin;
use crate::rejection::reader::Reader;
use crate::sign_ins::SignIns;
use crate::source::SourceError;

pub(super) type SubjectOf = dyn Fn(&Account<'_>) -> String + Send + Sync;
pub(super) type OnSignIn = dyn Fn(String, Identity) -> Told + Send + Sync;
type Told = Pin<Box<dyn Future<Output = Result<(), SourceError>> + Send>>;
pub(super) type FailurePage = dyn Fn(&ConnectFailure) -> Response + Send + Sync;

/// What all providers share.
pub(super) struct Shared<Q> {
    pub(super) source: Q,
    pub(super) sign_ins: Option<SignIns>,
    pub(super) origin: PublicOrigin,
    /// Where the routes begin, without a slash at the end.
    pub(super) base: String,
    pub(super) cookies: SealedCookies,
    pub(super) subject_of: Arc<SubjectOf>,
    pub(super) on_sign_in: Option<Arc<OnSignIn>>,
    pub(super) failure_page: Option<Arc<FailurePage>>,
    pub(super) after_logout: String,
    pub(super) clock: Arc<dyn Clock>,
    /// Each `state` that came back.
    pub(super) states: Spent,
    /// Each logout token that was taken.
    pub(super) logout_tokens: Spent,
}

/// The routes of one provider.
pub(super) struct Routes<Q> {
    pub(super) shared: Arc<Shared<Q>>,
    pub(super) provider: ConnectProvider,
}

impl<Q> Clone for Routes<Q> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            provider: self.provider.clone(),
        }
    }
}

impl<Q> Routes<Q> {
    /// Where it begins.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.shared.base, self.provider.name())
    }

    /// The one that is registered at the provider, to the letter (RFC 9700 section 4.1.3).
    pub(super) fn redirect_uri(&self) -> String {
        format!("{}{}/callback", self.shared.origin, self.path())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(super) fn account<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Account<'a> {
        Account {
            provider: self.provider.name(),
            issuer,
            subject,
        }
    }

    /// The answer to `refusal`, with what is to be said about cookies.
    pub(super) fn refused(
        &self,
        refusal: Refusal,
        request: &HeaderMap,
        next: Option<&str>,
        mut answer: HeaderMap,
    ) -> Response {
        let mut response = refusal.response(|kind| {
            let failure =
                ConnectFailure::new(kind, self.provider.name(), self.retry_at(kind, next));
            let reader = Reader::of(request);
            match (&self.shared.failure_page, reader) {
                (Some(page), Reader::Person) => page(&failure),
                _ => failure.response(reader),
            }
        });
        if !response.headers().contains_key(VARY) {
            answer.append(VARY, HeaderValue::from_static("accept, sec-fetch-mode"));
        }
        add(response.headers_mut(), &answer);
        private(response.headers_mut());
        response
    }

    fn retry_at(&self, kind: ConnectFailureKind, next: Option<&str>) -> Option<String> {
        use ConnectFailureKind as Kind;
        if matches!(
            kind,
            Kind::InvalidNext | Kind::TooLarge | Kind::OtherAccount
        ) {
            return None;
        }
        let path = self.path();
        Some(match next {
            Some(next) => super::authorization_request::with_query(&path, &[("next", next)]),
            None => path,
        })
    }
}

/// Sends a browser on.
pub(super) fn see_other(location: &str, answer: HeaderMap) -> Option<Response> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    *response.headers_mut() = answer;
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(location).ok()?);
    private(headers);
    Some(response)
}

/// Beside what is there: a page of the application's may set cookies, too.
pub(super) fn add(headers: &mut HeaderMap, more: &HeaderMap) {
    for (name, value) in more {
        headers.append(name, value.clone());
    }
}

/// A URL of these routes has a code in it, which is nobody's business further on.
fn private(headers: &mut HeaderMap) {
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
