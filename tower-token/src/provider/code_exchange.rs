//! An authorization code for tokens (RFC 6749 section 4.1.3).

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::time::timeout;

use super::Revoker as _;
use super::back_channel::{BackChannel, RevokeToken};
use super::verdict::{RefreshError, Verdict};
use crate::error::{Error, ErrorKind};
use crate::grant::TokenResponse;
use crate::secret::Secret;

/// Exchanges authorization codes at one token service. Cheap to clone. From
/// [`OAuth2::code_exchange`](crate::OAuth2::code_exchange).
///
/// ```
/// use tower_token::{CodeExchange, CodeRequest, Error, GrantKey, TokenManager};
///
/// /// After the user came back with a code, and `state` was found to be right.
/// async fn came_back(
///     google: &CodeExchange,
///     manager: &TokenManager,
///     code: String,
///     code_verifier: String,
/// ) -> Result<(), Error> {
///     let request = CodeRequest::new(code, "https://app.example.com/auth/google/callback")
///         .code_verifier(code_verifier);
///     let tokens = google.exchange(request).await?;
///     manager.connect(&GrantKey::new(google.provider(), "user-17"), tokens).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct CodeExchange(Arc<Inner>);

struct Inner {
    provider: Arc<str>,
    limit: Duration,
    endpoint: Uri,
    audience: String,
    channel: Arc<BackChannel>,
    revoker: Option<RevokeToken>,
}

/// An authorization code, and what the token service compares it with.
#[derive(Clone)]
pub struct CodeRequest {
    code: Secret,
    redirect_uri: String,
    code_verifier: Option<Secret>,
    resources: Vec<String>,
}

impl CodeRequest {
    /// The code, and the redirect URI exactly as it was in the authorization request.
    pub fn new(code: impl Into<Secret>, redirect_uri: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            redirect_uri: redirect_uri.into(),
            code_verifier: None,
            resources: Vec::new(),
        }
    }

    /// The text whose hash was the request's `code_challenge` (RFC 7636).
    #[must_use]
    pub fn code_verifier(mut self, verifier: impl Into<Secret>) -> Self {
        self.code_verifier = Some(verifier.into());
        self
    }

    /// A resource that the access token is for, by its URI (RFC 8707); one call for each.
    #[must_use]
    pub fn resource(mut self, uri: impl Into<String>) -> Self {
        self.resources.push(uri.into());
        self
    }

    fn parameters(&self) -> Vec<(&str, &str)> {
        let mut parameters = vec![
            ("grant_type", "authorization_code"),
            ("code", self.code.expose()),
            ("redirect_uri", &*self.redirect_uri),
        ];
        if let Some(verifier) = &self.code_verifier {
            parameters.push(("code_verifier", verifier.expose()));
        }
        parameters.extend(self.resources.iter().map(|uri| ("resource", &**uri)));
        parameters
    }
}

impl CodeExchange {
    pub(super) fn new(
        provider: Arc<str>,
        limit: Duration,
        endpoint: Uri,
        channel: Arc<BackChannel>,
        revoker: Option<RevokeToken>,
    ) -> Self {
        Self(Arc::new(Inner {
            provider,
            limit,
            audience: endpoint.to_string(),
            endpoint,
            channel,
            revoker,
        }))
    }

    /// What grant keys call the token service.
    pub fn provider(&self) -> &str {
        &self.0.provider
    }

    /// Who this service is to the token service: the authorization request names it, too.
    pub fn client_id(&self) -> &str {
        self.0.channel.client_id()
    }

    /// Spends the code. It is sent once: whatever comes of it, nothing is tried again.
    ///
    /// [`ErrorKind::CodeRefused`] says that the code is no good. After any other error the code
    /// may be spent as well, so the user has to begin anew. Takes no longer than
    /// [`OAuth2::exchange_timeout`](crate::OAuth2::exchange_timeout).
    pub async fn exchange(&self, request: CodeRequest) -> Result<TokenResponse, Error> {
        let inner = &*self.0;
        let tokens = inner
            .channel
            .tokens(&inner.endpoint, &inner.audience, request.parameters());
        self.within_limit(tokens)
            .await?
            .map_err(|error| match error.verdict() {
                Verdict::Dead => Error::with_source(
                    ErrorKind::CodeRefused,
                    "the token service refused the authorization code",
                    error,
                ),
                _ => told(error, "the authorization code could not be exchanged"),
            })
    }

    /// Revokes a token (RFC 7009): for tokens that were got and are not wanted. Without
    /// [`OAuth2::revocation_endpoint`](crate::OAuth2::revocation_endpoint) nothing is done, and
    /// the token runs out by itself.
    pub async fn revoke(&self, token: &Secret) -> Result<(), Error> {
        let Some(revoker) = &self.0.revoker else {
            return Ok(());
        };
        match self.within_limit(revoker.revoke(token)).await? {
            Ok(()) => Ok(()),
            // It is no good any more, which is what was wanted.
            Err(error) if error.verdict() == Verdict::Dead => Ok(()),
            Err(error) => Err(told(error, "the token could not be revoked")),
        }
    }

    async fn within_limit<T>(&self, sent: impl Future<Output = T>) -> Result<T, Error> {
        timeout(self.0.limit, sent).await.map_err(|_| {
            let message = "the token service did not answer in time";
            Error::new(ErrorKind::TokenService, message)
        })
    }
}

