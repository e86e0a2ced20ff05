//! gcp_auth, with a service account. It hands out text; the header is the program's.

use std::sync::Arc;

use ::gcp_auth::{CustomServiceAccount, TokenProvider};
use http::Request;

use super::bearer;
use super::service_account::{self, SCOPES};
use crate::BoxError;
use crate::noop::{Body, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

/// A `TokenProvider`, shared as its documentation says. A token is due 20 s before it expires.
#[derive(Clone)]
pub struct GcpAuth {
    provider: Arc<dyn TokenProvider>,
    template: Template,
}

impl HttpPeer for GcpAuth {
    const NAME: &'static str = "gcp_auth";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let account = CustomServiceAccount::from_json(&service_account::file(service))?;
        account.token(&SCOPES).await?;
        Ok(Self {
            provider: Arc::new(account),
            template: Template::new()?,
        })
    }

    fn template(&self) -> &Template {
        &self.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        let token = self.provider.token(&SCOPES).await?;
        bearer::send(request, token.as_str()).await
    }
}
