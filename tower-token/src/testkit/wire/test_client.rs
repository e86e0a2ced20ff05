//! A bare HTTP client, for the tests of the servers.

use std::error::Error as StdError;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

pub(in crate::testkit) struct Reply {
    pub(in crate::testkit) status: StatusCode,
    pub(in crate::testkit) headers: HeaderMap,
    pub(in crate::testkit) body: Bytes,
}

impl Reply {
    pub(in crate::testkit) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(in crate::testkit) fn header(&self, name: HeaderName) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(in crate::testkit) struct TestClient(Client<HttpConnector, Full<Bytes>>);

impl TestClient {
    pub(in crate::testkit) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    pub(in crate::testkit) async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Reply, Box<dyn StdError + Send + Sync>> {
        let answer = self.0.request(request.body(Full::from(body))?).await?;
        let (head, body) = answer.into_parts();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }
}
