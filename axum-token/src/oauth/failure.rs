//! Why nobody is signed in or connected, told to a person or to a program.

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::rejection::TokenRejection;
use crate::rejection::problem::Problem;
use crate::rejection::reader::Reader;

/// Why an authorization came to nothing. Nothing was changed by it.
///
/// A person gets a page with a way on; a program a problem document with
/// [`code`](Self::code). For pages of your own see
/// [`OAuthRoutes::failure_page`](crate::OAuthRoutes::failure_page).
#[derive(Debug, Clone)]
pub struct ConnectFailure {
    kind: ConnectFailureKind,
    provider: Box<str>,
    retry_at: Option<String>,
}

/// What kind of a [`ConnectFailure`].
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectFailureKind {
    /// `next` is no path of this service.
    InvalidNext,
    /// Another site sent somebody here who is signed in, to connect an account that may be
    /// another's.
    CrossSite,
    /// The request has more in its cookies than is looked through.
    TooLarge,
    /// It was not begun in this browser, or too long ago, or has been ended before.
    InvalidState,
    /// The answer comes from another provider than was asked (RFC 9207).
    IssuerMismatch,
    /// The user did not agree.
    Denied,
    /// The provider answered with an error, or with nothing that could be used.
    ProviderError,
    /// The provider cannot be reached, or says that it cannot answer now.
    ProviderUnavailable,
    /// The provider does not take the code: it was used, or is too old.
    CodeRefused,
    /// The id token is not what was asked for.
    IdTokenRefused,
    /// Somebody else is signed in now than when it was begun.
    OtherUser,
    /// The account at the provider is another user's of this service.
    OtherAccount,
}

impl ConnectFailureKind {
    fn told(self) -> Told {
        use ConnectFailureKind as Kind;
        let (status, code, title, text) = match self {
            Kind::InvalidNext => (
                StatusCode::BAD_REQUEST,
                "invalid_next",
                "This link does not work",
                "It leads away from here. Go back to where you were, and begin there.",
            ),
            Kind::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "Another site sent you here",
                "It wants an account to be connected to yours. If you want that as well, go on; \
                 look there whose account it is.",
            ),
            Kind::TooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "too_large",
                "Your browser sends too much",
                "It keeps more cookies for this site than it should. Clear them, and try again.",
            ),
            Kind::InvalidState => (
                StatusCode::BAD_REQUEST,
                "invalid_state",
                "That took too long, or was done before",
                "This was not begun in this browser, or more than ten minutes ago, or has \
                 ended already. Nothing was changed. Begin again.",
            ),
            Kind::IssuerMismatch => (
                StatusCode::BAD_REQUEST,
                "issuer_mismatch",
                "The answer came from somewhere else",
                "It is not of the service that you were sent to. Nothing was changed.",
            ),
            Kind::Denied => (
                StatusCode::FORBIDDEN,
                "access_denied",
                "You did not agree",
                "So nothing was connected. You can do that later.",
            ),
            Kind::ProviderError => (
                StatusCode::BAD_GATEWAY,
                "provider_error",
                "That did not work",
                "The other service answered with an error. Nothing was changed.",
            ),
            Kind::ProviderUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "provider_unavailable",
                "The other service does not answer",
                "Nothing was changed. Try again in a moment.",
            ),
            Kind::CodeRefused => (
                StatusCode::BAD_REQUEST,
                "code_refused",
                "That took too long, or was done before",
                "The other service does not take it any more. Nothing was changed. Begin again.",
            ),
            Kind::IdTokenRefused => (
                StatusCode::BAD_GATEWAY,
                "id_token_refused",
                "We could not be sure who you are",
                "What the other service says of you could not be checked. Nothing was changed.",
            ),
            Kind::OtherUser => (
                StatusCode::FORBIDDEN,
                "other_user",
                "Somebody else is signed in now",
                "This was begun by another user, or before you signed out. Nothing was \
                 connected. Begin again.",
            ),
            Kind::OtherAccount => (
                StatusCode::FORBIDDEN,
                "other_account",
                "This account is another user's",
                "You are signed in here as somebody else. Sign out first, or use your own \
                 account there.",
            ),
        };
        Told {
            status,
            code,
            title,
            text,
        }
    }
}