fn told(error: RefreshError, message: &'static str) -> Error {
    let retry_after = error.asked_to_wait();
    let error = match error.verdict() {
        Verdict::Misconfigured => Error::with_source(
            ErrorKind::ClientRefused,
            "the token service refused this service: check its client id, secret and endpoint",
            error,
        ),
        _ => Error::with_source(ErrorKind::TokenService, message, error),
    };
    match retry_after {
        Some(span) => error.retry_after(span),
        None => error,
    }
}

impl fmt::Debug for CodeExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeExchange")
            .field("provider", &self.0.provider)
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeRequest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use parking_lot::Mutex;
    use tower::service_fn;

    use super::super::transport::testing::Never;
    use super::*;
    use crate::{OAuth2, Recovery};

    type Sent = Arc<Mutex<Vec<String>>>;

    /// A token service that answers everything like this, and what it was sent.
    fn answering(status: u16, body: &'static str) -> (CodeExchange, Sent) {
        let sent = Sent::default();
        let seen = Arc::clone(&sent);
        let service = service_fn(move |request: Request<Body>| {
            seen.lock()
                .push(format!("{} {}", request.uri(), request.body().0));
            let answer = Response::builder()
                .status(status)
                .header("retry-after", "7");
            std::future::ready(answer.body(Full::new(Bytes::from_static(body.as_bytes()))))
        });
        let service = OAuth2::new("p", "https://a.example/token")
            .revocation_endpoint("https://a.example/revoke")
            .client_secret_post("me", "hush")
            .transport::<_, Body, _>(service);
        (service.code_exchange().unwrap(), sent)
    }

    struct Body(String);

    impl From<Bytes> for Body {
        fn from(body: Bytes) -> Self {
            Self(String::from_utf8(body.to_vec()).unwrap())
        }
    }

    fn request() -> CodeRequest {
        CodeRequest::new("the code", "https://app.example/callback")
    }

    #[tokio::test]
    async fn the_form_has_what_was_set_and_the_client() {
        let (exchange, sent) = answering(200, r#"{"access_token":"t","expires_in":"60"}"#);
        assert_eq!((exchange.provider(), exchange.client_id()), ("p", "me"));
        let full = request()
            .code_verifier("verifier")
            .resource("https://x.example/")
            .resource("https://y.example/");
        exchange.exchange(full).await.unwrap();
        exchange.exchange(request()).await.unwrap();
        let start = "https://a.example/token grant_type=authorization_code&code=the+code\
            &redirect_uri=https%3A%2F%2Fapp.example%2Fcallback";
        let more = "&code_verifier=verifier&resource=https%3A%2F%2Fx.example%2F\
            &resource=https%3A%2F%2Fy.example%2F";
        let client = "&client_id=me&client_secret=hush";
        let expected = [format!("{start}{more}{client}"), format!("{start}{client}")];
        assert_eq!(*sent.lock(), expected);
    }

    #[tokio::test]
    async fn every_answer_is_told_apart_and_none_is_asked_for_again() {
        let after = Some(Duration::from_secs(7));
        for (status, body, kind) in [
            (400, r#"{"error":"invalid_grant"}"#, ErrorKind::CodeRefused),
            (
                200,
                r#"{"error":"bad_verification_code"}"#,
                ErrorKind::CodeRefused,
            ),
            (
                200,
                r#"{"ok":false,"error":"code_already_used"}"#,
                ErrorKind::CodeRefused,
            ),
            (
                401,
                r#"{"error":"invalid_client"}"#,
                ErrorKind::ClientRefused,
            ),
            (302, "", ErrorKind::ClientRefused),
            (400, r#"{"error":"mark-secret"}"#, ErrorKind::TokenService),
            (429, "mark-secret", ErrorKind::TokenService),
            (500, r#"{"error":"invalid_grant"}"#, ErrorKind::TokenService),
            (
                200,
                r#"{"refresh_token":"mark-secret"}"#,
                ErrorKind::TokenService,
            ),
            (200, "mark-secret", ErrorKind::TokenService),
        ] {
            let (exchange, sent) = answering(status, body);
            let error = exchange.exchange(request()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{status} {body}");
            let recovery = match kind {
                ErrorKind::CodeRefused => Recovery::Reauthenticate,
                ErrorKind::ClientRefused => Recovery::Misconfigured,
                _ => Recovery::Retry { after },
            };
            assert_eq!(error.recovery(), recovery, "{status} {body}");
            assert_eq!(sent.lock().len(), 1);
            let printed = format!("{error} {error:?}");
            assert!(!printed.contains("mark-secret"), "{printed}");
            assert!(!printed.contains("the code"), "{printed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_takes_no_longer_than_the_provider_is_given() {
        let service = OAuth2::new("p", "https://a.example/token")
            .public_client("me")
            .exchange_timeout(Duration::from_secs(3))
            .transport(Never);
        let began = tokio::time::Instant::now();
        let exchange = service.code_exchange().unwrap();
        let error = exchange.exchange(request()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenService);
        assert_eq!(began.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_token_is_revoked_where_that_can_be_done() {
        let token = Secret::from("t");
        let (exchange, sent) = answering(200, "");
        exchange.revoke(&token).await.unwrap();
        let expected = ["https://a.example/revoke token=t&client_id=me&client_secret=hush"];
        assert_eq!(*sent.lock(), expected);
        let (gone, _) = answering(400, r#"{"error":"invalid_token"}"#);
        gone.revoke(&token).await.unwrap();
        let (down, _) = answering(503, "");
        let error = down.revoke(&token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenService);
        let nowhere = OAuth2::new("p", "https://a.example/token")
            .public_client("me")
            .transport(Never);
        nowhere
            .code_exchange()
            .unwrap()
            .revoke(&token)
            .await
            .unwrap();
    }
}
