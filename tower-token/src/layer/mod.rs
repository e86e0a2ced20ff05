//! The outbound middleware: tokens into requests, 401s healed.

mod body_refusal;
mod buffered;
mod challenge;
mod copy;
mod error;
mod future;
mod header;
mod placement;
mod refusal;
mod replay;
mod request;
mod service;
#[cfg(feature = "reqwest")]
mod trail;

use std::fmt;
use std::sync::{Arc, Weak};

use tower_layer::Layer;

pub use self::body_refusal::{BodyRefusalFuture, BodyRefusalLayer, BodyRefusalService, PeekedBody};
pub use self::buffered::{Buffered, ReplayAgain, ReplayBody, ReplayBodyError};
#[cfg(fuzzing)]
pub(crate) use self::challenge::insufficient_scope;
pub use self::error::TokenServiceError;
pub use self::future::ResponseFuture;
pub use self::header::TokenHeader;
pub use self::placement::{Authorization, JsonBody, Placement};
pub use self::refusal::{RefusalFuture, RefusalLayer, RefusalService, TokenRefused};
pub use self::replay::{CloneBody, NoReplay, Replay};
pub use self::request::TokenRequest;
pub use self::service::TokenService;
#[cfg(feature = "reqwest")]
pub(crate) use self::trail::Trail;
use crate::manager::{Offer, Shared, TokenManager};

/// Wraps an HTTP client so that each request carries its user's valid token.
///
/// A request says whose token it needs by a [`TokenRequest`] in its extensions, or its
/// client is bound to one grant by [`for_key`](Self::for_key). Without a usable token the
/// client is not called. A request that already has an `Authorization` header is passed
/// on untouched. An API that wants its token elsewhere is served by [`place`](Self::place).
///
/// ```
/// # use tower_token::*;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # async fn f(manager: TokenManager) -> Result<(), Box<dyn std::error::Error>> {
/// let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
/// let client = ServiceBuilder::new().layer(TokenLayer::new(&manager)).service(http);
///
/// let request = http::Request::get("http://127.0.0.1:9000/me")
///     .extension(TokenRequest::new(GrantKey::new("example", "user-17")))
///     .body(Full::default())?;
/// let response = client.oneshot(request).await?;
/// # Ok(()) }
/// ```
///
/// # Order of layers
///
/// Retries and redirects belong outside of this layer: each try and each hop then gets
/// its own token, and its own check of where it goes. What belongs inside, and what goes wrong
/// otherwise, stands in [`order_of_layers`](crate::order_of_layers).
#[derive(Debug, Clone)]
pub struct TokenLayer<R = CloneBody, P = Authorization> {
    settings: Settings,
    replay: R,
    placement: P,
}

/// What holds for every request of a client.
#[derive(Clone)]
struct Settings {
    manager: Arc<Shared>,
    bound: Option<Bound>,
    pass_without_key: bool,
    foreign_origin_without_token: bool,
    /// Whether its requests may be hops of a redirect that is followed outside of it.
    #[cfg(feature = "reqwest")]
    has_trails: bool,
}

/// The grant that a client is bound to.
#[derive(Clone)]
struct Bound {
    wanted: TokenRequest,
    /// What it offered when that was last looked up by this client: a clone that is made for one
    /// request looks for itself once that was withdrawn.
    offer: Weak<Offer>,
}

impl TokenLayer {
    /// Tokens from `manager`; bodies that are `Clone` are sent again after a 401.
    pub fn new(manager: &TokenManager) -> Self {
        Self {
            settings: Settings {
                manager: Arc::clone(manager.shared()),
                bound: None,
                pass_without_key: false,
                foreign_origin_without_token: false,
                #[cfg(feature = "reqwest")]
                has_trails: false,
            },
            replay: CloneBody,
            placement: Authorization,
        }
    }
}

impl<R, P> TokenLayer<R, P> {
    /// Binds clients to one grant: their requests need no [`TokenRequest`], and one that
    /// names another grant is refused. Give a [`TokenRequest`] to say more than the key, such
    /// as the account.
    #[must_use]
    pub fn for_key(mut self, key: impl Into<TokenRequest>) -> Self {
        self.settings.bind(key.into());
        self
    }

