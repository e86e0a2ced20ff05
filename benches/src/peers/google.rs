//! google-cloud-auth, with a user's refresh token. It hands out headers, and asks for another token
//! behind the requests.

use google_cloud_auth::credentials::{CacheableResource, Credentials, user_account};
use http::{Extensions, Request};
use tower_service::Service as _;

use crate::BoxError;
use crate::noop::{Body, Guarded, Template};
use crate::peer::HttpPeer;
use crate::token_service::TokenService;

/// `Credentials`, asked for headers as its documentation says of those who derive nothing from
/// them: without an `EntityTag`. A token is due 4 min before it expires, a shorter-lived one every
/// 10 s.
#[derive(Clone)]
pub struct Google {
    credentials: Credentials,
    template: Template,
}

impl HttpPeer for Google {
    const NAME: &'static str = "google-cloud-auth";

    async fn connect(service: &TokenService) -> Result<Self, BoxError> {
        let user = serde_json::json!({
            "type": "authorized_user",
            "client_id": "example",
            "client_secret": "s",
            "refresh_token": "r-0",
        });
        let builder = user_account::Builder::new(user).with_token_uri(service.url());
        let credentials = builder.build()?;
        credentials.headers(Extensions::new()).await?;
        Ok(Self {
            credentials,
            template: Template::new()?,
        })
    }

    fn template(&self) -> &Template {
        &self.template
    }

    async fn send(&mut self, mut request: Request<Body>) -> Result<(), BoxError> {
        let headers = self.credentials.headers(Extensions::new()).await?;
        if let CacheableResource::New { data, .. } = headers {
            request.headers_mut().extend(data);
        }
        Guarded.call(request).await?;
        Ok(())
    }
}
