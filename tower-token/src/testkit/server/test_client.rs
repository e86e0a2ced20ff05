//! What the tests of the server ask it.

use std::error::Error as StdError;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use super::AuthServer;
pub(super) use crate::testkit::wire::test_client::{Reply, TestClient};

impl TestClient {
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
