//! Other places for a token than `Authorization`.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, Request};
use http_body::Frame;
use http_body_util::{Empty, StreamBody};
use hyper_client_token::{Body, TokenClient};
use tower_token::{ErrorKind, JsonBody, TokenHeader};

use crate::support::{Api, Rig, VERSIONS, text, token_error};

#[tokio::test]
async fn a_header_of_its_own() {
    for (_, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let header = TokenHeader::new(HeaderName::from_static("x-api-key"));
        let client = change(TokenClient::builder(&rig.manager))
            .place(header)
            .build();
        let ada = client.for_key(rig.connect("ada").await);
        api.refuse("ada-0");
        let request = Request::post(api.uri("/x")).body("a text").unwrap();
        assert_eq!(text(ada.request(request).await).await, "ada-1");
        for seen in api.seen() {
            assert_eq!(seen.head.headers["x-api-key"], seen.token());
            assert!(!seen.head.headers.contains_key("authorization"));
            assert_eq!(seen.body, "a text");
        }
        assert_eq!(api.tokens(), ["ada-0", "ada-1"]);
    }
}

#[tokio::test]
async fn a_field_of_its_json() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager))
            .place(JsonBody::field("authToken"))
            .build();
        let ada = client.for_key(rig.connect("ada").await);
        api.refuse_once();
        let request = Request::post(api.uri("/x"))
            .body(r#"{"type":"x"}"#)
            .unwrap();
        assert_eq!(text(ada.request(request).await).await, "-");
        let seen = api.seen();
        for (seen, expected) in seen.iter().zip(["ada-0", "ada-1"]) {
            let body = format!(r#"{{"type":"x","authToken":"{expected}"}}"#);
            assert_eq!(seen.body, body, "{version:?}");
            assert_eq!(seen.head.headers["content-type"], "application/json");
            let len = body.len().to_string();
            assert_eq!(seen.framing(), [Some(&*len), None]);
        }
        assert_eq!((seen.len(), rig.tokens.exchanges()), (2, 1));

        let request = Request::post(api.uri("/x")).body(Empty::new()).unwrap();
        text(ada.request(request).await).await;
        assert_eq!(api.seen()[2].body, r#"{"authToken":"ada-1"}"#);
    }
}

#[tokio::test]
async fn no_json_and_no_request_at_all() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let client = TokenClient::builder(&rig.manager)
        .place(JsonBody::field("authToken"))
        .build();
    let ada = client.for_key(rig.connect("ada").await);
    let stream = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
    for body in [Body::from("no object"), Body::new(StreamBody::new(stream))] {
        let request = Request::post(api.uri("/x")).body(body).unwrap();
        let error = token_error(ada.request(request).await);
        assert_eq!(error.kind(), ErrorKind::Placement);
    }
    assert!(api.seen().is_empty());
}
