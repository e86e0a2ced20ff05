//! azure_core's policy in a pipeline as clients of Azure build it, with a credential that asks the
//! token service.

use std::hint::black_box;
use std::sync::Arc;

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{
    AsyncRawResponse, ClientOptions, Context, Method, Pipeline, Request, StatusCode, Transport, Url,
};
use azure_core::time::OffsetDateTime;

use super::endpoint::Endpoint;
use crate::BoxError;
use crate::noop::{API, HEADERS, NoToken};
use crate::peer::Peer;
use crate::token_service::TokenService;

/// Instead of the network: it answers at once.
#[derive(Debug)]
struct Terminal {
    /// Refuse what has no more than so many headers.
    headers: usize,
}

#[expect(
    elided_lifetimes_in_paths,
    reason = "as the trait has it, for async_trait"
)]
#[async_trait::async_trait]
impl Policy for Terminal {
    async fn send(
        &self,
        _: &Context,
        request: &mut Request,
        _: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let (headers, _) = black_box(request).headers().iter().size_hint();
        match headers >= self.headers {
            true => Ok(AsyncRawResponse::from_bytes(
                StatusCode::Ok,
                Headers::new(),
                "",
            )),
            false => Err(Error::with_message(
                ErrorKind::Credential,
                NoToken.to_string(),
            )),
        }
    }
}

#[derive(Debug)]
struct Credential(Endpoint);

#[async_trait::async_trait]
impl TokenCredential for Credential {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let answer = self.0.exchange().await;
        let answer = answer.map_err(|error| Error::new(ErrorKind::Credential, error))?;
        let until = OffsetDateTime::now_utc() + answer.life();
        Ok(AccessToken::new(answer.access_token, until))
    }
}

/// A pipeline with the policy, and one without. A token is due 5 min before it expires.
#[derive(Clone)]
pub struct Azure {
    with: Pipeline,
    without: Pipeline,
    url: Url,
    headers: [(HeaderName, HeaderValue); 5],
}

/// Of one that tries once more what failed, names itself and numbers its requests, as they all do.
fn pipeline(policy: Option<Arc<dyn Policy>>) -> Pipeline {
    // The number of a request is a header of its own.
    let headers = HEADERS.len() + 1 + usize::from(policy.is_some());
    let options = ClientOptions {
        transport: Some(Transport::with_policy(Arc::new(Terminal { headers }))),
        ..ClientOptions::default()
    };
    let policies = policy.into_iter().collect();
    Pipeline::new(
        Some("example"),
        Some("1.0"),
        options,
        vec![],
        policies,
        None,
    )
}

impl Peer for Azure {
    const NAME: &'static str = "azure_core";

    type Request = Request;

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let credential = Arc::new(Credential(Endpoint::new(service)?));
        let scopes = ["https://management.azure.com/.default"];
        let policy = BearerTokenAuthorizationPolicy::new(credential, scopes);
        let mut this = Self {
            with: pipeline(Some(Arc::new(policy))),
            without: pipeline(None),
            url: API.parse()?,
            headers: HEADERS.map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            }),
        };
        let request = this.request();
        this.send(request).await?;
        Ok(this)
    }

    fn request(&self) -> Request {
        let mut request = Request::new(self.url.clone(), Method::Get);
        for (name, value) in &self.headers {
            request.insert_header(name.clone(), value.clone());
        }
        request
    }

    async fn bare(&mut self, mut request: Request) -> Result<(), BoxError> {
        let context = Context::new();
        self.without.send(&context, &mut request, None).await?;
        Ok(())
    }

    async fn send(&mut self, mut request: Request) -> Result<(), BoxError> {
        let context = Context::new();
        self.with.send(&context, &mut request, None).await?;
        Ok(())
    }
}
