//! A bare HTTP client, for the tests of the server.

use std::error::Error as StdError;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::AuthServer;

pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: HeaderName) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(super) struct TestClient(Client<HttpConnector, Full<Bytes>>);

impl TestClient {
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    pub(super) async fn send(
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

    pub(super) async fn me(&self, server: &AuthServer, token: &str) -> Reply {
        let request =
            Request::get(server.api() + "/me").header(AUTHORIZATION, format!("Bearer {token}"));
        self.send(request, Vec::new()).await.unwrap()
    }

    /// Posts a form as the registered client.
    pub(super) async fn post(
        &self,
        server: &AuthServer,
        to: String,
        form: &[(&str, &str)],
    ) -> Result<Reply, Box<dyn StdError + Send + Sync>> {
        let encode =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = BASE64_STANDARD.encode(format!(
            "{}:{}",
            encode(server.client_id()),
            encode(server.client_secret())
        ));
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(to)
            .header(AUTHORIZATION, format!("Basic {basic}"))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request, body.into_bytes()).await
    }

    pub(super) async fn refresh(
        &self,
        server: &AuthServer,
        token: &str,
    ) -> Result<Reply, Box<dyn StdError + Send + Sync>> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.post(server, server.token_endpoint(), &form).await
    }
}
