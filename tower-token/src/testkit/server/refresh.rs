//! The refresh of RFC 6749 section 6.

use http::HeaderMap;
use serde_json::{Value, json};

use super::form::Form;
use super::ledger::{Refused, SCOPE, Taken};
use super::problem::Problem;
use super::{App, random_pair};

/// Exchanges the refresh token of `form`: what to answer, by RFC 6749 section 5.1.
pub(super) fn exchange(
    app: &App,
    headers: &HeaderMap,
    form: &Result<Form, Problem>,
) -> Result<Value, Problem> {
    let outcome = form
        .as_ref()
        .map_err(|problem| *problem)
        .and_then(|form| refresh(app, headers, form));
    let presented = presented(form);
    app.count(presented, |counts| match &outcome {
        Ok(Taken { repeated: true, .. }) => counts.refreshes_repeated += 1,
        Ok(_) => counts.refreshes_ok += 1,
        Err(problem) => {
            counts.refreshes_failed += 1;
            let reused = *problem == Problem::InvalidGrant(Refused::Reused);
            counts.reuse_detected += u64::from(reused);
        }
    });
    let issued = outcome?.issued;
    let mut fields = json!({
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in.as_secs(),
        "scope": issued.scope,
    });
    // One that stays the same need not be said again.
    if presented != Some(&*issued.refresh_token) {
        fields["refresh_token"] = issued.refresh_token.into();
    }
    if let Some(life) = issued.refresh_token_expires_in {
        fields["refresh_token_expires_in"] = life.as_secs().into();
    }
    Ok(fields)
}

fn refresh(app: &App, headers: &HeaderMap, form: &Form) -> Result<Taken, Problem> {
    app.client.check(headers, form)?;
    if form.require("grant_type")? != "refresh_token" {
        return Err(Problem::UnsupportedGrantType);
    }
    let presented = form.require("refresh_token")?;
    if form
        .get("scope")
        .is_some_and(|asked| asked.split(' ').any(|scope| scope != SCOPE))
    {
        return Err(Problem::InvalidScope);
    }
    let (next, now) = (random_pair(), app.clock.now());
    Ok(app.ledger.lock().refresh(presented, next, now)?)
}

