//! The default back channel: reqwest over rustls.

use bytes::Bytes;
use http::Request;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::transport::{Answer, Collected, SendFuture, Transport, TransportError};

pub(crate) struct ReqwestTransport(Client);

impl ReqwestTransport {
    /// `loopback`: for a token service on this machine, over plain http.
    pub(crate) fn new(loopback: bool) -> Result<Self, reqwest::Error> {
        let builder = if loopback {
            // A proxy from the environment would be sent the secrets in clear.
            Client::builder().no_proxy()
        } else {
            Client::builder().https_only(true)
        };
        builder
            // Following one would replay the client's secret to another place.
            .redirect(Policy::none())
            .user_agent(concat!("tower-token/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
    }
}

impl Transport for ReqwestTransport {
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_> {
        Box::pin(async move {
            let request = reqwest::Request::try_from(request)
                .map_err(|error| TransportError::NotSent(error.into()))?;
            let mut answer = self.0.execute(request).await.map_err(classify)?;
            let mut body = Collected::default();
            while let Some(chunk) = answer.chunk().await.map_err(sent)? {
                body.push(&chunk)?;
            }
            Ok(Answer {
                status: answer.status(),
                headers: answer.headers().clone(),
                body: body.0,
            })
        })
    }
}

/// Errors go on without the URL: its query may hold a key.
fn classify(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        TransportError::NotSent(error.into())
    } else {
        TransportError::Sent(error.into())
    }
}

fn sent(error: reqwest::Error) -> TransportError {
    TransportError::Sent(error.without_url().into())
}
