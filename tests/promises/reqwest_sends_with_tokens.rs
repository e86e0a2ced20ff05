//! What reqwest builds is sent with its user's token, and healed after a 401: JSON, forms of many
//! parts, streams; and its errors come out as they are.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Response};
use serde_json::json;
use tests::BoxError;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_token::reqwest::{ReqwestService, SendWith as _, TokenClient};
use tower_token::{ErrorKind, RefusalLayer, TokenLayer, TokenRequest, TokenServiceError};

use crate::reqwest_rig::{ADAS, BOBS, Rig, builder};
use crate::support::HOUR;

const KIB: usize = 1 << 10;

/// A body that cannot be cloned, in pieces of 4 KiB.
fn stream(len: usize) -> Body {
    let piece = Bytes::from_static(&[b'x'; 4 * KIB]);
    let pieces = std::iter::repeat_n(piece, len / (4 * KIB));
    let frames = pieces.map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
    Body::wrap(StreamBody::new(futures_util::stream::iter(frames)))
}

fn form(len: usize) -> Form {
    let file = Part::stream(stream(len)).file_name("a.bin");
    Form::new().text("name", "ada").part("file", file)
}

fn token_error<T>(
    result: Result<T, TokenServiceError<reqwest::Error>>,
) -> Option<tower_token::Error> {
    match result {
        Err(TokenServiceError::Token(error)) => Some(error),
        _ => None,
    }
}

fn inner(result: Result<Response, TokenServiceError<reqwest::Error>>) -> reqwest::Error {
    match result {
        Err(TokenServiceError::Inner(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn json_is_sent_with_a_token_and_again_after_a_401() {
    let rig = Rig::start().await;
    rig.api.refuse(ADAS);
    let ada = rig.client().for_key(rig.ada.clone());
    let request = ada.client().post(rig.api.url("/notes"));
    let request = request
        .json(&json!({ "text": "hello" }))
        .header("x-id", "7");
    let response = request.send_with(&ada).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.text().await.unwrap(), "Bearer a1");
    let sent = [format!("Bearer {ADAS}"), String::from("Bearer a1")];
    assert_eq!(rig.api.headers("authorization"), sent);
    for seen in rig.api.seen() {
        assert_eq!(seen.body, r#"{"text":"hello"}"#);
        assert_eq!(seen.header("content-type"), "application/json");
        // It was in memory, so it went as a whole.
        assert_eq!(seen.header("content-length"), "16");
        assert_eq!(seen.header("x-id"), "7");
    }
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test]
async fn json_of_any_size_is_sent_again() {
    let rig = Rig::start().await;
    rig.api.refuse(ADAS);
    let tokens = TokenClient::builder(&rig.manager).replay_limit(0);
    let ada = tokens.build(builder()).unwrap().for_key(rig.ada.clone());
    let text = "x".repeat(1_024 * KIB);
    let request = ada.client().post(rig.api.url("/notes")).json(&text);
    let response = request.send_with(&ada).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(rig.api.seen()[1].body.len(), text.len() + 2);
}

#[tokio::test]
async fn streams_and_forms_are_sent_again_under_the_limit() {
    for (len, healed) in [(32 * KIB, true), (256 * KIB, false)] {
        for multipart in [true, false] {
            let rig = Rig::start().await;
            rig.api.refuse(ADAS);
            let ada = rig.client().for_key(rig.ada.clone());
            let request = ada.client().post(rig.api.url("/files"));
            let request = match multipart {
                true => request.multipart(form(len)),
                false => request.body(stream(len)),
            };
            let response = request.send_with(&ada).await.unwrap();
            let seen = rig.api.seen();
            if healed {
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(seen[0].body, seen[1].body);
            } else {
                // What cannot be sent again is answered as it was.
                assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
                assert_eq!(seen.len(), 1);
            }
            assert!(seen[0].body.len() >= len);
            // Behind, where nobody waited for it.
            let begun = timeout(Duration::from_secs(60), rig.fake.begun(1));
            begun.await.expect("no refresh");
        }
    }
}

#[tokio::test]
async fn two_users_of_one_connection_are_never_mixed_up() {
    let rig = Rig::start().await;
    let tokens = rig.client();
    let [ada, bob] = [&rig.ada, &rig.bob].map(|key| tokens.for_key(key.clone()));
    for n in 0..50 {
        let (handle, token) = if n % 2 == 0 {
            (&ada, ADAS)
        } else {
            (&bob, BOBS)
        };
        let request = tokens.client().get(rig.api.url("/me"));
        let response = request.send_with(handle).await.unwrap();
        assert_eq!(response.text().await.unwrap(), format!("Bearer {token}"));
    }
    assert_eq!(rig.api.connections(), 1);
    let both = (0..50).map(|n| {
        let (handle, token) = if n % 2 == 0 {
            (&ada, ADAS)
        } else {
            (&bob, BOBS)
        };
        let request = tokens.client().get(rig.api.url("/me"));
        async move {
            let response = request.send_with(handle).await.unwrap();
            assert_eq!(response.text().await.unwrap(), format!("Bearer {token}"));
        }
    });
    futures_util::future::join_all(both).await;
}

#[tokio::test]
async fn what_reqwest_hides_is_said_by_the_handle() {
    let rig = Rig::start().await;
    let tokens = rig.client();
    let get = || tokens.client().get(rig.api.url("/me"));
    // Nobody can see whose request it is.
    let error = token_error(get().send_with(&tokens).await).unwrap();
    assert_eq!(error.kind(), ErrorKind::MissingKey);
    let ada = tokens.for_key(rig.ada.clone());
    let response = ada.execute(get().build().unwrap()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), format!("Bearer {ADAS}"));
    // As a Tower service it takes requests that say it.
    let request = Request::get(rig.api.url("/me"))
        .extension(TokenRequest::new(rig.bob.clone()))
        .body(Body::default())
        .unwrap();
    let response = Response::from(tokens.clone().oneshot(request).await.unwrap());
    assert_eq!(response.text().await.unwrap(), format!("Bearer {BOBS}"));
    let anyone = TokenClient::builder(&rig.manager).pass_without_key();
    let anyone = anyone.build(builder()).unwrap();
    let response = get().send_with(&anyone).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "-");
    // What passes us by has no token.
    let response = get().send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "-");
}

#[tokio::test]
async fn whole_stacks_can_be_sent_with() {
    let rig = Rig::start().await;
    rig.api.refuse(ADAS);
    let tokens = TokenLayer::new(&rig.manager)
        .for_key(rig.ada.clone())
        .buffered(64 * KIB);
    let refusals = RefusalLayer::new(|status, _| status == StatusCode::NOT_FOUND);
    let stack = tokens.layer(refusals.layer(ReqwestService::new(builder()).unwrap()));
    let url = rig.api.url("/me");
    let post = || reqwest::Client::new().post(&url).body("hello");
    let response = post().send_with(stack.clone()).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "Bearer a1");
    // Around a handle, with a boxed error.
    let ada = rig.client().for_key(rig.ada.clone());
    let boxed = tower::util::BoxCloneService::new(
        ada.map_err(|error: TokenServiceError<reqwest::Error>| BoxError::from(error)),
    );
    let response = post().send_with(boxed).await.unwrap();
    assert_eq!(response.url().as_str(), url);
    assert_eq!(response.text().await.unwrap(), "Bearer a1");
    // Without any of ours.
    let bare = ReqwestService::new(builder()).unwrap();
    let response = post().send_with(bare).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "-");
}

