//! How a token is asked for where that is left to the program: by a client of its own.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::BoxError;
use crate::token_service::TokenService;

/// What a refresh says in its body (RFC 6749, section 6).
const FORM: &str = "grant_type=refresh_token&refresh_token=r-0&client_id=example";

/// The token endpoint, and a client that keeps its connections.
#[derive(Debug, Clone)]
pub struct Endpoint {
    client: reqwest::Client,
    url: String,
}

/// What it answers.
#[derive(Deserialize)]
pub struct Answer {
    pub access_token: String,
    /// In seconds.
    pub expires_in: u64,
}

impl Answer {
    pub fn life(&self) -> Duration {
        Duration::from_secs(self.expires_in)
    }
}

impl Endpoint {
    pub fn new(service: &TokenService) -> Result<Self, BoxError> {
        // Without this it waits for ever.
        let client = reqwest::Client::builder().timeout(Duration::from_secs(10));
        Ok(Self {
            client: client.build()?,
            url: service.url().to_owned(),
        })
    }

    pub async fn exchange(&self) -> Result<Answer, BoxError> {
        let request = self.client.post(&self.url).body(FORM);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = request.send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }
}
