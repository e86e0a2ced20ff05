//! A token service that speaks OAuth 2.0 (RFC 6749).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::Body;
use tower_service::Service;

use super::back_channel::{BackChannel, RefreshGrant, RevokeToken};
use super::client_auth::{ClientAssertion, ClientAuth};
use super::code_exchange::CodeExchange;
use super::policy::{Policy, policy_setters};
use super::transport::{ServiceTransport, Transport};
use super::verdict::VerdictRule;
use super::{DynRevoker, IntoProvider, Provider, config};
use crate::error::Error;
use crate::origin::Origin;
use crate::secret::Secret;

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
    revocation_endpoint: Option<String>,
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
            revocation_endpoint: None,
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

    /// Authenticates by a JWT that `signer` makes for every request (`private_key_jwt`, or
    /// `client_secret_jwt`: RFC 7523 section 2.2).
    #[must_use]
    pub fn client_assertion(mut self, id: impl Into<String>, signer: impl ClientAssertion) -> Self {
        self.client = Some(ClientAuth::Assertion {
            id: id.into(),
            signer: Arc::new(signer),
        });
        self
    }

    /// Where the token service revokes tokens (RFC 7009). With it a disconnect also ends
    /// the user's tokens there. By default it does not: they run out by themselves.
    #[must_use]
    pub fn revocation_endpoint(mut self, url: impl Into<String>) -> Self {
        self.revocation_endpoint = Some(url.into());
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

/// The token service as it is spoken to.
struct Connected {
    endpoint: Uri,
    channel: Arc<BackChannel>,
    revoker: Option<RevokeToken>,
}

impl OAuth2 {
    /// What exchanges authorization codes (RFC 6749 section 4.1.3), with the same endpoint,
    /// client and transport.
    ///
    /// ```
    /// use tower_token::OAuth2;
    ///
    /// let google = OAuth2::new("google", "https://oauth2.googleapis.com/token")
    ///     .client_secret_post("client-id", "client-secret");
    /// # #[cfg(feature = "oauth2-http")]
    /// assert_eq!(google.code_exchange()?.client_id(), "client-id");
    /// // And then `google` goes to the manager's builder.
    /// # Ok::<(), tower_token::Error>(())
    /// ```
    pub fn code_exchange(&self) -> Result<CodeExchange, Error> {
        let Connected {
            endpoint,
            channel,
            revoker,
        } = self.connected()?;
        let limit = self.policy.exchange_timeout;
        let name = Arc::clone(&self.name);
        Ok(CodeExchange::new(name, limit, endpoint, channel, revoker))
    }

    fn connected(&self) -> Result<Connected, Error> {
        let name = &self.name;
        let endpoint = endpoint(name, "token", &self.token_endpoint)?;
        let revocation = match &self.revocation_endpoint {
            Some(url) => Some(self::endpoint(name, "revocation", url)?),
            None => None,
        };
        let client = self.client.clone().ok_or_else(|| {
            config(
                name,
                "name the client: add .client_secret_basic(id, secret), .client_secret_post(id, \
                 secret), .client_assertion(id, signer) or .public_client(id)",
            )
        })?;
        let transport = match &self.transport {
            Some(transport) => Arc::clone(transport),
            None => default_transport(name, endpoint.scheme_str() == Some("http"))?,
        };
        if self.rules.iter().any(|rule| !rule.is_narrowed()) {
            return Err(config(
                name,
                "a verdict_rule has to say of which answers it speaks: add .status, .error or \
                 .empty_body to it",
            ));
        }
        let channel = Arc::new(BackChannel::new(client, transport, self.rules.clone()));
        let revoker = revocation
            .map(|revocation| RevokeToken::new(revocation, &endpoint, Arc::clone(&channel)));
        Ok(Connected {
            endpoint,
            channel,
            revoker,
        })
    }
}

impl IntoProvider for OAuth2 {
    fn into_provider(self) -> Result<Provider, Error> {
        let Connected {
            endpoint,
            channel,
            revoker,
        } = self.connected()?;
        let provider = Provider {
            name: self.name,
            policy: self.policy,
            refresher: Arc::new(RefreshGrant::new(endpoint, channel)),
            revoker: revoker.map(|revoker| -> Arc<dyn DynRevoker> { Arc::new(revoker) }),
        };
        provider.check()?;
        Ok(provider)
    }
}

pub(super) fn endpoint(provider: &str, which: &str, url: &str) -> Result<Uri, Error> {
    let problem = |why: &str| config(provider, &format!("the {which} endpoint: {why}"));
    let uri: Uri = url.parse().map_err(|_| problem("it is not a URL"))?;
    Origin::of(&uri).map_err(problem)?;
    Ok(uri)
}

pub(super) fn default_transport(
    provider: &str,
    loopback: bool,
) -> Result<Arc<dyn Transport>, Error> {
    let whose = format!("provider {provider:?}");
    super::transport::default_transport(&whose, "add .transport(service)", loopback)
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

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::transport::testing::Never;
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
        let revoking = at("https://a.example/token").revocation_endpoint("http://a.example/r");
        assert!(problem(revoking).contains("revocation endpoint"));
        let rule = VerdictRule::new(Verdict::Dead);
        let rash = at("https://a.example/token").verdict_rule(rule);
        assert!(problem(rash).contains("verdict_rule"));
        let unnamed = OAuth2::new("p", "https://a.example/token");
        assert!(problem(unnamed).contains(".client_secret_basic"));
        let origin = at("https://a.example/token").allow_origin("https://b.example/path?key=hush");
        let problem = problem(origin);
        assert!(
            problem.contains("allow_origin") && !problem.contains("hush"),
            "{problem}"
        );
    }
}
