//! reqwest's client as a Tower service over `http` types.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::reqwest::redirect::Policy;
use ::reqwest::{Body, Client, ClientBuilder, ResponseBuilderExt as _, Url};
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

/// A reqwest client as a Tower service, to put under a [`TokenLayer`](crate::TokenLayer) and
/// other layers by hand. [`TokenClient`](super::TokenClient) is the short way.
///
/// It follows no redirects: what does belongs outside of the token layer, so that each hop is
/// checked. (tower-http's `FollowRedirect` 0.6 keeps no extensions on its way, so the layer under
/// it needs [`for_key`](crate::TokenLayer::for_key); and credentials that a request brings itself
/// reach the second hop at another origin.) A [`reqwest::Response`](::reqwest::Response) that is
/// made of its response knows its URL.
///
/// ```
/// # use tower_token::*;
/// use std::time::Duration;
///
/// use ::reqwest::Client;
/// use http::StatusCode;
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_token::reqwest::ReqwestService;
///
/// # async fn f(manager: TokenManager) -> Result<(), Box<dyn std::error::Error>> {
/// let builder = Client::builder().timeout(Duration::from_secs(10));
/// let client = ServiceBuilder::new()
///     .layer(TokenLayer::new(&manager).buffered(64 * 1024))
///     .layer(RefusalLayer::new(|status, _| status == StatusCode::FORBIDDEN))
///     .service(ReqwestService::new(builder)?);
///
/// let request = http::Request::get("https://api.example.com/me")
///     .extension(TokenRequest::new(GrantKey::new("example", "user-17")))
///     .body(::reqwest::Body::default())?;
/// let response = ::reqwest::Response::from(client.oneshot(request).await?);
/// println!("{}", response.text().await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct ReqwestService {
    client: Client,
}

impl ReqwestService {
    /// A client of this builder, with its redirects switched off.
    ///
    /// # Errors
    ///
    /// What [`ClientBuilder::build`] says.
    pub fn new(builder: ClientBuilder) -> Result<Self, ::reqwest::Error> {
        builder.redirect(Policy::none()).build().map(Self::over)
    }

    /// A client that may follow redirects, whatever it should.
    pub(super) fn over(client: Client) -> Self {
        Self { client }
    }

    /// The client itself.
    pub fn get_ref(&self) -> &Client {
        &self.client
    }
}

impl<B: Into<Body>> Service<Request<B>> for ReqwestService {
    type Response = Response<Body>;
    type Error = ::reqwest::Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ::reqwest::Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ReqwestFuture {
        let state = match ::reqwest::Request::try_from(request) {
            Ok(request) => State::Sent {
                url: request.url().clone(),
                response: self.client.call(request),
            },
            Err(error) => State::Failed { error: Some(error) },
        };
        ReqwestFuture { state }
    }
}

pin_project! {
    /// The response future of [`ReqwestService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ReqwestFuture {
        #[pin]
        state: State,
    }
}

type Pending = <Client as Service<::reqwest::Request>>::Future;

pin_project! {
    #[project = StateProj]
    enum State {
        /// It is no request of reqwest's.
        Failed { error: Option<::reqwest::Error> },
        Sent {
            url: Url,
            #[pin]
            response: Pending,
        },
    }
}

/// In a response's extensions: the client followed a redirect by itself.
#[derive(Clone, Copy)]
pub(super) struct WentByItself;

impl Future for ReqwestFuture {
    type Output = Result<Response<Body>, ::reqwest::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (asked, response) = match self.project().state.project() {
            StateProj::Failed { error } => {
                return match error.take() {
                    Some(error) => Poll::Ready(Err(error)),
                    None => Poll::Pending,
                };
            }
            StateProj::Sent { url, response } => (url, ready!(response.poll(cx))?),
        };
        let url = response.url().clone();
        let went_by_itself = url != *asked;
        let mut response = Response::from(response);
        response.extensions_mut().extend(at(url));
        if went_by_itself {
            // Whatever it says is not for the layer to heal.
            *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
            response.extensions_mut().insert(WentByItself);
        }
        Poll::Ready(Ok(response))
    }
}

/// What tells reqwest a response's URL, which does not survive the way to `http` and back.
fn at(url: Url) -> http::Extensions {
    Response::builder()
        .url(url)
        .body(())
        .map(|response| response.into_parts().0.extensions)
        .unwrap_or_default()
}

/// The client's default headers may be secrets.
impl fmt::Debug for ReqwestService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestService").finish_non_exhaustive()
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}