    /// Another way to send a body twice, or [`NoReplay`].
    pub fn replay<R2>(self, replay: R2) -> TokenLayer<R2, P> {
        TokenLayer {
            settings: self.settings,
            replay,
            placement: self.placement,
        }
    }

    /// Lets streams be sent twice. A body goes out as it comes; up to `limit` bytes of what
    /// went by are kept until the response is there, a little more than the data for each piece.
    /// One that comes in a single piece, and said so, was in memory before, and is kept whatever
    /// its length.
    /// After a 401 the first request stands still. With a newer token a second one begins with
    /// what was kept and goes on from where the first was cut, whose connection is given up as
    /// soon as its client asks for more of the body (one of HTTP/2 that waits for the server to
    /// read on does not; a time-out around the call is for that); without one the first goes on,
    /// and the 401 is returned. So it is where too much had gone by; the token is then refreshed
    /// behind.
    ///
    /// A client does not wait for the `100 Continue` of a server that was asked for it by `Expect`
    /// (RFC 9110 section 10.1.1; neither hyper nor reqwest does): what went by until a refusal came
    /// in its place is kept like anything else.
    ///
    /// A client that reports a failed write in place of the 401 that came before it returns that
    /// failure. The client below gets a [`ReplayBody`] in place of the body.
    ///
    /// ```
    /// # use tower_token::*;
    /// use bytes::Bytes;
    /// use http_body_util::{StreamBody, combinators::UnsyncBoxBody};
    /// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
    /// use tower::ServiceBuilder;
    ///
    /// # fn f(manager: TokenManager) {
    /// // Any stream that cannot be cloned.
    /// type Upload = UnsyncBoxBody<Bytes, std::io::Error>;
    ///
    /// let http: Client<_, ReplayBody<Upload>> = Client::builder(TokioExecutor::new()).build_http();
    /// let tokens = TokenLayer::new(&manager).buffered(64 * 1024);
    /// let client = ServiceBuilder::new().layer(tokens).service(http);
    /// # let _ = client;
    /// # }
    /// ```
    pub fn buffered(self, limit: usize) -> TokenLayer<Buffered, P> {
        self.replay(Buffered::new(limit))
    }

    /// Where the token goes: by default into the header [`Authorization`].
    pub fn place<P2>(self, placement: P2) -> TokenLayer<R, P2> {
        TokenLayer {
            settings: self.settings,
            replay: self.replay,
            placement,
        }
    }

    /// Sends a request that names no grant without a token. By default it fails with
    /// [`ErrorKind::MissingKey`](crate::ErrorKind::MissingKey).
    #[must_use]
    pub fn pass_without_key(mut self) -> Self {
        self.settings.pass_without_key = true;
        self
    }

    /// Sends a request to an origin that its provider does not allow without a token, as
    /// for a download that an API redirects to. By default it fails with
    /// [`ErrorKind::ForeignOrigin`](crate::ErrorKind::ForeignOrigin).
    ///
    /// Mind that such an origin may redirect in turn, back to the API and to a path of its
    /// choosing: a layer that follows redirects brings that here as a request like any other.
    /// `reqwest::TokenClient` sends no token any more once it was there.
    #[must_use]
    pub fn foreign_origin_without_token(mut self) -> Self {
        self.settings.foreign_origin_without_token = true;
        self
    }
}

impl<S, R: Clone, P: Clone> Layer<S> for TokenLayer<R, P> {
    type Service = TokenService<S, R, P>;

    fn layer(&self, inner: S) -> Self::Service {
        TokenService {
            inner,
            settings: self.settings.clone(),
            replay: self.replay.clone(),
            placement: self.placement.clone(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("bound", &self.bound.as_ref().map(|bound| &bound.wanted))
            .field("pass_without_key", &self.pass_without_key)
            .field(
                "foreign_origin_without_token",
                &self.foreign_origin_without_token,
            )
            .finish_non_exhaustive()
    }
}
