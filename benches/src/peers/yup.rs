//! yup-oauth2, with a service account. It hands out text; the header is the program's.

use http::Request;
use yup_oauth2::authenticator::Authenticator;
use yup_oauth2::client::{DefaultHyperClientBuilder, HyperClientBuilder};
use yup_oauth2::{ServiceAccountAuthenticator, ServiceAccountKey};

use super::bearer;
use super::service_account::{self, SCOPES};
use crate::BoxError;
use crate::noop::{Body, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

type Connector = <DefaultHyperClientBuilder as HyperClientBuilder>::Connector;

/// An `Authenticator` that keeps tokens in memory. A token is due 1 min before it expires.
#[derive(Clone)]
pub struct Yup {
    authenticator: Authenticator<Connector>,
    template: Template,
}

impl HttpPeer for Yup {
    const NAME: &'static str = "yup-oauth2";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let key: ServiceAccountKey = serde_json::from_str(&service_account::file(service))?;
        let authenticator = ServiceAccountAuthenticator::builder(key).build().await?;
        authenticator.token(&SCOPES).await?;
        Ok(Self {
            authenticator,
            template: Template::new()?,
        })
    }

    fn template(&self) -> &Template {
        &self.template
    }

    async fn send(&mut self, request: Request<Body>) -> Result<(), BoxError> {
        let token = self.authenticator.token(&SCOPES).await?;
        bearer::send(request, token.token().ok_or("no access token")?).await
    }
}
