//! The token endpoint: codes are exchanged here, refreshes go on to the token service.

use std::collections::HashMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use openidconnect::{PkceCodeChallenge, PkceCodeVerifier};
use serde_json::{Value, json};

use super::Provider;
use super::codes::Granted;

/// How long an id token is good.
const LIFE: u64 = 600;

/// An error of RFC 6749 section 5.2.
type Refused = (StatusCode, &'static str);

const NO_GRANT: Refused = (StatusCode::BAD_REQUEST, "invalid_grant");

/// `POST /token`.
pub(super) async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form: HashMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
    if form.get("grant_type").map(String::as_str) != Some("authorization_code") {
        let to = provider.tokens.token_endpoint();
        return provider.forward(to, &headers, body).await;
    }
    match provider.exchange(&headers, &form) {
        Ok(answer) => ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err((status, error)) => (status, Json(json!({ "error": error }))).into_response(),
    }
}

/// `POST /revoke`.
pub(super) async fn revoke(
    State(provider): State<Provider>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let to = provider.tokens.revocation_endpoint();
    provider.forward(to, &headers, body).await
}

impl Provider {
    /// The code for tokens, once (RFC 6749 section 4.1.3, RFC 7636 section 4.6).
    fn exchange(
        &self,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<Value, Refused> {
        if !self.is_client(headers) {
            return Err((StatusCode::UNAUTHORIZED, "invalid_client"));
        }
        let code = form.get("code").ok_or(NO_GRANT)?;
        let granted = self.codes.take(code, self.now()).ok_or(NO_GRANT)?;
        let verifier = form.get("code_verifier").ok_or(NO_GRANT)?;
        let verifier = PkceCodeVerifier::new(verifier.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        if challenge.as_str() != granted.code_challenge
            || form.get("redirect_uri") != Some(&self.client.redirect_uri)
        {
            return Err(NO_GRANT);
        }
        let id_token = self.id_token(&granted)?;
        let issued = self.tokens.connect(&granted.subject);
        let mut answer = json!({
            "token_type": "Bearer",
            "access_token": issued.access_token,
            "expires_in": issued.expires_in.as_secs(),
            "id_token": id_token,
            "scope": granted.scope,
        });
        if granted
            .scope
            .split(' ')
            .any(|scope| scope == "offline_access")
        {
            answer["refresh_token"] = issued.refresh_token.into();
        }
        Ok(answer)
    }

    fn id_token(&self, granted: &Granted) -> Result<String, Refused> {
        let now = self.now();
        let claims = json!({
            "iss": self.issuer,
            "aud": self.tokens.client_id(),
            "sub": granted.subject,
            "sid": granted.sid,
            "nonce": granted.nonce,
            "iat": now,
            "exp": now + LIFE,
        });
        let signed = self.keys.sign("JWT", &claims);
        let signed = signed.map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "server_error"))?;
        self.sessions.note_id_token(&granted.sid, &signed);
        Ok(signed)
    }

    /// HTTP Basic, whose parts are form-encoded first (RFC 6749 section 2.3.1).
    fn is_client(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
        let given = given.and_then(|it| it.strip_prefix("Basic "));
        let given = given.and_then(|it| BASE64_STANDARD.decode(it).ok());
        let Some(given) = given.and_then(|it| String::from_utf8(it).ok()) else {
            return false;
        };
        let pair = given.replacen(':', "=", 1);
        let mut pair = form_urlencoded::parse(pair.as_bytes());
        pair.next().is_some_and(|(id, secret)| {
            id == self.tokens.client_id() && secret == self.tokens.client_secret()
        })
    }

    /// To the token service, and its answer back.
    async fn forward(&self, to: String, headers: &HeaderMap, body: Bytes) -> Response {
        let mut request = self.http.post(to).body(body);
        for name in [AUTHORIZATION, CONTENT_TYPE] {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value);
            }
        }
        let Ok(answer) = request.send().await else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
        match answer.bytes().await {
            Ok(bytes) => {
                let mut response = (status, bytes).into_response();
                if let Some(kind) = kind {
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                }
                response
            }
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }
}
