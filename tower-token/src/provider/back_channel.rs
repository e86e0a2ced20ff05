//! What is said to a token service, and how its answers are read.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use zeroize::Zeroizing;

use super::client_auth::ClientAuth;
use super::transport::{Answer, Transport};
use super::verdict::{RefreshError, Verdict, VerdictRule, judge};
use super::{RefreshRequest, Refresher, Revoker};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::grant::TokenResponse;
use crate::secret::{Secret, wiped};

/// The client, and the way to its token service.
pub(super) struct BackChannel {
    client: ClientAuth,
    authorization: Option<HeaderValue>,
    transport: Arc<dyn Transport>,
    rules: Vec<VerdictRule>,
}

impl BackChannel {
    pub(super) fn new(
        client: ClientAuth,
        transport: Arc<dyn Transport>,
        rules: Vec<VerdictRule>,
    ) -> Self {
        Self {
            authorization: client.authorization(),
            client,
            transport,
            rules,
        }
    }

    pub(super) fn client_id(&self) -> &str {
        self.client.id()
    }

    /// Posts a form as the client; `audience` is whom a signed assertion is for.
    async fn post(
        &self,
        endpoint: &Uri,
        audience: &str,
        mut parameters: Vec<(&str, &str)>,
    ) -> Result<Answer, RefreshError> {
        let assertion = self.client.assertion(audience).await?;
        parameters.extend(self.client.parameters());
        if let Some(assertion) = &assertion {
            parameters.extend(ClientAuth::assertion_parameters(assertion));
        }
        let sent = self
            .transport
            .send(self.request(endpoint, &parameters))
            .await;
        sent.map_err(|error| judge(Err(error), now(), &self.rules))
    }

    /// Posts a form to the token endpoint, whose answer holds tokens.
    pub(super) async fn tokens(
        &self,
        endpoint: &Uri,
        audience: &str,
        parameters: Vec<(&str, &str)>,
    ) -> Result<TokenResponse, RefreshError> {
        let answer = self.post(endpoint, audience, parameters).await?;
        let judged = judge(Ok(&answer), now(), &self.rules);
        if !answer.status.is_success() {
            return Err(judged);
        }
        TokenResponse::from_json(&answer.body).map_err(|error| judged.with_source(error))
    }

    fn request(&self, endpoint: &Uri, parameters: &[(&str, &str)]) -> Request<Bytes> {
        let mut request = Request::new(form(parameters));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        request
    }
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

/// The refresh grant (RFC 6749 section 6).
pub(super) struct RefreshGrant {
    endpoint: Uri,
    audience: String,
    channel: Arc<BackChannel>,
}

impl RefreshGrant {
    pub(super) fn new(endpoint: Uri, channel: Arc<BackChannel>) -> Self {
        Self {
            audience: endpoint.to_string(),
            endpoint,
            channel,
        }
    }
}

impl Refresher for RefreshGrant {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let parameters = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", request.refresh_token.expose()),
        ];
        self.channel
            .tokens(&self.endpoint, &self.audience, parameters)
            .await
    }
}

/// Token revocation (RFC 7009).
pub(super) struct RevokeToken {
    endpoint: Uri,
    audience: String,
    channel: Arc<BackChannel>,
}

impl RevokeToken {
    /// A client assertion is for the token endpoint here as well (RFC 7523 section 3).
    pub(super) fn new(endpoint: Uri, token_endpoint: &Uri, channel: Arc<BackChannel>) -> Self {
        Self {
            endpoint,
            audience: token_endpoint.to_string(),
            channel,
        }
    }
}

impl Revoker for RevokeToken {
    async fn revoke(&self, token: &Secret) -> Result<(), RefreshError> {
        let parameters = vec![("token", token.expose())];
        let answer = self
            .channel
            .post(&self.endpoint, &self.audience, parameters)
            .await?;
        if answer.status.is_success() {
            return Ok(());
        }
        // Not one of RFC 7009, and seen for a token that is no good any more.
        let rules = [VerdictRule::new(Verdict::Dead).error("invalid_token")];
        Err(judge(Ok(&answer), now(), &rules))
    }
}

/// Form-encodes into one exact buffer that is wiped with the request.
fn form(parameters: &[(&str, &str)]) -> Bytes {
    let bound: usize = parameters
        .iter()
        .map(|(name, value)| 3 * (name.len() + value.len()) + 2)
        .sum();
    let mut body = Zeroizing::new(String::with_capacity(bound));
    for (name, value) in parameters {
        if !body.is_empty() {
            body.push('&');
        }
        body.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        body.push('=');
        body.extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }
    wiped(Zeroizing::new(std::mem::take(&mut *body).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::transport::ServiceTransport;
    use super::super::transport::testing::Never;
    use super::*;

    #[test]
    fn the_request_is_a_form_by_the_client() {
        let transport = Arc::new(ServiceTransport::<_, Bytes>::new(Never));
        let client = ClientAuth::Post {
            id: "me".into(),
            secret: "s&x".into(),
        };
        let channel = BackChannel::new(client, transport, Vec::new());
        let mut parameters = vec![("refresh_token", "r/1+")];
        parameters.extend(channel.client.parameters());
        let endpoint = "https://a.example/token?tenant=1".parse().unwrap();
        let request = channel.request(&endpoint, &parameters);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri().query(), Some("tenant=1"));
        assert_eq!(
            request.body(),
            "refresh_token=r%2F1%2B&client_id=me&client_secret=s%26x"
        );
    }
}
