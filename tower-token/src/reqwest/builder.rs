//! What can be set of a client.

use std::fmt;

use ::reqwest::{Client, ClientBuilder};
use tower_layer::Layer as _;

use super::body::ReplayPayload;
use super::client::TokenClient;
use super::redirect::Hops;
use super::service::ReqwestService;
use crate::layer::{Authorization, TokenLayer};
use crate::manager::TokenManager;

/// Sets what [`TokenClient::new`] leaves at its defaults.
///
/// ```
/// # use tower_token::*;
/// use http::HeaderName;
/// use tower_token::reqwest::TokenClient;
///
/// # fn f(manager: TokenManager) -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = TokenClient::builder(&manager)
///     .place(TokenHeader::new(HeaderName::from_static("x-api-key")))
///     .foreign_origin_without_token()
///     .build(::reqwest::Client::builder().https_only(true))?;
/// # let _ = tokens;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until it is built"]
pub struct TokenClientBuilder<P = Authorization> {
    layer: TokenLayer,
    placement: P,
    replay_limit: usize,
    redirects: usize,
}

impl TokenClientBuilder {
    pub(super) fn new(manager: &TokenManager) -> Self {
        Self {
            layer: TokenLayer::new(manager),
            placement: Authorization,
            replay_limit: 64 * 1024,
            redirects: 10,
        }
    }

    /// Over a client of yours **that follows no redirects**: see
    /// [`TokenClient::from_client_without_redirects`].
    pub fn build_from_client_without_redirects(self, client: Client) -> TokenClient {
        self.over(ReqwestService::over(client))
    }
}

impl<P> TokenClientBuilder<P> {
    /// Where the token goes: by default into the header [`Authorization`].
    pub fn place<P2>(self, placement: P2) -> TokenClientBuilder<P2> {
        TokenClientBuilder {
            layer: self.layer,
            placement,
            replay_limit: self.replay_limit,
            redirects: self.redirects,
        }
    }

    /// How many bytes of a streaming body, such as a multipart form, are kept for a second send
    /// after a 401: by default 64 KiB. Where more went by the 401 is returned, and the token
    /// refreshed behind; see [`TokenLayer::buffered`]. What is in memory already, as JSON is, is
    /// sent twice whatever its length, and costs nothing.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.replay_limit = bytes;
        self
    }

    /// How many redirects are followed: by default ten. The one after that is the response.
    pub fn redirects(mut self, max: usize) -> Self {
        self.redirects = max;
        self
    }

    /// Sends a request of no grant without a token: see [`TokenLayer::pass_without_key`].
    pub fn pass_without_key(mut self) -> Self {
        self.layer = self.layer.pass_without_key();
        self
    }

    /// Sends a request, and a redirect, to an origin that its provider does not allow without a
    /// token: see [`TokenLayer::foreign_origin_without_token`].
    pub fn foreign_origin_without_token(mut self) -> Self {
        self.layer = self.layer.foreign_origin_without_token();
        self
    }

    /// The client.
    ///
    /// # Errors
    ///
    /// What [`ClientBuilder::build`] says.
    pub fn build(self, client: ClientBuilder) -> Result<TokenClient<P>, ::reqwest::Error>
    where
        P: Clone,
    {
        Ok(self.over(ReqwestService::new(client)?))
    }

    fn over(self, service: ReqwestService) -> TokenClient<P>
    where
        P: Clone,
    {
        let tokens = self
            .layer
            .replay(ReplayPayload::new(self.replay_limit))
            .place(self.placement.clone())
            .layer(service);
        TokenClient::from_parts(tokens, Hops::new(self.placement, self.redirects))
    }
}

impl<P: fmt::Debug> fmt::Debug for TokenClientBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClientBuilder")
            .field("placement", &self.placement)
            .field("replay_limit", &self.replay_limit)
            .field("redirects", &self.redirects)
            .finish_non_exhaustive()
    }
}
