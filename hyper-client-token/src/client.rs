//! The client itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::legacy::{self, Client};
use pin_project_lite::pin_project;
use tower_service::Service;
use tower_token::{
    Authorization, Buffered, Placement, ReplayBody, TokenManager, TokenRequest, TokenService,
    TokenServiceError,
};

use crate::body::Body;
use crate::builder::TokenClientBuilder;

/// Either there was no token, and nothing was sent, or hyper's client failed: its error is
/// inside, and what it was caused by is this one's [`source`](std::error::Error::source).
///
/// ```no_run
/// use hyper_client_token::{Error, TokenClient};
/// use tower_token::Recovery;
///
/// # async fn f(ada: TokenClient, uri: http::Uri) {
/// match ada.get(uri).await {
///     Ok(response) => println!("{}", response.status()),
///     Err(Error::Token(error)) if error.recovery() == Recovery::Reauthenticate => {
///         println!("ada has to connect again");
///     }
///     Err(Error::Token(error)) => println!("no token: {error}"),
///     Err(Error::Inner(error)) if error.is_connect() => println!("the API is not there"),
///     Err(Error::Inner(error)) => println!("the connection failed: {error}"),
/// }
/// # }
/// ```
pub type Error = TokenServiceError<legacy::Error>;

/// A [`TokenClient`] for `https`, as [`https_only`](TokenClientBuilder::https_only) makes it: the
/// type to keep it by, in the state of a service.
///
/// ```
/// use hyper_client_token::{HttpsTokenClient, TokenClient};
/// use tower_token::TokenManager;
///
/// #[derive(Clone)]
/// struct Calendars {
///     client: HttpsTokenClient,
/// }
///
/// fn calendars(manager: &TokenManager) -> std::io::Result<Calendars> {
///     let client = TokenClient::builder(manager).https_only()?.build();
///     Ok(Calendars { client })
/// }
/// ```
#[cfg(feature = "rustls")]
pub type HttpsTokenClient<P = Authorization> =
    TokenClient<hyper_rustls::HttpsConnector<HttpConnector>, P>;

pin_project! {
    /// What a [`TokenClient`] answers with: a [`Response`], or an [`Error`]. It can be dropped at
    /// any time; a refresh that it waited for goes on, and is there for the next.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<C = HttpConnector, P = Authorization>
    where
        C: Connect,
        C: Clone,
        C: Send,
        C: Sync,
        C: 'static,
    {
        #[pin]
        response: tower_token::ResponseFuture<Http<C>, Body, Buffered, P>,
    }
}

pub(crate) type Http<C> = Client<C, ReplayBody<Body>>;

/// hyper's client with each user's valid token in it.
///
/// One is enough for all users: they share its connections, and nothing else. [`for_key`] makes a
/// handle of one user; without one, each request says whose token it needs by a
/// [`TokenRequest`] in its extensions. Clones are cheap, and share the connections too.
///
/// It is a Tower service for requests with any body that is [`Into<Body>`](Body), so that layers
/// go around it.
///
/// ```no_run
/// use hyper_client_token::TokenClient;
/// use tower_token::{GrantKey, TokenManager};
///
/// # async fn f(manager: TokenManager) -> Result<(), Box<dyn std::error::Error>> {
/// let client = TokenClient::new(&manager);
/// let ada = client.for_key(GrantKey::new("example", "ada"));
/// let response = ada.get("http://127.0.0.1:9000/me".parse()?).await?;
/// # Ok(()) }
/// ```
///
/// [`for_key`]: Self::for_key
#[derive(Clone)]
pub struct TokenClient<C = HttpConnector, P = Authorization> {
    service: TokenService<Http<C>, Buffered, P>,
}

impl TokenClient {
    /// With the tokens of `manager`, over plain HTTP/1.1: for an API on loopback, or behind a
    /// proxy there. All else begins with [`builder`](Self::builder), `https` too.
    pub fn new(manager: &TokenManager) -> Self {
        Self::builder(manager).build()
    }

    /// Begins to set a client up.
    pub fn builder(manager: &TokenManager) -> TokenClientBuilder {
        TokenClientBuilder::new(manager)
    }
}

impl<C, P> TokenClient<C, P> {
    pub(crate) fn over(service: TokenService<Http<C>, Buffered, P>) -> Self {
        Self { service }
    }
}

impl<C: Clone, P: Clone> TokenClient<C, P> {
    /// A handle of one user, over the same connections: its requests need no [`TokenRequest`], and
    /// one that names another grant is refused. Give a [`TokenRequest`] to say more than the
    /// key, such as the account.
    #[must_use]
    pub fn for_key(&self, key: impl Into<TokenRequest>) -> Self {
        Self {
            service: self.service.for_key(key),
        }
    }
}

impl<C, P> TokenClient<C, P>
where
    C: Connect + Clone + Send + Sync + 'static,
    P: Placement<ReplayBody<Body>> + Clone,
{
    /// Sends a request, whose URI is absolute.
    ///
    /// ```no_run
    /// use http::Request;
    /// use http::header::CONTENT_TYPE;
    /// use hyper_client_token::TokenClient;
    ///
    /// # async fn f(ada: TokenClient) -> Result<(), Box<dyn std::error::Error>> {
    /// let request = Request::post("http://127.0.0.1:9000/events")
    ///     .header(CONTENT_TYPE, "application/json")
    ///     .body(r#"{"summary":"tea"}"#)?;
    /// let response = ada.request(request).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Without a usable token nothing is sent: see [`ErrorKind`](tower_token::ErrorKind) and
    /// [`Error::recovery`](tower_token::Error::recovery). All else is hyper's. A 401 that could
    /// not be healed is no error, but the response.
    pub fn request<B: Into<Body>>(&self, request: Request<B>) -> ResponseFuture<C, P> {
        // hyper's client is always ready.
        let response = self.service.clone().call(request.map(Into::into));
        ResponseFuture { response }
    }

    /// Sends a `GET` to an absolute URI, as the user that this client is [bound](Self::for_key) to.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request); [`MissingKey`](tower_token::ErrorKind::MissingKey) where it
    /// is bound to nobody.
    pub fn get(&self, uri: Uri) -> ResponseFuture<C, P> {
        let mut request = Request::new(Body::default());
        *request.uri_mut() = uri;
        self.request(request)
    }
}

impl<C, P, B> Service<Request<B>> for TokenClient<C, P>
where
    C: Connect + Clone + Send + Sync + 'static,
    P: Placement<ReplayBody<Body>> + Clone,
    B: Into<Body>,
{
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = ResponseFuture<C, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let response = self.service.call(request.map(Into::into));
        ResponseFuture { response }
    }
}

impl<C, P> Future for ResponseFuture<C, P>
where
    C: Connect + Clone + Send + Sync + 'static,
    P: Placement<ReplayBody<Body>> + Clone,
{
    type Output = Result<Response<Incoming>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().response.poll(cx)
    }
}

impl<C, P> fmt::Debug for ResponseFuture<C, P>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<C, P: fmt::Debug> fmt::Debug for TokenClient<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenClient")
            .field("service", &self.service)
            .finish()
    }
}
