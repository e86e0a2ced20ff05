//! What the tests of the stand-in ask it.

use std::error::Error as StdError;

use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::MeshServer;
use crate::secret::Secret;
use crate::testkit::wire::test_client::{Reply, TestClient};

/// The client of a server.
pub(super) struct Caller<'a> {
    server: &'a MeshServer,
    http: TestClient,
}

impl<'a> Caller<'a> {
    pub(super) fn new(server: &'a MeshServer) -> Self {
        let http = TestClient::new();
        Self { server, http }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        let request = Request::get(self.url(path));
        self.http.send(request, Vec::new()).await.unwrap()
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).await.unwrap()
    }

    pub(super) async fn try_post(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Reply, Box<dyn StdError + Send + Sync>> {
        let (id, secret) = (self.server.client_id(), self.server.client_secret());
        let request = as_client(Request::post(self.url(path)), id, secret);
        self.http.send(request, body.to_string().into_bytes()).await
    }

    pub(super) async fn delete(&self, path: &str, body: &Value) -> Reply {
        let (id, secret) = (self.server.client_id(), self.server.client_secret());
        self.send_as(id, secret, Request::delete(self.url(path)), body)
            .await
    }

    pub(super) async fn send_as(
        &self,
        id: &str,
        secret: &str,
        request: http::request::Builder,
        body: &Value,
    ) -> Reply {
        let request = as_client(request, id, secret);
        let sent = self.http.send(request, body.to_string().into_bytes());
        sent.await.unwrap()
    }

    /// As the page with this key.
    pub(super) async fn behind(&self, key: &str, path: &str, body: &Value) -> Reply {
        let request = Request::post(self.url(path))
            .header("x-page-key", key)
            .header(CONTENT_TYPE, "application/json");
        let sent = self.http.send(request, body.to_string().into_bytes());
        sent.await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}{path}", self.server.base_url()),
        }
    }
}

fn as_client(request: http::request::Builder, id: &str, secret: &str) -> http::request::Builder {
    request
        .header("x-client-id", id)
        .header("x-client-secret", secret)
        .header(CONTENT_TYPE, "application/json")
}

/// The account tokens of a payload.
pub(super) fn tokens(payload: &Secret) -> Vec<Value> {
    let payload: Value = serde_json::from_str(payload.expose()).unwrap();
    payload["accessToken"]["accountTokens"]
        .as_array()
        .unwrap()
        .clone()
}
