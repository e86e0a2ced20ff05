//! The API: takes bodies, gives bodies.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tests::BoxError;
use tests::upload::{Upload, received};
use tokio::net::TcpListener;

/// Serves from now on, at this origin.
pub(crate) async fn serve() -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A connection that breaks is the client's to tell.
                let _ = server
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    Ok(origin)
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// `POST /up` is good if its body is, `GET /down/{len}` is answered with one.
async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let token = request.headers().get("authorization");
    let known = token.is_some_and(|token| token == "Bearer a0");
    let down = request.uri().path().strip_prefix("/down/");
    let down = down.and_then(|len| len.parse().ok());
    let (status, len) = match down {
        _ if !known => (StatusCode::FORBIDDEN, 0),
        Some(len) => (StatusCode::OK, len),
        None => match received(request.into_body()).await {
            Ok((_, true)) => (StatusCode::OK, 0),
            _ => (StatusCode::BAD_REQUEST, 0),
        },
    };
    let mut response = Response::new(Upload::new(len).boxed_unsync());
    *response.status_mut() = status;
    Ok(response)
}
