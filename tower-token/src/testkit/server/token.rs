//! The token endpoint (RFC 6749 section 6) with its faults, and revocation (RFC 7009).

use http::header::{LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::sleep;

use super::answer::{Answer, garbage, json, no_store, oversized, set, status, truncated};
use super::fault::{Fault, Kind};
use super::form::{Form, Problem};
use super::http::{HangUp, MOVED};
use super::ledger::{Refused, SCOPE, Taken};
use super::{App, random_pair};

/// No form of a token request comes near this.
const FORM_LIMIT: usize = 64 * 1024;

/// A token request under the fault in force.
pub(super) async fn token(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Answer>, HangUp> {
    let form = read(headers, body).await;
    app.count(presented(&form), |counts| counts.token_requests += 1);
    let (fault, place) = app.faults.meet(|| app.holds.place());
    sleep(app.latency).await;

    let Some(Fault {
        kind, retry_after, ..
    }) = fault
    else {
        let answer = exchange(app, headers, &form, true);
        sleep(app.answer_latency).await;
        return Ok(answer);
    };
    let told = |mut answer: Response<Answer>| {
        if let Some(span) = retry_after {
            let seconds = HeaderValue::from(span.as_millis().div_ceil(1_000) as u64);
            answer.headers_mut().insert(RETRY_AFTER, seconds);
        }
        answer
    };
    let unprocessed = || app.count(presented(&form), |counts| counts.refreshes_failed += 1);
    let processed = || exchange(app, headers, &form, true);
    match kind {
        Kind::Status(code) => {
            unprocessed();
            Ok(told(status(code)))
        }
        Kind::Redirect => {
            unprocessed();
            let mut answer = status(StatusCode::TEMPORARY_REDIRECT);
            set(&mut answer, LOCATION, MOVED);
            Ok(told(answer))
        }
        Kind::Hold => {
            app.holds.hold(place).await;
            Ok(processed())
        }
        Kind::StatusAfter(code) => {
            processed();
            Ok(told(status(code)))
        }
        Kind::HoldAfter => {
            let answer = processed();
            app.holds.hold(place).await;
            Ok(answer)
        }
        Kind::LostAnswer => {
            processed();
            Err(HangUp)
        }
        Kind::Truncated => Ok(truncated(processed())),
        Kind::Garbage => Ok(garbage(processed())),
        Kind::Oversized => Ok(oversized(processed())),
        Kind::WithoutExpiresIn => Ok(exchange(app, headers, &form, false)),
    }
}

/// A token request that followed a redirect.
pub(super) async fn moved(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let form = read(headers, body).await;
    app.count(presented(&form), |counts| {
        counts.token_requests += 1;
        counts.redirects_followed += 1;
    });
    exchange(app, headers, &form, true)
}

fn exchange(
    app: &App,
    headers: &HeaderMap,
    form: &Result<Form, Problem>,
    with_expires_in: bool,
) -> Response<Answer> {
    let outcome = form
        .as_ref()
        .map_err(|problem| *problem)
        .and_then(|form| refresh(app, headers, form));
    app.count(presented(form), |counts| match &outcome {
        Ok(Taken { repeated: true, .. }) => counts.refreshes_repeated += 1,
        Ok(_) => counts.refreshes_ok += 1,
        Err(problem) => {
            counts.refreshes_failed += 1;
            counts.reuse_detected += u64::from(*problem == Problem::InvalidGrant(Refused::Reused));
        }
    });
    let issued = match outcome {
        Ok(taken) => taken.issued,
        Err(problem) => return refusal(problem),
    };
    let mut fields = json!({
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "scope": issued.scope,
    });
    if with_expires_in {
        fields["expires_in"] = issued.expires_in.as_secs().into();
    }
    // One that stays the same need not be said again.
    if presented(form) != Some(&*issued.refresh_token) {
        fields["refresh_token"] = issued.refresh_token.into();
    }
    if let Some(life) = issued.refresh_token_expires_in {
        fields["refresh_token_expires_in"] = life.as_secs().into();
    }
    no_store(json(StatusCode::OK, &fields))
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

/// RFC 7009: an unknown token is answered like any other.
pub(super) async fn revoke(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let form = read(headers, body).await;
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

async fn read(headers: &HeaderMap, body: Incoming) -> Result<Form, Problem> {
    match Limited::new(body, FORM_LIMIT).collect().await {
        Ok(body) => Form::parse(headers, &body.to_bytes()),
        Err(_) => Err(Problem::InvalidRequest("the body is too long or broken")),
    }
}

fn presented(form: &Result<Form, Problem>) -> Option<&str> {
    form.as_ref().ok()?.get("refresh_token")
}

fn refusal(problem: Problem) -> Response<Answer> {
    let code = match problem {
        Problem::InvalidClient => StatusCode::UNAUTHORIZED,
        Problem::InvalidRequest(_)
        | Problem::InvalidGrant(_)
        | Problem::InvalidScope
        | Problem::UnsupportedGrantType => StatusCode::BAD_REQUEST,
    };
    let fields = json!({
        "error": problem.code(),
        "error_description": problem.description(),
    });
    let mut answer = no_store(json(code, &fields));
    if problem == Problem::InvalidClient {
        set(&mut answer, WWW_AUTHENTICATE, "Basic realm=\"token\"");
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use http::Request;
    use http::header::{CACHE_CONTROL, CONTENT_TYPE};
    use serde_json::Value;

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

    #[tokio::test]
    async fn faults_before_processing_leave_the_token_good() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let token = server.connect("ada").refresh_token;
        let wait = Duration::from_millis(6_001);
        server.set_fault(Fault::status(429).retry_after(wait));
        let reply = http.refresh(&server, &token).await.unwrap();
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(reply.header(RETRY_AFTER), "7");

        server.set_fault(Fault::redirect());
        let reply = http.refresh(&server, &token).await.unwrap();
        assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(server.counts().refreshes_failed, 2);

        // Followed, it works: a client that does so is found out by the count.
        let moved = server.api() + reply.header(LOCATION);
        let form = [("grant_type", "refresh_token"), ("refresh_token", &token)];
        let reply = http.post(&server, moved, &form).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(
            server.counts_of("ada"),
            Counts {
                token_requests: 3,
                refreshes_ok: 1,
                refreshes_failed: 2,
                redirects_followed: 1,
                ..Counts::default()
            }
        );
    }

    #[tokio::test]
    async fn faults_of_the_answer_come_after_the_exchange() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        for fault in [Fault::lost_answer(), Fault::truncated()] {
            server.set_fault(fault.times(1));
            let token = server.connect("ada").refresh_token;
            assert!(http.refresh(&server, &token).await.is_err(), "{fault:?}");
        }
        let mut replies = Vec::new();
        for fault in [
            Fault::status_after(502),
            Fault::garbage(),
            Fault::without_expires_in(),
            Fault::oversized(),
        ] {
            server.set_fault(fault);
            let token = server.connect("ada").refresh_token;
            replies.push(http.refresh(&server, &token).await.unwrap());
        }
        assert_eq!(replies[0].status, StatusCode::BAD_GATEWAY);
        assert_eq!(replies[1].status, StatusCode::OK);
        assert!(serde_json::from_slice::<Value>(&replies[1].body).is_err());
        assert!(replies[2].json()["access_token"].is_string());
        assert!(replies[2].json().get("expires_in").is_none());
        assert!(replies[3].body.len() > 4_000_000);
        assert!(!replies[3].headers.contains_key("content-length"));
        assert_eq!(replies[3].json()["expires_in"], 60);
        assert_eq!(server.counts().refreshes_ok, 6);
    }

    #[tokio::test]
    async fn a_lost_answer_is_a_reset_connection() {
        let server = AuthServer::start().unwrap();
        let token = server.connect("ada").refresh_token;
        server.set_fault(Fault::lost_answer());
        let failure = TestClient::new().refresh(&server, &token).await.err();
        let mut cause = failure
            .as_deref()
            .map(|error| error as &dyn std::error::Error);
        let reset = std::iter::from_fn(|| {
            let this = cause?;
            cause = this.source();
            Some(this)
        })
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(reset, "{failure:?}");
    }

    #[tokio::test]
    async fn a_held_request_is_served_on_release_or_dropped_with_its_client() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let token = server.connect("ada").refresh_token;

        server.set_fault(Fault::hold());
        {
            let mut abandoned = pin!(http.refresh(&server, &token));
            tokio::select! {
                _ = &mut abandoned => panic!("not held"),
                () = server.held() => {}
            }
        }
        server.app.holds.none_held().await;
        assert_eq!(server.counts().refreshes_ok, 0);

        for (fault, processed) in [(Fault::hold(), 0), (Fault::hold_after(), 2)] {
            server.set_fault(fault);
            let token = server.connect("ada").refresh_token;
            let held = server.held();
            let mut refresh = pin!(http.refresh(&server, &token));
            tokio::select! {
                _ = &mut refresh => panic!("not held"),
                () = held => {}
            }
            assert_eq!(server.counts().refreshes_ok, processed);
            server.release();
            assert_eq!(refresh.await.unwrap().status, StatusCode::OK);
        }
        assert_eq!(server.counts().refreshes_failed, 0);
    }
}
