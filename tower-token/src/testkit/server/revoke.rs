//! The revocation endpoint (RFC 7009).

use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;

use super::App;
use super::form::Form;
use super::problem::refusal;
use crate::testkit::wire::{Answer, status};

/// Ends the grant behind a token. An unknown token is answered like any other.
pub(super) async fn revoke(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let form = Form::read(headers, body).await;
    let revoked = form.and_then(|form| {
        app.client.check(headers, &form)?;
        let token = form.require("token")?;
        app.count(Some(token), |counts| counts.revocations += 1);
        app.ledger.lock().revoke_token(token);
        Ok(())
    });
    match revoked {
        Ok(()) => status(StatusCode::OK),
        Err(problem) => refusal(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::AuthServer;
    use crate::testkit::server::test_client::TestClient;

    #[tokio::test]
    async fn revocation_takes_the_grant_and_never_complains() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let issued = server.connect("ada");
        for token in ["unknown", &issued.refresh_token, &issued.refresh_token] {
            let reply = http
                .post(&server, server.revocation_endpoint(), &[("token", token)])
                .await
                .unwrap();
            assert_eq!(reply.status, StatusCode::OK);
        }
        assert!(!server.is_connected("ada"));
        assert_eq!(server.counts().revocations, 3);
        assert_eq!(server.counts_of("ada").revocations, 2);
        let reply = http.me(&server, &issued.access_token).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
}
