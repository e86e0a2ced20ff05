//! Each kind of body arrives as hyper itself would send it, and once more after a 401.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper_client_token::{Body, TokenClient};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::support::{Api, Rig, Seen, VERSIONS, text};

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("sum", HeaderValue::from_static("1"));
    trailers
}

fn stream_of(frames: Vec<Frame<Bytes>>) -> Body {
    let frames = frames.into_iter().map(Ok::<_, Infallible>);
    Body::new(StreamBody::new(stream::iter(frames)))
}

/// Bodies as people have them, with what has to arrive.
fn bodies() -> Vec<(&'static str, Body, &'static str)> {
    let pieces = || ["a ", "text"].map(|piece| Frame::data(Bytes::from(piece)));
    let with_trailers = pieces().into_iter().chain([Frame::trailers(trailers())]);
    vec![
        ("()", ().into(), ""),
        ("Empty", Empty::new().into(), ""),
        ("&str", "a text".into(), "a text"),
        ("String", String::from("a text").into(), "a text"),
        ("Vec", b"a text".to_vec().into(), "a text"),
        ("Bytes", Bytes::from("a text").into(), "a text"),
        ("Full", Full::from("a text").into(), "a text"),
        ("a sized body", Body::new(Full::from("a text")), "a text"),
        ("a stream", stream_of(pieces().into()), "a text"),
        ("trailers", stream_of(with_trailers.collect()), "a text"),
    ]
}

#[tokio::test]
async fn each_kind_is_sent_again_after_a_401() {
    for (version, change) in VERSIONS {
        for (kind, body, expected) in bodies() {
            let api = Api::start().await;
            let rig = Rig::of(&api).await;
            let client = change(TokenClient::builder(&rig.manager)).build();
            let ada = client.for_key(rig.connect("ada").await);
            api.refuse("ada-0");

            let request = Request::post(api.uri("/x"))
                .header("x-mine", "kept")
                // Without it hyper sends no trailers over HTTP/1.1.
                .header("trailer", "sum")
                .body(body)
                .unwrap();
            assert_eq!(text(ada.request(request).await).await, "ada-1");
            assert_eq!(api.tokens(), ["ada-0", "ada-1"], "{version:?} {kind}");
            for seen in api.seen() {
                assert_eq!(seen.head.version, version);
                assert_eq!(seen.body, expected, "{version:?} {kind}");
                assert_eq!(seen.head.headers["x-mine"], "kept");
                let trailers = (kind == "trailers").then(trailers);
                assert_eq!(seen.trailers, trailers, "{version:?} {kind}");
            }
            let [first, second] = &api.seen()[..] else {
                panic!("two were sent");
            };
            assert_eq!(first.framing(), second.framing(), "{version:?} {kind}");
            assert_eq!(rig.tokens.exchanges(), 1);
        }
    }
}

/// What hyper's client makes of a body without anything around it.
async fn bare<B>(api: &Api, version: Version, method: Method, body: B) -> Seen
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .http2_only(version == Version::HTTP_2)
        .build_http();
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = api.uri("/x");
    client.request(request).await.unwrap();
    api.seen().pop().unwrap()
}

#[tokio::test]
async fn its_length_is_told_as_hyper_tells_it() {
    let stream = || {
        let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from("a text")))];
        StreamBody::new(stream::iter(frames))
    };
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager)).build();
        let ada = client.for_key(rig.connect("ada").await);
        for method in [Method::GET, Method::POST] {
            let empty = bare(&api, version, method.clone(), Empty::new()).await;
            let full = bare(&api, version, method.clone(), Full::from("a text")).await;
            let streamed = bare(&api, version, method.clone(), stream()).await;
            assert_ne!(full.framing(), streamed.framing());
            for (body, bare) in [
                (Body::from(()), empty),
                (Body::from("a text"), full.clone()),
                (Body::new(Full::from("a text")), full),
                (Body::new(stream()), streamed),
            ] {
                let mut request = Request::new(body);
                *request.method_mut() = method.clone();
                *request.uri_mut() = api.uri("/x");
                text(ada.request(request).await).await;
                let seen = api.seen().pop().unwrap();
                assert_eq!(seen.token(), "ada-0");
                assert_eq!(seen.framing(), bare.framing(), "{version:?} {method}");
            }
        }
    }
}

/// What a server of hyper's has received goes on as it comes.
#[tokio::test]
async fn what_was_received_is_sent_on() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let client = TokenClient::new(&rig.manager);
    let ada = client.for_key(rig.connect("ada").await);
    api.refuse("ada-0");
    let received = ada.get(api.uri("/x")).await.unwrap().into_body();
    let request = Request::post(api.uri("/y")).body(received).unwrap();
    assert_eq!(text(ada.request(request).await).await, "ada-1");
    assert_eq!(api.seen().pop().unwrap().body, "ada-1");
}

/// More than is kept of a stream: the 401 is the answer, and the next request has a new token.
#[tokio::test]
async fn the_limit_is_for_streams() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let builder = TokenClient::builder(&rig.manager).replay_limit(1 << 10);
        let ada = change(builder).build().for_key(rig.connect("ada").await);
        api.refuse("ada-0");
        let pieces = || (0..4).map(|_| Frame::data(Bytes::from(vec![7; 1 << 10])));
        let request = |body| Request::post(api.uri("/x")).body(body).unwrap();

        let long = ada.request(request(stream_of(pieces().collect()))).await;
        assert_eq!(long.unwrap().status(), 401, "{version:?}");
        rig.tokens.begun(1).await;
        let next = ada.request(request(stream_of(pieces().collect()))).await;
        assert_eq!(text(next).await, "ada-1");
        let seen = api.seen();
        assert!(seen.iter().all(|seen| seen.body.len() == 4 << 10));
        assert_eq!(seen.len(), 2);
    }
}

/// What is in memory is sent again however long it is.
#[tokio::test]
async fn the_limit_is_not_for_what_is_in_memory() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let builder = TokenClient::builder(&rig.manager).replay_limit(0);
        let ada = change(builder).build().for_key(rig.connect("ada").await);
        api.refuse("ada-0");
        let long = Bytes::from(vec![7; 1 << 20]);
        let request = Request::post(api.uri("/x")).body(long.clone()).unwrap();
        assert_eq!(text(ada.request(request).await).await, "ada-1");
        assert_eq!(api.tokens(), ["ada-0", "ada-1"], "{version:?}");
        assert!(api.seen().iter().all(|seen| seen.body == long));
    }
}

#[tokio::test]
async fn answers_come_with_their_body() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let client = TokenClient::new(&rig.manager);
    let ada = client.for_key(rig.connect("ada").await);
    let response = ada.get(api.uri("/x")).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "ada-0");
}