struct Told {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    text: &'static str,
}

impl ConnectFailure {
    pub(super) fn new(kind: ConnectFailureKind, provider: &str, retry_at: Option<String>) -> Self {
        Self {
            kind,
            provider: provider.into(),
            retry_at,
        }
    }

    /// What kind of a failure.
    pub fn kind(&self) -> ConnectFailureKind {
        self.kind
    }

    /// The provider, as the manager calls it.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The path at which it begins again, if that may help.
    pub fn retry_at(&self) -> Option<&str> {
        self.retry_at.as_deref()
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.kind.told().status
    }

    /// The `code` of the problem document: `invalid_next`, `cross_site`, `too_large`, `invalid_state`,
    /// `issuer_mismatch`, `access_denied`, `provider_error`, `provider_unavailable`,
    /// `code_refused`, `id_token_refused`, `other_user` or `other_account`.
    pub fn code(&self) -> &'static str {
        self.kind.told().code
    }

    /// What to tell a person, in a few words.
    pub fn title(&self) -> &'static str {
        self.kind.told().title
    }

    /// What to tell a person.
    pub fn text(&self) -> &'static str {
        self.kind.told().text
    }

    fn page(&self) -> Response {
        let told = self.kind.told();
        let retry = match &self.retry_at {
            Some(path) => {
                let word = match self.kind {
                    ConnectFailureKind::CrossSite => "Go on",
                    _ => "Try again",
                };
                format!("<p><a href=\"{}\">{word}</a></p>\n", escaped(path))
            }
            None => String::new(),
        };
        let page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <h1>{title}</h1>\n<p>{text}</p>\n{retry}<p><a href=\"/\">Back</a></p>\n</html>\n",
            title = told.title,
            text = told.text,
        );
        let mut response = Response::new(Body::from(page));
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(CONTENT_TYPE, kind);
        let policy = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'";
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        response
    }

    pub(super) fn response(&self, reader: Reader) -> Response {
        let told = self.kind.told();
        match reader {
            Reader::Person => {
                let mut response = self.page();
                *response.status_mut() = told.status;
                response
            }
            Reader::Program => Problem::new(told.status, told.code)
                .detail(told.text)
                .with("provider", &*self.provider)
                .into_response(),
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Why a route does not do what it is asked to.
pub(super) enum Refusal {
    Failure(ConnectFailureKind),
    Token(TokenRejection),
}

impl From<ConnectFailureKind> for Refusal {
    fn from(kind: ConnectFailureKind) -> Self {
        Self::Failure(kind)
    }
}

impl<R: Into<TokenRejection>> From<R> for Refusal {
    fn from(rejection: R) -> Self {
        Self::Token(rejection.into())
    }
}

impl Refusal {
    pub(super) fn response(self, failed: impl FnOnce(ConnectFailureKind) -> Response) -> Response {
        match self {
            Self::Failure(kind) => failed(kind),
            Self::Token(rejection) => rejection.into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// Whatever `next` may hold one day.
    #[tokio::test]
    async fn a_page_has_no_markup_of_others() {
        let retry_at = Some("/a?b&c=\"><script>alert('x')</script>".to_owned());
        let failure = ConnectFailure::new(ConnectFailureKind::Denied, "p", retry_at);
        let page = failure.response(Reader::Person).into_body();
        let page = page.collect().await.unwrap().to_bytes();
        let page = str::from_utf8(&page).unwrap();
        let link = "href=\"/a?b&amp;c=&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\"";
        assert!(page.contains(link), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }
}