pub(super) fn presented(form: &Result<Form, Problem>) -> Option<&str> {
    form.as_ref().ok()?.get("refresh_token")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
    use http::{Request, StatusCode};

    use super::*;
    use crate::provider::Rotation;
    use crate::testkit::server::test_client::TestClient;
    use crate::testkit::{AuthServer, Counts};

    #[tokio::test]
    async fn a_refresh_answers_as_the_rfc_says() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let issued = server.connect("ada");
        assert_eq!(
            http.me(&server, &issued.access_token).await.json(),
            json!({ "user": "ada" })
        );

        let reply = http.refresh(&server, &issued.refresh_token).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header(CACHE_CONTROL), "no-store");
        assert_eq!(reply.header(CONTENT_TYPE), "application/json");
        let fields = reply.json();
        assert_eq!(fields["token_type"], "Bearer");
        assert_eq!(fields["expires_in"], 60);
        assert_eq!(fields["scope"], "profile");
        assert_ne!(fields["refresh_token"], issued.refresh_token.as_str());
        assert!(fields.get("refresh_token_expires_in").is_none());

        let access = fields["access_token"].as_str().unwrap();
        assert_eq!(http.me(&server, access).await.status, StatusCode::OK);
        let counts = Counts {
            token_requests: 1,
            refreshes_ok: 1,
            api_ok: 2,
            ..Counts::default()
        };
        assert_eq!((server.counts(), server.counts_of("ada")), (counts, counts));
        assert_eq!(server.counts_of("bob"), Counts::default());
    }

    #[tokio::test]
    async fn reuse_is_invalid_grant_and_takes_the_new_tokens_along() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let token = server.connect("ada").refresh_token;
        let fields = http.refresh(&server, &token).await.unwrap().json();
        assert!(server.is_connected("ada"));

        let reply = http.refresh(&server, &token).await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.header(CACHE_CONTROL), "no-store");
        assert_eq!(reply.json()["error"], "invalid_grant");
        assert!(!server.is_connected("ada"));

        let access = fields["access_token"].as_str().unwrap();
        let status = http.me(&server, access).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            server.counts_of("ada"),
            Counts {
                token_requests: 2,
                refreshes_ok: 1,
                refreshes_failed: 1,
                reuse_detected: 1,
                api_unauthorized: 1,
                ..Counts::default()
            }
        );
    }

    #[tokio::test]
    async fn the_rotation_says_what_a_second_use_brings() {
        let http = TestClient::new();
        for (rotation, repeated) in [
            (Rotation::Grace(Duration::from_secs(10)), 1),
            (Rotation::Reusable, 0),
        ] {
            let server = AuthServer::builder().rotation(rotation).start().unwrap();
            let token = server.connect("ada").refresh_token;
            let mut seen = Vec::new();
            for _ in 0..2 {
                let fields = http.refresh(&server, &token).await.unwrap().json();
                seen.push(fields["refresh_token"].clone());
            }
            assert_eq!(seen[0], seen[1]);
            assert_eq!(seen[0].is_null(), rotation == Rotation::Reusable);
            assert_eq!(server.counts().refreshes_ok, 2 - repeated);
            assert_eq!(server.counts().refreshes_repeated, repeated);
            server.advance(Duration::from_secs(10));
            http.refresh(&server, &token).await.unwrap();
            assert_eq!(server.counts().reuse_detected, repeated);
        }
    }

    #[tokio::test]
    async fn lives_are_told_where_the_server_tells_them() {
        let http = TestClient::new();
        let server = AuthServer::builder()
            .refresh_ttl(Duration::from_secs(100))
            .tell_refresh_ttl()
            .jwt_access_tokens()
            .clock_behind(Duration::from_secs(3_600))
            .start()
            .unwrap();
        let issued = server.connect("ada");
        assert_eq!(
            issued.refresh_token_expires_in,
            Some(Duration::from_secs(100))
        );
        let token = issued.refresh_token;
        let fields = http.refresh(&server, &token).await.unwrap().json();
        assert_eq!(fields["refresh_token_expires_in"], 100);

        let access = fields["access_token"].as_str().unwrap();
        let claims = access.split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let now = server.app.clock.now().as_unix_millis() / 1_000;
        assert_eq!(claims["sub"], "ada");
        assert!(claims["exp"].as_u64().unwrap().abs_diff(now + 60) <= 2);
    }

    #[tokio::test]
    async fn wrong_requests_are_told_what_is_wrong() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let token = &*server.connect("ada").refresh_token;

        let body =
            format!("grant_type=refresh_token&refresh_token={token}&client_id=x&client_secret=y");
        let request = Request::post(server.token_endpoint())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let reply = http.send(request, body.into_bytes()).await.unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.header(WWW_AUTHENTICATE), "Basic realm=\"token\"");
        assert_eq!(reply.json()["error"], "invalid_client");

        let grant = ("grant_type", "refresh_token");
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("refresh_token", token)], "invalid_request"),
            (&[grant], "invalid_request"),
            (
                &[("grant_type", "password"), ("refresh_token", token)],
                "unsupported_grant_type",
            ),
            (
                &[grant, ("refresh_token", token), ("scope", "profile admin")],
                "invalid_scope",
            ),
            (&[grant, ("refresh_token", "unknown")], "invalid_grant"),
        ];
        for (form, error) in cases {
            let reply = http.post(&server, server.token_endpoint(), form).await;
            let reply = reply.unwrap();
            assert_eq!(reply.status, StatusCode::BAD_REQUEST);
            assert_eq!(reply.json()["error"], error);
        }
        assert_eq!(server.counts().refreshes_failed, 6);

        // None of it spent the token.
        let reply = http.refresh(&server, token).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
    }
}
