//! Setting a client up.

use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower_layer::Layer as _;
use tower_token::{Authorization, Buffered, TokenLayer, TokenManager};

use crate::client::TokenClient;

/// Builds a [`TokenClient`]; begin with [`TokenClient::builder`].
///
/// ```
/// use std::time::Duration;
/// use hyper_client_token::TokenClient;
/// use tower_token::TokenManager;
///
/// # fn f(manager: &TokenManager) {
/// let client = TokenClient::builder(manager)
///     .settings(|http| http.pool_idle_timeout(Duration::from_secs(20)))
///     .replay_limit(1 << 20)
///     .build();
/// # let _ = client;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TokenClientBuilder<C = HttpConnector, P = Authorization> {
    tokens: TokenLayer<Buffered, P>,
    http: legacy::Builder,
    pub(crate) connector: C,
}

const REPLAY_LIMIT: usize = 64 << 10;

impl TokenClientBuilder {
    pub(crate) fn new(manager: &TokenManager) -> Self {
        let mut http = Client::builder(TokioExecutor::new());
        // Without one, connections that idle are closed by nobody.
        http.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        let mut connector = HttpConnector::new();
        // A small request does not wait for the acknowledgement of the one before.
        connector.set_nodelay(true);
        Self {
            tokens: TokenLayer::new(manager).buffered(REPLAY_LIMIT),
            http,
            connector,
        }
    }
}

impl<C, P> TokenClientBuilder<C, P> {
    /// Another way to connect: a connector with roots, a resolver or a proxy of your own. By
    /// default an [`HttpConnector`], without a time-out.
    pub fn connector<C2>(self, connector: C2) -> TokenClientBuilder<C2, P> {
        TokenClientBuilder {
            tokens: self.tokens,
            http: self.http,
            connector,
        }
    }

    /// Where the token goes: by default into the header [`Authorization`].
    ///
    /// ```
    /// use hyper_client_token::TokenClient;
    /// use tower_token::{JsonBody, TokenManager};
    ///
    /// # fn f(manager: &TokenManager) {
    /// // Into a field of the body, which has to be in memory.
    /// let client = TokenClient::builder(manager)
    ///     .place(JsonBody::field("authToken"))
    ///     .build();
    /// # let ada = client.for_key(tower_token::GrantKey::new("mesh", "ada"));
    /// # let _ = ada.request(http::Request::new(r#"{"type":"coinbase"}"#));
    /// # }
    /// ```
    pub fn place<P2>(self, placement: P2) -> TokenClientBuilder<C, P2> {
        TokenClientBuilder {
            tokens: self.tokens.place(placement),
            http: self.http,
            connector: self.connector,
        }
    }

    /// Changes the settings of hyper's client: those of its pool and of its protocols.
    #[must_use]
    pub fn settings(
        mut self,
        change: impl FnOnce(&mut legacy::Builder) -> &mut legacy::Builder,
    ) -> Self {
        change(&mut self.http);
        self
    }

    /// Speaks HTTP/2 without asking, to a server of plain `http` that is known to. Over TLS it is
    /// agreed on without this.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn http2_only(self) -> Self {
        self.settings(|http| http.http2_only(true))
    }

    /// How many bytes of a stream are kept for a second send after a 401: 64 KiB by default, for
    /// each request that is under way. See
    /// [`TokenLayer::buffered`](tower_token::TokenLayer::buffered).
    #[must_use]
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.tokens = self.tokens.buffered(bytes);
        self
    }

    /// Sends a request that names no grant without a token. By default it fails with
    /// [`MissingKey`](tower_token::ErrorKind::MissingKey).
    #[must_use]
    pub fn pass_without_key(mut self) -> Self {
        self.tokens = self.tokens.pass_without_key();
        self
    }

    /// Sends a request to an origin that its provider does not allow without a token. By default
    /// it fails with [`ForeignOrigin`](tower_token::ErrorKind::ForeignOrigin).
    #[must_use]
    pub fn foreign_origin_without_token(mut self) -> Self {
        self.tokens = self.tokens.foreign_origin_without_token();
        self
    }
}

impl<C: Connect + Clone, P: Clone> TokenClientBuilder<C, P> {
    /// The client.
    pub fn build(self) -> TokenClient<C, P> {
        let http = self.http.build(self.connector);
        TokenClient::over(self.tokens.layer(http))
    }
}
