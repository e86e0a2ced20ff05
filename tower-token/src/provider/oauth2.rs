//! A token service that speaks OAuth 2.0 (RFC 6749).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body::Body;
use tower_service::Service;
use zeroize::Zeroizing;

use super::client_auth::ClientAuth;
use super::policy::{Policy, policy_setters};
use super::transport::{MAX_BODY, ServiceTransport, Transport, TransportError};
use super::verdict::{RefreshError, Verdict, VerdictRule, judge};
use super::{IntoProvider, Provider, RefreshRequest, Refresher, config};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::grant::TokenResponse;
use crate::origin::Origin;
use crate::secret::{Secret, wiped};

/// A token service that speaks OAuth 2.0: the `refresh_token` grant of RFC 6749
/// section 6.
///
/// ```
/// use tower_token::OAuth2;
///
/// let google = OAuth2::new("google", "https://oauth2.googleapis.com/token")
///     .client_secret_post("client-id", "client-secret")
///     .allow_origin("https://www.googleapis.com");
/// # let _ = google;
/// ```
///
/// Whatever is wrong with the settings is said when the manager is built: the token
/// endpoint must be `https`, or `http` on loopback, and a client must be named.
#[derive(Clone)]
pub struct OAuth2 {
    name: Arc<str>,
    token_endpoint: String,
    client: Option<ClientAuth>,
    policy: Policy,
    transport: Option<Arc<dyn Transport>>,
    rules: Vec<VerdictRule>,
}

impl OAuth2 {
    /// The token service that grant keys call `name`, at its token endpoint's URL.
    pub fn new(name: impl Into<Arc<str>>, token_endpoint: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            token_endpoint: token_endpoint.into(),
            client: None,
            policy: Policy::default(),
            transport: None,
            rules: Vec::new(),
        }
    }

    /// Authenticates by HTTP Basic, the way every service has to support
    /// (RFC 6749 section 2.3.1).
    #[must_use]
    pub fn client_secret_basic(mut self, id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        self.client = Some(ClientAuth::Basic {
            id: id.into(),
            secret: secret.into(),
        });
        self
    }

    /// Authenticates by `client_id` and `client_secret` in the body.
    #[must_use]
    pub fn client_secret_post(mut self, id: impl Into<String>, secret: impl Into<Secret>) -> Self {
        self.client = Some(ClientAuth::Post {
            id: id.into(),
            secret: secret.into(),
        });
        self
    }

    /// A public client: it has no secret and names itself by `client_id`.
    #[must_use]
    pub fn public_client(mut self, id: impl Into<String>) -> Self {
        self.client = Some(ClientAuth::Public { id: id.into() });
        self
    }

    /// Reaches the token service by `service`, any Tower service over `http` types,
    /// in place of the default back channel (feature `oauth2-http`).
    ///
    /// It must not follow redirects, and should wrap an error in
    /// [`NotSent`](crate::NotSent) where the request certainly did not leave. The
    /// size of an answer and the time for it are bounded here.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http_body_util::Full;
    /// use hyper_util::client::legacy::Client;
    /// use hyper_util::rt::TokioExecutor;
    /// use tower_token::OAuth2;
    ///
    /// let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    /// let local = OAuth2::new("local", "http://127.0.0.1:9000/token")
    ///     .public_client("me")
    ///     .transport(http);
    /// # let _ = local;
    /// ```
    #[must_use]
    pub fn transport<S, B, A>(mut self, service: S) -> Self
    where
        S: Service<Request<B>, Response = Response<A>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: From<Bytes> + Send + 'static,
        A: Body + Send + 'static,
        A::Data: Send,
        A::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.transport = Some(Arc::new(ServiceTransport::<S, B>::new(service)));
        self
    }

    /// What an answer of this service means, where that is not what the RFC says. The first
    /// rule that applies counts.
    #[must_use]
    pub fn verdict_rule(mut self, rule: VerdictRule) -> Self {
        self.rules.push(rule);
        self
    }

    policy_setters!();
}

impl IntoProvider for OAuth2 {
    fn into_provider(self) -> Result<Provider, Error> {
        let endpoint: Uri = self
            .token_endpoint
            .parse()
            .map_err(|_| config(&self.name, "the token endpoint is not a URL"))?;
        Origin::of(&endpoint)
            .map_err(|why| config(&self.name, &format!("the token endpoint: {why}")))?;
        let client = self.client.ok_or_else(|| {
            config(
                &self.name,
                "name the client: add .client_secret_basic(id, secret), .client_secret_post(id, \
                 secret) or .public_client(id)",
            )
        })?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport(&self.name, endpoint.scheme_str() == Some("http"))?,
        };
        let provider = Provider {
            name: self.name,
            policy: self.policy,
            refresher: Arc::new(RefreshGrant {
                endpoint,
                authorization: client.authorization(),
                client,
                transport,
                rules: self.rules,
            }),
        };
        provider.check()?;
        Ok(provider)
    }
}