#[tokio::test]
async fn a_service_is_called_only_when_it_is_ready() {
    let rig = Rig::start().await;
    let ada = rig.client().for_key(rig.ada.clone());
    let one = tower::ServiceBuilder::new().concurrency_limit(1);
    let ada = one.service(ada);
    let get = |path: &str| reqwest::Client::new().get(rig.api.url(path));
    let first = get("/1").send_with(ada.clone());
    let second = get("/2").send_with(ada);
    let (first, second) = tokio::join!(first, second);
    assert_eq!(
        (first.unwrap().status(), second.unwrap().status()),
        (StatusCode::OK, StatusCode::OK)
    );
}

#[tokio::test]
async fn a_token_of_its_own_passes_untouched() {
    let rig = Rig::start().await;
    rig.api.refuse("its-own");
    let ada = rig.client().for_key(rig.ada.clone());
    let request = ada.client().get(rig.api.url("/me")).bearer_auth("its-own");
    let response = request.send_with(&ada).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(rig.api.headers("authorization"), ["Bearer its-own"]);
    assert_eq!(rig.fake.exchanges(), 0);
}

#[tokio::test]
async fn reqwests_errors_come_out_as_they_are() {
    let rig = Rig::start().await;
    let ada = rig.client().for_key(rig.ada.clone());
    // What cannot be built.
    let request = ada.client().get("no url");
    let error = inner(request.send_with(&ada).await);
    assert!(error.is_builder(), "{error:?}");
    // Nobody listens.
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let anyone = TokenClient::builder(&rig.manager).pass_without_key();
    let anyone = anyone.build(builder()).unwrap();
    let result = anyone.client().get(&closed).send_with(&anyone).await;
    let error = result.as_ref().unwrap_err();
    assert!(error.source().is_some());
    let error = inner(result);
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(error.url().unwrap().as_str(), format!("{closed}/"));
}

#[tokio::test]
async fn a_time_out_of_the_request_is_kept_and_is_told() {
    let rig = Rig::start().await;
    let ada = rig.client().for_key(rig.ada.clone());
    let request = ada.client().get(rig.api.url("/never"));
    let sent = request.timeout(Duration::from_secs(30)).send_with(&ada);
    let error = inner(timeout(HOUR, sent).await.expect("no time-out"));
    assert!(error.is_timeout(), "{error:?}");
}

#[tokio::test]
async fn a_time_out_of_the_client_is_kept_and_is_told() {
    let rig = Rig::start().await;
    let tokens = TokenClient::new(&rig.manager, builder().timeout(Duration::from_secs(30)));
    let ada = tokens.unwrap().for_key(rig.ada.clone());
    let sent = ada.client().get(rig.api.url("/never")).send_with(&ada);
    let error = inner(timeout(HOUR, sent).await.expect("no time-out"));
    assert!(error.is_timeout(), "{error:?}");
}

#[test]
fn handles_and_futures_can_be_sent_to_other_threads() {
    fn portable<T: Send + Sync + Clone + 'static>() {}
    portable::<TokenClient>();
    portable::<ReqwestService>();
    fn sendable<T: Send>(_: &T) {}
    fn check(ada: &TokenClient) {
        sendable(
            &reqwest::Client::new()
                .get("http://a.example")
                .send_with(ada),
        );
        let request = Request::new(Body::default());
        sendable(&ada.clone().call(request));
    }
    let _ = check;
}
