//! The mutex of [`mutex`](super::mutex) in a middleware of reqwest, and one that also keeps a copy
//! of the request, for a 401.

use std::hint::black_box;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reqwest::{Request, Response, Url};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Error, Middleware, Next, Result};

use super::bearer;
use super::endpoint::Endpoint;
use super::mutex::Tokens;
use crate::noop::{API, HEADERS, NoToken, has_token};
use crate::peer::Peer;
use crate::token_service::TokenService;
use crate::{BoxError, ours};

/// Instead of the network: it answers at once.
struct Terminal {
    /// Refuse what has none.
    guarded: bool,
}

#[async_trait::async_trait]
impl Middleware for Terminal {
    async fn handle(&self, request: Request, _: &mut Extensions, _: Next<'_>) -> Result<Response> {
        match !self.guarded || has_token(black_box(request).headers()) {
            true => Ok(http::Response::new("").into()),
            false => Err(failed(NoToken.into())),
        }
    }
}

fn failed(error: BoxError) -> Error {
    Error::middleware(std::io::Error::other(error))
}

/// Adds the token of a user.
struct Bearer {
    user: String,
    endpoint: Endpoint,
    tokens: Tokens,
}

impl Bearer {
    async fn connect(service: &TokenService) -> std::result::Result<Self, BoxError> {
        let this = Self {
            user: ours::key(0).subject().to_owned(),
            endpoint: Endpoint::new(service)?,
            tokens: Tokens::default(),
        };
        this.token().await?;
        Ok(this)
    }

    async fn token(&self) -> Result<String> {
        let token = self.tokens.of(&self.user, &self.endpoint).await;
        token.map_err(failed)
    }

    fn add(token: &str, request: &mut Request) -> Result<()> {
        let header = bearer::header(token).map_err(failed)?;
        request.headers_mut().insert(AUTHORIZATION, header);
        Ok(())
    }
}

#[async_trait::async_trait]
impl Middleware for Bearer {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        Self::add(&self.token().await?, &mut request)?;
        next.run(request, extensions).await
    }
}

/// The same, which sends once more after a 401.
struct Retrying(Bearer);

#[async_trait::async_trait]
impl Middleware for Retrying {
    async fn handle(
        &self,
        mut request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        let token = self.0.token().await?;
        let again = request.try_clone();
        Bearer::add(&token, &mut request)?;
        let response = next.clone().run(request, extensions).await?;
        match again {
            Some(mut again) if response.status() == StatusCode::UNAUTHORIZED => {
                self.0.tokens.forget(&self.0.user, &token).await;
                Bearer::add(&self.0.token().await?, &mut again)?;
                next.run(again, extensions).await
            }
            _ => Ok(response),
        }
    }
}

/// A client with the middleware, one without, and what requests are made from.
#[derive(Clone)]
struct Clients {
    with: ClientWithMiddleware,
    without: ClientWithMiddleware,
    url: Url,
    headers: [(HeaderName, HeaderValue); 5],
}

impl Clients {
    fn new(middleware: impl Middleware) -> std::result::Result<Self, BoxError> {
        let builder = || ClientBuilder::new(reqwest::Client::new());
        Ok(Self {
            with: builder()
                .with(middleware)
                .with(Terminal { guarded: true })
                .build(),
            without: builder().with(Terminal { guarded: false }).build(),
            url: API.parse()?,
            headers: HEADERS.map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            }),
        })
    }

    fn request(&self) -> Request {
        let mut request = Request::new(Method::GET, self.url.clone());
        let headers: &mut HeaderMap = request.headers_mut();
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        request
    }
}

/// The middleware without a retry.
#[derive(Clone)]
pub struct ReqwestMiddleware(Clients);

impl Peer for ReqwestMiddleware {
    const NAME: &'static str = "reqwest-middleware";

    type Request = Request;

    async fn connect(service: &TokenService) -> std::result::Result<Self, BoxError> {
        Ok(Self(Clients::new(Bearer::connect(service).await?)?))
    }

    fn request(&self) -> Request {
        self.0.request()
    }

    async fn bare(&mut self, request: Request) -> std::result::Result<(), BoxError> {
        self.0.without.execute(request).await?;
        Ok(())
    }

    async fn send(&mut self, request: Request) -> std::result::Result<(), BoxError> {
        self.0.with.execute(request).await?;
        Ok(())
    }
}

/// The middleware that keeps a copy of the request.
#[derive(Clone)]
pub struct ReqwestMiddlewareRetry(Clients);

impl Peer for ReqwestMiddlewareRetry {
    const NAME: &'static str = "reqwest-middleware, armed";

    type Request = Request;

    async fn connect(service: &TokenService) -> std::result::Result<Self, BoxError> {
        let middleware = Retrying(Bearer::connect(service).await?);
        Ok(Self(Clients::new(middleware)?))
    }

    fn request(&self) -> Request {
        self.0.request()
    }

    async fn bare(&mut self, request: Request) -> std::result::Result<(), BoxError> {
        self.0.without.execute(request).await?;
        Ok(())
    }

    async fn send(&mut self, request: Request) -> std::result::Result<(), BoxError> {
        self.0.with.execute(request).await?;
        Ok(())
    }
}
