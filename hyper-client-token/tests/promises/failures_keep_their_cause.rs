//! What fails in hyper comes out as hyper's error, down to its first cause.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_client_token::{Body, Error, TokenClient};
use hyper_util::client::legacy;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::support::{Api, Rig, VERSIONS, cause, text};

fn inner(error: &Error) -> &legacy::Error {
    match error {
        Error::Inner(error) => error,
        Error::Token(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_refused_connection() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let rig = Rig::at(&origin).await;
    let client = TokenClient::new(&rig.manager);
    let ada = client.for_key(rig.connect("ada").await);
    let error = ada.get(origin.parse().unwrap()).await.unwrap_err();
    assert!(inner(&error).is_connect());
    let refused = cause::<io::Error>(&error).unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_connection_that_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let rig = Rig::at(&origin).await;
    let client = TokenClient::new(&rig.manager);
    let ada = client.for_key(rig.connect("ada").await);
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        // Instead of a goodbye.
        stream.set_zero_linger().unwrap();
    };
    let (response, ()) = tokio::join!(ada.get(origin.parse().unwrap()), server);
    let error = response.unwrap_err();
    assert!(!inner(&error).is_connect());
    assert!(cause::<hyper::Error>(&error).is_some());
    let reset = cause::<io::Error>(&error).unwrap();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_that_ends_before_the_answer() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager)).build();
        let ada = client.for_key(rig.connect("ada").await);
        api.hang_up();
        let error = ada.get(api.uri("/x")).await.unwrap_err();
        assert!(!inner(&error).is_connect());
        let cause = cause::<hyper::Error>(&error);
        assert!(cause.is_some(), "{version:?} {error:?}");
        // It was not tried again, and nothing else is broken.
        assert_eq!(api.tokens(), ["ada-0"]);
        assert_eq!(text(ada.get(api.uri("/x")).await).await, "ada-0");
        assert_eq!(rig.tokens.exchanges(), 0);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager)).build();
        let ada = client.for_key(rig.connect("ada").await);
        let frames = [
            Ok(Frame::data(Bytes::from("a "))),
            Err(io::Error::other("the disk is gone")),
        ];
        let body = Body::new(StreamBody::new(stream::iter(frames)));
        let request = Request::post(api.uri("/x")).body(body).unwrap();
        let error = ada.request(request).await.unwrap_err();
        assert!(cause::<hyper::Error>(&error).is_some(), "{version:?}");
        // Of HTTP/2 hyper says no more than that the stream was reset.
        if version == http::Version::HTTP_11 {
            let cause = cause::<io::Error>(&error).unwrap();
            assert_eq!(cause.to_string(), "the disk is gone");
        }
        assert!(api.seen().is_empty(), "{version:?}");
    }
}

#[tokio::test]
async fn plain_http_is_all_that_there_is_without_tls() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let client = TokenClient::builder(&rig.manager)
        .pass_without_key()
        .build();
    let error = client
        .get("https://127.0.0.1:1/".parse().unwrap())
        .await
        .unwrap_err();
    assert!(inner(&error).is_connect());
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("scheme is not http"), "{why}");
}
