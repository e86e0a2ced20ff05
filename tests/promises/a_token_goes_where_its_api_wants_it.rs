//! Where in a request the token goes is a strategy: here, a field of the JSON body.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::{Layer as _, Service, ServiceExt as _};
use tower_token::{ErrorKind, JsonBody, Provider, TokenLayer, TokenRequest, TokenServiceError};

use crate::support::{API, HOUR, Rig, manager_of};

type Seen = Arc<Mutex<Vec<Value>>>;

/// An API that takes its token in the body, and refuses `a0`.
fn api<B: Body<Data: Send, Error: Debug> + Send + 'static>(
    seen: &Seen,
) -> impl Service<Request<B>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ use<B> {
    let seen = Arc::clone(seen);
    tower::service_fn(move |request: Request<B>| {
        let seen = Arc::clone(&seen);
        async move {
            assert!(!request.headers().contains_key("authorization"));
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            let refused = body["authToken"] == "a0";
            seen.lock().push(body);
            let mut response = Response::new(Full::default());
            if refused {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            Ok(response)
        }
    })
}

fn request(rig: &Rig, body: &'static str) -> Request<Full<Bytes>> {
    Request::post(API)
        .extension(TokenRequest::new(rig.key.clone()))
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn a_token_goes_into_the_body_before_the_first_send_and_after_a_401() {
    let rig = Rig::connected().await;
    let seen = Seen::default();
    let tokens = TokenLayer::new(&rig.manager).place(JsonBody::field("authToken"));
    let client = tokens.layer(api(&seen));
    let response = client.oneshot(request(&rig, r#"{"type":"x"}"#)).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    let sent = |token: &str| json!({ "authToken": token, "type": "x" });
    assert_eq!(*seen.lock(), [sent("a0"), sent("a1")]);
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test]
async fn a_token_goes_into_a_body_that_is_kept_for_a_second_send() {
    let rig = Rig::connected().await;
    let seen = Seen::default();
    let tokens = TokenLayer::new(&rig.manager).place(JsonBody::field("authToken"));
    // Longer than the limit, but in one piece.
    let client = tokens.buffered(4).layer(api(&seen));
    let response = client.oneshot(request(&rig, r#"{"type":"x"}"#)).await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
    let sent = |token: &str| json!({ "authToken": token, "type": "x" });
    assert_eq!(*seen.lock(), [sent("a0"), sent("a1")]);
}

#[tokio::test]
async fn a_token_that_had_to_be_waited_for_goes_into_the_body_too() {
    let rig = Rig::connected().await;
    rig.until_expired();
    let seen = Seen::default();
    let tokens = TokenLayer::new(&rig.manager).place(JsonBody::field("authToken"));
    let client = tokens.layer(api(&seen));
    client.oneshot(request(&rig, "{}")).await.unwrap();
    assert_eq!(*seen.lock(), [json!({ "authToken": "a1" })]);
}

#[tokio::test]
async fn a_body_that_cannot_take_the_token_is_not_sent() {
    let rig = Rig::connected().await;
    let seen = Seen::default();
    let tokens = TokenLayer::new(&rig.manager).place(JsonBody::field("authToken"));
    let client = tokens.layer(api(&seen));
    // Now with a fresh token, and then with one that has to be waited for.
    for _ in 0..2 {
        let refused = client.clone().oneshot(request(&rig, "[1]")).await;
        let Err(TokenServiceError::Token(error)) = refused else {
            panic!("it was sent")
        };
        assert_eq!(error.kind(), ErrorKind::Placement);
        rig.clock.advance(HOUR);
    }
    assert!(seen.lock().is_empty());
}

#[tokio::test]
async fn a_401_of_a_provider_that_says_other_things_by_it_is_an_answer() {
    let rig = Rig::connected().await;
    let provider = Provider::new("fake", rig.fake.clone()).ignore_refusals();
    let manager = manager_of(rig.store.clone(), &rig.ring, provider, &rig.clock).await;
    let seen = Seen::default();
    let tokens = TokenLayer::new(&manager).place(JsonBody::field("authToken"));
    let client = tokens.layer(api(&seen));
    for sent in 1..=2 {
        let response = client.clone().oneshot(request(&rig, "{}")).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(seen.lock().len(), sent);
    }
    assert_eq!(rig.fake.exchanges(), 0);
}
