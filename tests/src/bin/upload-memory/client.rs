//! The clients that are measured.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tests::BoxError;
use tower::ServiceBuilder;
use tower::util::BoxCloneService;
use tower_token::{TokenLayer, TokenManager, TokenServiceError};

use crate::measure::Version;
use crate::upload::Upload;

/// What is measured: a client in the layer. Another kind is another function that makes one.
pub(crate) type Uploads =
    BoxCloneService<Request<Upload>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

pub(crate) fn hyper(manager: &TokenManager, limit: usize, version: Version) -> Uploads {
    let http = Client::builder(TokioExecutor::new())
        .http2_only(version == Version::Http2)
        .build_http();
    ServiceBuilder::new()
        .boxed_clone()
        .map_err(TokenServiceError::into_boxed)
        .map_response(|response: Response<Incoming>| {
            response.map(|body| body.map_err(BoxError::from).boxed_unsync())
        })
        .layer(TokenLayer::new(manager).buffered(limit))
        .service(http)
}
