//! The token endpoint, and what goes wrong with it.

use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;

use super::App;
use super::form::Form;
use super::http::MOVED;
use super::problem::{Problem, refusal};
use super::refresh::{exchange, presented};
use crate::testkit::wire::{Answer, HangUp, Omit, json, no_store};

/// A token request under the fault in force.
pub(super) async fn token(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Answer>, HangUp> {
    let form = Form::read(headers, body).await;
    app.count(presented(&form), |counts| counts.token_requests += 1);
    let turned_away = || app.count(presented(&form), |counts| counts.refreshes_failed += 1);
    let process = |omit| {
        let mut outcome = exchange(app, headers, &form);
        if omit == Omit::ExpiresIn
            && let Ok(Value::Object(fields)) = &mut outcome
        {
            fields.remove("expires_in");
        }
        answer(outcome)
    };
    app.faults.around(MOVED, turned_away, process).await
}

/// A token request that followed a redirect.
pub(super) async fn moved(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let form = Form::read(headers, body).await;
    app.count(presented(&form), |counts| {
        counts.token_requests += 1;
        counts.redirects_followed += 1;
    });
    answer(exchange(app, headers, &form))
}

fn answer(outcome: Result<Value, Problem>) -> Response<Answer> {
    match outcome {
        Ok(fields) => no_store(json(StatusCode::OK, &fields)),
        Err(problem) => refusal(problem),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use http::header::{LOCATION, RETRY_AFTER};

    use super::*;
    use crate::testkit::server::test_client::TestClient;
    use crate::testkit::{AuthServer, Counts, Fault};

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
    async fn each_request_takes_its_time() {
        let latency = Duration::from_millis(30);
        let server = AuthServer::builder().latency(latency).start().unwrap();
        let http = TestClient::new();
        let token = server.connect("ada").refresh_token;
        for fault in [Fault::status(503), Fault::garbage()] {
            server.set_fault(fault);
            let began = tokio::time::Instant::now();
            http.refresh(&server, &token).await.unwrap();
            assert!(began.elapsed() >= latency, "{fault:?}");
        }
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
        server.app.faults.holds.none_held().await;
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
