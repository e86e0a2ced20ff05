//! The default back channel: reqwest over rustls.

use std::error::Error;

use bytes::Bytes;
use http::Request;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

use super::transport::{Answer, Collected, SendFuture, Transport, TransportError};

pub(crate) struct ReqwestTransport(Client);

impl ReqwestTransport {
    /// `loopback`: for a token service on this machine, over plain http.
    pub(crate) fn new(loopback: bool) -> Result<Self, reqwest::Error> {
        Self::built(if loopback {
            // A proxy from the environment would be sent the secrets in clear.
            Client::builder().no_proxy()
        } else {
            Client::builder().https_only(true)
        })
    }

    fn built(builder: ClientBuilder) -> Result<Self, reqwest::Error> {
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
    if error.is_connect() || error.is_builder() || was_refused(&error) {
        TransportError::NotSent(error.into())
    } else {
        TransportError::Sent(error.into())
    }
}

/// Whether the server said that it did nothing with the request (RFC 9113 section 8.7): it
/// refused the stream, or was going away and this stream came after the last that it took.
fn was_refused(error: &reqwest::Error) -> bool {
    let mut link = error.source();
    while let Some(cause) = link {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            // With any other reason all streams get this error, also those that were taken.
            let late = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return error.is_remote() && (refused || late);
        }
        link = cause.source();
    }
    false
}

fn sent(error: reqwest::Error) -> TransportError {
    TransportError::Sent(error.without_url().into())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use h2::Reason;
    use tokio::net::TcpListener;

    use super::*;

    /// An HTTP/2 server that takes no request: it resets each stream with `reason`.
    async fn resetting(reason: Reason) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        respond.send_reset(reason);
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_stream_that_was_refused_was_not_sent_and_another_reset_may_have_been() {
        for (reason, refused) in [
            (Reason::REFUSED_STREAM, true),
            (Reason::INTERNAL_ERROR, false),
            (Reason::CANCEL, false),
        ] {
            let url = format!("http://{}/token", resetting(reason).await);
            let builder = Client::builder().no_proxy().http2_prior_knowledge();
            let transport = ReqwestTransport::built(builder).unwrap();
            let request = Request::post(url).body(Bytes::from_static(b"x")).unwrap();
            let error = transport.send(request).await.err();
            let not_sent = matches!(error, Some(TransportError::NotSent(_)));
            assert_eq!(not_sent, refused, "{reason:?}");
        }
    }
}
