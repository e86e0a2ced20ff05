//! A reqwest client that sends its users' tokens.

use std::fmt;
use std::task::{Context, Poll};

use ::reqwest::{Body, Client, ClientBuilder};
use http::{Request, Response};
use tower_http_06::follow_redirect::FollowRedirect;
use tower_service::Service;

use super::body::{Payload, ReplayPayload};
use super::builder::TokenClientBuilder;
use super::future::TokenClientFuture;
use super::redirect::Hops;
use super::service::ReqwestService;
use crate::layer::{Authorization, Placement, TokenRequest, TokenService, TokenServiceError};
use crate::manager::TokenManager;

/// A reqwest client whose requests carry their users' valid tokens, wherever they are redirected
/// to; see the [module](super) for a whole program.
///
/// Cheap to clone, and so is a handle for one user: all of them share its connections. It is a
/// Tower service as well, of `http::Request<reqwest::Body>`.
#[derive(Clone)]
pub struct TokenClient<P = Authorization> {
    tokens: TokenService<ReqwestService, ReplayPayload, P>,
    hops: Hops<P>,
}

impl TokenClient {
    /// A client of this builder: [`builder`](Self::builder) with nothing else set.
    ///
    /// Its redirects are followed by us, at most ten, however the builder was set. Each hop is
    /// checked: one to an origin that the provider does not allow fails.
    ///
    /// # Errors
    ///
    /// What [`ClientBuilder::build`] says.
    pub fn new(manager: &TokenManager, client: ClientBuilder) -> Result<Self, ::reqwest::Error> {
        Self::builder(manager).build(client)
    }

    /// Over a client of yours **that follows no redirects**, as it does with
    /// [`Policy::none`](::reqwest::redirect::Policy::none): they are followed by us, as with
    /// [`new`](Self::new), which is to be preferred.
    ///
    /// **One that follows them by itself discloses the token.** reqwest takes `Authorization` out
    /// of the hop that leaves an origin, and puts it back into the next one over there (seen in
    /// 0.13.5). A client does not tell whether it does. If a response comes from another URL than
    /// it was asked of, the request fails with [`ErrorKind::Config`](crate::ErrorKind::Config);
    /// that is after the fact, and a redirect that ends where it began, or fails, is not noticed.
    ///
    /// For the same reason the token can be placed nowhere else:
    ///
    /// ```compile_fail,E0599
    /// # fn f(manager: &tower_token::TokenManager, client: ::reqwest::Client) {
    /// use tower_token::{JsonBody, reqwest::TokenClient};
    ///
    /// let tokens = TokenClient::builder(manager).place(JsonBody::field("authToken"));
    /// tokens.build_from_client_without_redirects(client);
    /// # }
    /// ```
    pub fn from_client_without_redirects(manager: &TokenManager, client: Client) -> Self {
        Self::builder(manager).build_from_client_without_redirects(client)
    }

    /// To set more.
    pub fn builder(manager: &TokenManager) -> TokenClientBuilder {
        TokenClientBuilder::new(manager)
    }
}

impl<P> TokenClient<P> {
    pub(super) fn from_parts(
        tokens: TokenService<ReqwestService, ReplayPayload, P>,
        hops: Hops<P>,
    ) -> Self {
        let tokens = tokens.with_trails();
        Self { tokens, hops }
    }

    /// The same client over the same connections, for requests of one grant. Requests need one:
    /// reqwest's do not show their extensions, so they cannot say whose token they want.
    #[must_use]
    pub fn for_key(&self, key: impl Into<TokenRequest>) -> Self
    where
        P: Clone,
    {
        Self {
            tokens: self.tokens.for_key(key),
            hops: self.hops.clone(),
        }
    }

    /// reqwest's client itself, to build requests with. What it sends by itself carries no token.
    pub fn client(&self) -> &Client {
        self.tokens.get_ref().get_ref()
    }
}

impl<P: Placement<Body> + Clone> TokenClient<P> {
    /// Sends a request that reqwest has built.
    ///
    /// # Errors
    ///
    /// [`TokenServiceError::Token`] if there is no usable token, or it may not go there;
    /// [`TokenServiceError::Inner`] with reqwest's error.
    pub async fn execute(
        &self,
        request: ::reqwest::Request,
    ) -> Result<::reqwest::Response, TokenServiceError<::reqwest::Error>> {
        let request = Request::try_from(request)?;
        self.send(request).await.map(Into::into)
    }

    fn send(&self, request: Request<Body>) -> TokenClientFuture<P> {
        // Nothing of what is below has to be waited for to be ready: reqwest's client always is.
        let mut service = FollowRedirect::with_policy(self.tokens.clone(), self.hops.clone());
        TokenClientFuture::new(service.call(request.map(Payload::from)))
    }
}

impl<P: Placement<Body> + Clone> Service<Request<Body>> for TokenClient<P> {
    type Response = Response<Body>;
    type Error = TokenServiceError<::reqwest::Error>;
    type Future = TokenClientFuture<P>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.send(request)
    }
}

impl<P: Placement<Body> + Clone> Service<Request<Body>> for &TokenClient<P> {
    type Response = Response<Body>;
    type Error = TokenServiceError<::reqwest::Error>;
    type Future = TokenClientFuture<P>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.send(request)
    }
}

/// What reqwest cannot build is an error of reqwest's.
impl From<::reqwest::Error> for TokenServiceError<::reqwest::Error> {
    fn from(error: ::reqwest::Error) -> Self {
        Self::Inner(error)
    }
}

impl<P> fmt::Debug for TokenClient<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient").finish_non_exhaustive()
    }
}
