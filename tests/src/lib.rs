//! What the promises share: a real OAuth server, a token service that does as it is
//! told, and a detector of leaks.

pub mod acked;
pub mod any;
pub mod broken;
pub mod child;
pub mod concurrent;
mod delegate;
pub mod door;
pub mod fake;
pub mod faulty;
pub mod flaky;
pub mod fleet;
pub mod leaks;
pub mod mesh;
pub mod mounted;
pub mod oidc;
pub mod person;
pub mod port;
pub mod postgres;
pub mod recorder;
pub mod resident;
pub mod shared;
pub mod tables;
pub mod unsynced;
pub mod upload;
pub mod veiled;

use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The HTTP client that the tests wrap.
pub type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Any error, in a test.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A pooled client without a token of its own.
pub fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Whether the API at `url` takes this access token now.
pub async fn accepts(http: &HttpClient, url: String, token: &str) -> Result<bool, BoxError> {
    let request = Request::get(url)
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::default())?;
    Ok(http.request(request).await?.status().is_success())
}

/// Reads a whole body as JSON; `null` if it is none.
pub async fn json<B>(response: http::Response<B>) -> Result<serde_json::Value, BoxError>
where
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    let body = response.into_body().collect().await.map_err(Into::into)?;
    Ok(serde_json::from_slice(&body.to_bytes()).unwrap_or(serde_json::Value::Null))
}

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
