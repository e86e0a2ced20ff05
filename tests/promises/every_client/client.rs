//! The clients that people use, each as a function from a request to its answer.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::BoxError;
use tokio::net::TcpStream;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_token::{
    ErrorKind, ReplayBody, TokenLayer, TokenManager, TokenRequest, TokenServiceError, reqwest,
};

use super::upload::{KIB, Upload};
use crate::reqwest_rig::builder;

/// How much of a stream they keep: not what they would by themselves.
pub const LIMIT: usize = 32 * KIB;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    HyperHttp1,
    HyperHttp2,
    Reqwest,
    /// A Tower service of our own making, with a connection for each request.
    Tower,
}

/// Who follows redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    Nobody,
    /// A layer around ours, or the client by itself where it does that.
    Outside,
    /// What is below our layer.
    Inside,
}

pub struct Setup<'a> {
    pub manager: &'a TokenManager,
    pub user: TokenRequest,
    pub redirects: Redirects,
    pub foreign_origin_without_token: bool,
}

/// A client of one user.
#[derive(Clone)]
pub struct Client(Arc<dyn Fn(Request<Upload>) -> BoxFuture<'static, Sent> + Send + Sync>);

type Sent = Result<Answer, Failure>;

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Ours: nothing was sent.
    Token(ErrorKind),
    /// The client's own.
    Transport,
}

impl Client {
    pub fn send(&self, request: Request<Upload>) -> BoxFuture<'static, Sent> {
        (self.0)(request)
    }
}

impl Setup<'_> {
    pub fn client(&self, kind: Kind) -> Client {
        let [client] = self.clients(kind, [self.user.clone()]);
        client
    }

    /// A client for each, over the same connections.
    pub fn clients<const N: usize>(
        &self,
        kind: Kind,
        users: [impl Into<TokenRequest>; N],
    ) -> [Client; N] {
        match kind {
            Kind::HyperHttp1 => self.hyper(false, users),
            Kind::HyperHttp2 => self.hyper(true, users),
            Kind::Reqwest => self.reqwest(users),
            Kind::Tower => self.over(&tower::service_fn(by_its_own_connection), users),
        }
    }

    fn hyper<const N: usize>(
        &self,
        http2: bool,
        users: [impl Into<TokenRequest>; N],
    ) -> [Client; N] {
        if self.redirects == Redirects::Inside {
            // What is below our layer is that client's own affair.
            let mut pool = Pool::builder(TokioExecutor::new());
            return self.over(&pool.http2_only(http2).build_http(), users);
        }
        let mut client = hyper_client_token::TokenClient::builder(self.manager).replay_limit(LIMIT);
        if http2 {
            client = client.http2_only();
        }
        if self.foreign_origin_without_token {
            client = client.foreign_origin_without_token();
        }
        let client = client.build();
        users.map(|user| {
            let follow = self.redirects == Redirects::Outside;
            let client =
                tower::util::MapRequest::new(client.for_key(user), |request: Request<Upload>| {
                    request.map(hyper_client_token::Body::new)
                });
            match follow {
                true => Client::of(FollowRedirectLayer::new().layer(client)),
                false => Client::of(client),
            }
        })
    }

    fn reqwest<const N: usize>(&self, users: [impl Into<TokenRequest>; N]) -> [Client; N] {
        let mut client = reqwest::TokenClient::builder(self.manager).replay_limit(LIMIT);
        if self.foreign_origin_without_token {
            client = client.foreign_origin_without_token();
        }
        let client = match self.redirects {
            Redirects::Nobody => client.redirects(0).build(builder()).unwrap(),
            Redirects::Outside => client.build(builder()).unwrap(),
            Redirects::Inside => {
                client.build_from_client_without_redirects(builder().build().unwrap())
            }
        };
        users.map(|user| {
            let as_reqwest_has_it = |request: Request<Upload>| {
                request.map(|upload| match upload.is_end_stream() {
                    true => ::reqwest::Body::default(),
                    false => ::reqwest::Body::wrap(upload),
                })
            };
            let client = client.for_key(user);
            Client::of(tower::util::MapRequest::new(client, as_reqwest_has_it))
        })
    }

    fn over<S, A, const N: usize>(
        &self,
        http: &S,
        users: [impl Into<TokenRequest>; N],
    ) -> [Client; N]
    where
        S: Service<Request<ReplayBody<Upload>>, Response = Response<A>, Error: Debug, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
        A: Body<Data: Send, Error: Debug> + Send + 'static,
    {
        let redirects = FollowRedirectLayer::new();
        users.map(|user| {
            let mut tokens = TokenLayer::new(self.manager).for_key(user);
            if self.foreign_origin_without_token {
                tokens = tokens.foreign_origin_without_token();
            }
            let (tokens, http) = (tokens.buffered(LIMIT), http.clone());
            match self.redirects {
                Redirects::Nobody => Client::of(tokens.layer(http)),
                Redirects::Outside => Client::of(redirects.layer(tokens.layer(http))),
                Redirects::Inside => Client::of(tokens.layer(redirects.layer(http))),
            }
        })
    }
}

impl Client {
    fn of<S, A, E>(service: S) -> Self
    where
        S: Service<
                Request<Upload>,
                Response = Response<A>,
                Error = TokenServiceError<E>,
                Future: Send,
            > + Clone
            + Send
            + Sync
            + 'static,
        A: Body<Data: Send, Error: Debug> + Send + 'static,
        E: Debug,
    {
        Self(Arc::new(move |request| {
            let response = service.clone().oneshot(request);
            Box::pin(async move {
                let (head, body) = response.await.map_err(Failure::of)?.into_parts();
                let body = body.collect().await.map_err(|_| Failure::Transport)?;
                Ok(Answer {
                    status: head.status,
                    body: body.to_bytes(),
                })
            })
        }))
    }
}

impl Failure {
    fn of<E: Debug>(error: TokenServiceError<E>) -> Self {
        match error {
            TokenServiceError::Token(error) => Self::Token(error.kind()),
            TokenServiceError::Inner(_) => Self::Transport,
        }
    }
}

async fn by_its_own_connection<B>(mut request: Request<B>) -> Result<Response<Incoming>, BoxError>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let host = request.uri().authority().ok_or("no host")?.to_string();
    let (mut http, connection) =
        http1::handshake(TokioIo::new(TcpStream::connect(&host).await?)).await?;
    tokio::spawn(connection);
    request.headers_mut().insert(HOST, host.parse()?);
    *request.uri_mut() = request.uri().path().parse()?;
    Ok(http.send_request(request).await?)
}
