//! The clients that are measured, as people have them.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_client_token::Body;
use tests::BoxError;
use tests::upload::Upload;
use tower::ServiceBuilder;
use tower::util::BoxCloneService;
use tower_token::{TokenManager, TokenRequest, TokenServiceError, reqwest};

/// What is measured: a client in the layer. Another kind is another function that makes one.
pub(crate) type Uploads =
    BoxCloneService<Request<Upload>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    HyperHttp1,
    HyperHttp2,
    Reqwest,
}

pub(crate) const CLIENTS: [Client; 3] = [Client::HyperHttp1, Client::HyperHttp2, Client::Reqwest];

impl Client {
    /// One of this user's, that keeps `limit` bytes of what goes by.
    pub(crate) fn of(
        self,
        user: TokenRequest,
        manager: &TokenManager,
        limit: usize,
    ) -> Result<Uploads, BoxError> {
        Ok(match self {
            Self::HyperHttp1 => hyper(user, manager, limit, false),
            Self::HyperHttp2 => hyper(user, manager, limit, true),
            Self::Reqwest => with_reqwest(user, manager, limit)?,
        })
    }
}

fn hyper(user: TokenRequest, manager: &TokenManager, limit: usize, http2: bool) -> Uploads {
    let mut client = hyper_client_token::TokenClient::builder(manager).replay_limit(limit);
    if http2 {
        client = client.http2_only();
    }
    ServiceBuilder::new()
        .boxed_clone()
        .map_err(TokenServiceError::into_boxed)
        .map_response(|response: Response<Incoming>| {
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        })
        .map_request(|request: Request<Upload>| request.map(Body::new))
        .service(client.build().for_key(user))
}

fn with_reqwest(
    user: TokenRequest,
    manager: &TokenManager,
    limit: usize,
) -> Result<Uploads, BoxError> {
    let client = reqwest::TokenClient::builder(manager).replay_limit(limit);
    let client = client.build(::reqwest::Client::builder().no_proxy())?;
    Ok(ServiceBuilder::new()
        .boxed_clone()
        .map_err(TokenServiceError::into_boxed)
        .map_response(|response: Response<::reqwest::Body>| {
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        })
        .map_request(|request: Request<Upload>| request.map(::reqwest::Body::wrap))
        .service(client.for_key(user)))
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HyperHttp1 => "hyper-http1",
            Self::HyperHttp2 => "hyper-http2",
            Self::Reqwest => "reqwest",
        })
    }
}