#[cfg(feature = "oauth2-http")]
fn default_transport(provider: &str, loopback: bool) -> Result<Arc<dyn Transport>, Error> {
    match super::reqwest::ReqwestTransport::new(loopback) {
        Ok(transport) => Ok(Arc::new(transport)),
        Err(error) => Err(Error::with_source(
            ErrorKind::Config,
            format!("provider {provider:?}: the back channel could not be set up"),
            error,
        )),
    }
}

#[cfg(not(feature = "oauth2-http"))]
fn default_transport(provider: &str, _: bool) -> Result<Arc<dyn Transport>, Error> {
    Err(Error::new(
        ErrorKind::Config,
        format!(
            "provider {provider:?} has no back channel: add .transport(service), or enable the \
             feature \"oauth2-http\""
        ),
    ))
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The endpoint is shown without its query, where some services want a key.
        f.debug_struct("OAuth2")
            .field("name", &self.name)
            .field("client", &self.client)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

struct RefreshGrant {
    endpoint: Uri,
    client: ClientAuth,
    authorization: Option<HeaderValue>,
    transport: Arc<dyn Transport>,
    rules: Vec<VerdictRule>,
}

impl RefreshGrant {
    fn request(&self, refresh_token: &Secret) -> Request<Bytes> {
        let mut parameters = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose()),
        ];
        parameters.extend(self.client.parameters());
        let mut request = Request::new(form(&parameters));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

impl Refresher for RefreshGrant {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let sent = self
            .transport
            .send(self.request(request.refresh_token))
            .await;
        let answer = sent.map_err(|error| match error {
            TransportError::NotSent(cause) => RefreshError::new(
                Verdict::Transient { retry_after: None },
                "the token service could not be reached",
            )
            .with_source(cause),
            TransportError::Sent(cause) => {
                RefreshError::new(Verdict::Ambiguous, "the token service's answer was lost")
                    .with_source(cause)
            }
            TransportError::TooLarge => RefreshError::new(
                Verdict::Ambiguous,
                format!("the token service answered more than {MAX_BODY} bytes"),
            ),
        })?;
        if !answer.status.is_success() {
            let now = SystemClock::new().now();
            return Err(judge(
                answer.status,
                &answer.headers,
                &answer.body,
                now,
                &self.rules,
            ));
        }
        TokenResponse::from_json(&answer.body).map_err(|error| {
            RefreshError::new(
                Verdict::Ambiguous,
                "the token service's answer could not be read",
            )
            .with_source(error)
        })
    }
}

/// Form-encodes into one exact buffer that is wiped with the request.
fn form(parameters: &[(&str, &str)]) -> Bytes {
    let bound: usize = parameters
        .iter()
        .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
        .sum();
    let mut body = Zeroizing::new(String::with_capacity(bound));
    for (name, value) in parameters {
        if !body.is_empty() {
            body.push('&');
        }
        body.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        body.push('=');
        body.extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }
    wiped(Zeroizing::new(std::mem::take(&mut *body).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::transport::BoxError;
    use super::*;

    fn problem(provider: OAuth2) -> String {
        let with_transport = provider.transport(Never);
        with_transport.into_provider().unwrap_err().to_string()
    }

    #[test]
    fn what_is_set_up_wrongly_is_refused_at_build() {
        let at = |url: &str| OAuth2::new("p", url).public_client("me");
        for bad in [
            "",
            "token",
            "/token",
            "ftp://a.example/token",
            "http://a.example/token",
            "http://127.0.0.1.evil.example/token",
        ] {
            assert!(problem(at(bad)).contains("token endpoint"), "{bad}");
        }
        let unnamed = OAuth2::new("p", "https://a.example/token");
        assert!(problem(unnamed).contains(".client_secret_basic"));
        let origin = at("https://a.example/token").allow_origin("https://b.example/path?key=hush");
        let problem = problem(origin);
        assert!(
            problem.contains("allow_origin") && !problem.contains("hush"),
            "{problem}"
        );
    }

    #[test]
    fn the_request_is_a_refresh_grant() {
        let grant = RefreshGrant {
            endpoint: "https://a.example/token?tenant=1".parse().unwrap(),
            authorization: None,
            client: ClientAuth::Post {
                id: "me".into(),
                secret: "s&x".into(),
            },
            transport: Arc::new(ServiceTransport::<_, Bytes>::new(Never)),
            rules: Vec::new(),
        };
        let request = grant.request(&Secret::from("r/1+"));
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri().query(), Some("tenant=1"));
        assert_eq!(
            request.body(),
            "grant_type=refresh_token&refresh_token=r%2F1%2B&client_id=me&client_secret=s%26x"
        );
    }

    #[derive(Clone)]
    struct Never;

    impl Service<Request<Bytes>> for Never {
        type Response = Response<http_body_util::Empty<Bytes>>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Self::Response, BoxError>>;

        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), BoxError>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Bytes>) -> Self::Future {
            std::future::pending()
        }
    }
}
