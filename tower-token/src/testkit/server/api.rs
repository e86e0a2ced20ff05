//! An API that takes bearer tokens (RFC 6750).

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::App;
use super::client::bearer;
use crate::testkit::wire::{Answer, HangUp, json, set, status};

pub(super) fn me(app: &App, headers: &HeaderMap) -> Response<Answer> {
    protected(app, headers, |user| json!({ "user": user }))
}

pub(super) async fn echo(
    app: &App,
    headers: &HeaderMap,
    mut body: Incoming,
) -> Result<Response<Answer>, HangUp> {
    // To its end even when the answer will be 401: a client still sending may not see an
    // answer that comes before.
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| HangUp)?;
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
    Ok(protected(
        app,
        headers,
        |user| json!({ "user": user, "bytes": bytes }),
    ))
}

/// Answers the user behind a request, or else the challenge of RFC 6750 section 3.
fn protected(
    app: &App,
    headers: &HeaderMap,
    answer: impl FnOnce(&str) -> Value,
) -> Response<Answer> {
    let token = bearer(headers);
    let now = app.clock.now();
    let user = token.and_then(|token| app.ledger.lock().user_of(token, now).map(str::to_owned));
    if let Some(user) = user {
        app.count(token, |counts| counts.api_ok += 1);
        return json(StatusCode::OK, &answer(&user));
    }

    app.count(token, |counts| counts.api_unauthorized += 1);
    let challenge = match token {
        Some(_) => "Bearer error=\"invalid_token\"",
        None => "Bearer",
    };
    let mut refused = status(StatusCode::UNAUTHORIZED);
    set(&mut refused, WWW_AUTHENTICATE, challenge);
    refused
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::testkit::AuthServer;
    use crate::testkit::server::test_client::TestClient;

    #[tokio::test]
    async fn a_token_that_is_not_good_is_challenged() {
        let server = AuthServer::builder()
            .access_ttl(Duration::from_secs(10))
            .start()
            .unwrap();
        let http = TestClient::new();
        let bare = http
            .send(Request::get(server.api() + "/me"), Vec::new())
            .await
            .unwrap();
        assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
        assert_eq!(bare.header(WWW_AUTHENTICATE), "Bearer");

        let expired = server.connect("ada").access_token;
        server.advance(Duration::from_secs(10));
        let told = server.connect("ada").access_token;
        server.expire_access_tokens();
        let killed = server.connect("ada").access_token;
        server.kill_access("ada");
        let revoked = server.connect("ada").access_token;
        server.revoke_grant("ada");
        for token in ["unknown", &expired, &told, &killed, &revoked] {
            let reply = http.me(&server, token).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
            assert_eq!(
                reply.header(WWW_AUTHENTICATE),
                "Bearer error=\"invalid_token\""
            );
        }
        assert_eq!(server.counts().api_unauthorized, 6);
        assert_eq!(server.counts_of("ada").api_unauthorized, 4);
    }

    #[tokio::test]
    async fn echo_reads_the_body_whatever_the_answer() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let token = server.connect("ada").access_token;
        let size = 3_000_000;
        for (token, status) in [(&*token, StatusCode::OK), ("?", StatusCode::UNAUTHORIZED)] {
            let request = Request::post(server.api() + "/echo")
                .header(AUTHORIZATION, format!("Bearer {token}"));
            let reply = http.send(request, vec![7; size]).await.unwrap();
            assert_eq!(reply.status, status);
            if status == StatusCode::OK {
                assert_eq!(reply.json(), json!({ "user": "ada", "bytes": size }));
            }
        }
    }
}
