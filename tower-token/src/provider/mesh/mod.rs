//! Mesh, a service that links brokerage and exchange accounts, with tokens that its clients
//! manage. It is not OAuth: JSON in, JSON out, and several accounts under one consent.

mod answer;
mod api;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod link;
mod payload;
mod refresh;
mod remove;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use self::api::Api;
pub use self::link::{LinkTokenRequest, MeshLink};
pub use self::payload::{InvalidMeshPayload, MeshGrant, MeshPayload};
use self::refresh::RefreshAccounts;
use self::remove::RemoveConnection;
use super::oauth2::{default_transport, endpoint};
use super::policy::{Policy, policy_setters};
use super::transport::{ServiceTransport, Transport};
use super::{IntoProvider, Provider, config};
use crate::error::Error;
use crate::origin::Origin;
use crate::secret::Secret;

const PRODUCTION: &str = "https://integration-api.meshconnect.com";

/// The metadata under which a grant of Mesh says what kind of broker it is of, such as
/// `coinbase`: an open set.
pub(super) const BROKER_TYPE: &str = "brokerType";
/// A hash of the refresh token that the grant began with: the same consent, when its payload
/// comes again.
const CONSENT: &str = "consent";
/// And what the broker is called.
pub(super) const BROKER_NAME: &str = "brokerName";

/// [Mesh](https://meshconnect.com), with client managed tokens.
///
/// A grant begins with what Mesh's SDK hands to the page: [`MeshPayload`] reads it. Accounts
/// that share a refresh token are one grant. Tokens are refreshed before they expire and never
/// for a 401, which Mesh says of the client. A disconnect removes the connection at Mesh.
///
/// Mesh's own APIs take the token in the body, as [`JsonBody`](crate::JsonBody) puts it there:
///
/// ```
/// # use tower_token::*;
/// # use bytes::Bytes;
/// # use http_body_util::Full;
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// # use tower::{ServiceBuilder, ServiceExt};
/// # #[cfg(feature = "oauth2-http")]
/// # async fn f(payload: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let mesh = Mesh::new("mesh", "client-id", "client-secret");
/// let manager = TokenManager::builder()
///     .store(SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?)
///     .provider(mesh)
///     .build()
///     .await?;
///
/// // Once, with what the SDK gave to `onIntegrationConnected`:
/// let held = manager.grants("user-17").await?;
/// for grant in MeshPayload::from_json(payload)?.grants() {
///     if held.iter().any(|held| grant.is_known_to(held)) {
///         // The page has handed it out again.
///         continue;
///     }
///     // One that the user had connected before is replaced.
///     let key = match held.iter().find(|held| grant.replaces(held)) {
///         Some(held) => held.key().clone(),
///         None => GrantKey::new("mesh", "user-17").with_connection(grant.connection()),
///     };
///     manager.connect(&key, grant.response()).await?;
/// }
///
/// // Every time after:
/// # let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
/// let tokens = TokenLayer::new(&manager).place(JsonBody::field("authToken"));
/// let client = ServiceBuilder::new().layer(tokens).service(http);
/// let key = GrantKey::new("mesh", "user-17").with_connection("coinbase:acc-1");
/// let request = http::Request::post("https://integration-api.meshconnect.com/api/v1/holdings/get")
///     .header("x-client-id", "client-id")
///     .header("x-client-secret", "client-secret")
///     .extension(TokenRequest::new(key).account("acc-1"))
///     .body(Full::from(r#"{"type":"coinbase"}"#))?;
/// let response = client.oneshot(request).await?;
/// # Ok(()) }
/// ```
///
/// Where a grant has a secret `tradeToken` ([`TokenResponse::secret`](crate::TokenResponse::secret))
/// it goes with each refresh, and metadata that is named `metadata.x` goes as the field `x` of the
/// request's `metadata`.
#[derive(Clone)]
pub struct Mesh {
    name: Arc<str>,
    base_url: String,
    client_id: String,
    client_secret: Secret,
    policy: Policy,
    transport: Option<Arc<dyn Transport>>,
}

impl Mesh {
    /// Mesh, as grant keys call it `name`, for this client of Mesh's.
    pub fn new(
        name: impl Into<Arc<str>>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        Self {
            name: name.into(),
            base_url: PRODUCTION.into(),
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            // A 401 of Mesh's is about this client, and not about a token.
            policy: Policy {
                ignore_refusals: true,
                ..Policy::default()
            },
            transport: None,
        }
    }

    /// Another address than that of production, such as the sandbox's. Tokens are allowed to
    /// go there.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Reaches Mesh by `service`, as [`OAuth2::transport`](crate::OAuth2::transport) does.
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

    /// What asks for link tokens, with the same address, client and transport.
    pub fn link(&self) -> Result<MeshLink, Error> {
        Ok(MeshLink::new(Arc::new(self.api()?)))
    }

    policy_setters!();

    fn base(&self) -> &str {
        self.base_url.trim_end_matches('/')
    }

    fn api(&self) -> Result<Api, Error> {
        Origin::parse(self.base()).map_err(|why| {
            let rule = "base_url takes a bare origin such as \"https://api.example.com\"";
            config(&self.name, &format!("{rule}: {why}"))
        })?;
        let base = endpoint(&self.name, "base", self.base())?;
        let transport = match &self.transport {
            Some(transport) => Arc::clone(transport),
            None => default_transport(&self.name, base.scheme_str() == Some("http"))?,
        };
        Api::new(
            &self.name,
            self.base(),
            &self.client_id,
            &self.client_secret,
            transport,
        )
    }
}

impl IntoProvider for Mesh {
    fn into_provider(self) -> Result<Provider, Error> {
        let api = Arc::new(self.api()?);
        let mut policy = self.policy;
        policy.allow_origin(self.base_url.trim_end_matches('/'));
        let provider = Provider {
            name: self.name,
            policy,
            refresher: Arc::new(RefreshAccounts::new(Arc::clone(&api))),
            revoker: Some(Arc::new(RemoveConnection::new(api))),
        };
        provider.check()?;
        Ok(provider)
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("name", &self.name)
            .field("client_secret", &self.client_secret)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::transport::testing::Never;
    use super::*;

    #[test]
    fn what_is_set_up_wrongly_is_refused_at_build() {
        let mesh = |id: &str, url: &str| {
            let mesh = Mesh::new("m", id, "hush").base_url(url).transport(Never);
            mesh.into_provider().map_err(|error| error.to_string())
        };
        assert!(mesh("id", "https://sandbox.example/").is_ok());
        for url in [
            "",
            "mesh.example",
            "http://mesh.example",
            "https://mesh.example/?key=hush",
            "https://mesh.example/api",
        ] {
            let problem = mesh("id", url).unwrap_err();
            assert!(!problem.contains("hush"), "{problem}");
        }
        let problem = mesh("i\nd", "https://mesh.example").unwrap_err();
        assert!(problem.contains("client id"), "{problem}");
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", Mesh::new("m", "id", "hush"));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
