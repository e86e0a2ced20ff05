//! `POST /link-token`

use axum_core::response::Response;
use http::StatusCode;
use serde_json::json;

use super::MeshRoutes;
use super::answer::{self, Refusal};
use super::body::{self, Sent};
use crate::visitor::CurrentSubject;

impl MeshRoutes {
    pub(super) async fn link_token(
        &self,
        user: CurrentSubject,
        body: Sent,
    ) -> Result<Response, Refusal> {
        body::empty(body)?;
        let token = self
            .link
            .link_token(self.link_request(user.as_str()))
            .await?;
        let answer = json!({ "linkToken": token.expose() });
        Ok(answer::json(StatusCode::OK, &answer))
    }
}
