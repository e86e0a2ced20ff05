//! One client for all users: one pool, and each request with the token of its own user.

use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt as _;
use hyper_client_token::TokenClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower_token::{ErrorKind, GrantKey, Recovery, TokenRequest};

use crate::support::{Api, Rig, VERSIONS, text, token_error};

/// A connection is free again once its task has seen that the answer was read.
async fn until_idle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_users_take_turns_on_one_connection() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager)).build();
        let (ada, bob) = (rig.connect("ada").await, rig.connect("bob").await);
        let handles = [client.for_key(ada.clone()), client.for_key(bob.clone())];
        for turn in 0..10 {
            // A token of one is refused in between, which is nothing to the other.
            if turn == 5 {
                api.refuse("bob-0");
            }
            let answers = ["ada-0", if turn < 5 { "bob-0" } else { "bob-1" }];
            for (handle, expected) in handles.iter().zip(answers) {
                assert_eq!(text(handle.get(api.uri("/me")).await).await, expected);
                until_idle().await;
            }
            for (key, expected) in [(&ada, answers[0]), (&bob, answers[1])] {
                let request = Request::get(api.uri("/me"))
                    .extension(TokenRequest::new(key.clone()))
                    .body(())
                    .unwrap();
                assert_eq!(text(client.request(request).await).await, expected);
                until_idle().await;
            }
        }
        assert_eq!(api.connections(), 1, "{version:?}");
        assert_eq!(rig.tokens.exchanges(), 1);
    }
}

/// hyper's pool looks for idle connections by a timer, and keeps them for ever without one.
#[tokio::test]
async fn a_connection_that_idles_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let rig = Rig::at(&origin).await;
    let client = TokenClient::builder(&rig.manager)
        .settings(|http| http.pool_idle_timeout(Duration::from_millis(1)))
        .build()
        .for_key(rig.connect("ada").await);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4_096];
        let read = stream.read(&mut head).await.unwrap();
        assert!(head[..read].ends_with(b"\r\n\r\n"));
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(response).await.unwrap();
        stream.read(&mut head).await.unwrap()
    });
    let response = client.get(origin.parse().unwrap()).await.unwrap();
    response.into_body().collect().await.unwrap();
    let read = timeout(Duration::from_secs(60), server).await;
    assert_eq!(read.expect("it is kept open").unwrap(), 0);
}

#[tokio::test]
async fn users_at_once_get_answers_of_their_own() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager)).build();
        let users: Vec<String> = (0..8).map(|n| format!("user{n}")).collect();
        let mut handles = Vec::new();
        for user in &users {
            handles.push(client.for_key(rig.connect(user).await));
        }
        text(handles[0].get(api.uri("/me")).await).await;
        let calls = (0..200).map(|n| {
            let (user, handle) = (&users[n % 8], &handles[n % 8]);
            let uri = api.uri("/me");
            async move { assert_eq!(text(handle.get(uri).await).await, format!("{user}-0")) }
        });
        join_all(calls).await;
        if version == http::Version::HTTP_2 {
            assert_eq!(api.connections(), 1);
        }
    }
}

#[tokio::test]
async fn a_client_of_nobody_says_what_to_do() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let client = TokenClient::new(&rig.manager);
    let error = token_error(client.get(api.uri("/me")).await);
    assert_eq!(error.kind(), ErrorKind::MissingKey);
    assert!(error.to_string().contains(".for_key(key)"), "{error}");

    let nobody = client.for_key(GrantKey::new("fake", "nobody"));
    let error = token_error(nobody.get(api.uri("/me")).await);
    assert_eq!(error.recovery(), Recovery::Reauthenticate);

    let ada = client.for_key(rig.connect("ada").await);
    let of_bob = Request::get(api.uri("/me"))
        .extension(TokenRequest::new(rig.connect("bob").await))
        .body(())
        .unwrap();
    let error = token_error(ada.request(of_bob).await);
    assert_eq!(error.kind(), ErrorKind::KeyMismatch);
    assert_eq!((api.seen().len(), api.connections()), (0, 0));
}

#[tokio::test]
async fn requests_without_a_token_go_where_that_was_chosen() {
    let (api, foreign) = (Api::start().await, Api::start().await);
    let rig = Rig::of(&api).await;
    let ada = rig.connect("ada").await;
    let client = TokenClient::builder(&rig.manager)
        .pass_without_key()
        .foreign_origin_without_token()
        .build();
    assert_eq!(text(client.get(api.uri("/me")).await).await, "-");
    let ada = client.for_key(ada);
    assert_eq!(text(ada.get(foreign.uri("/me")).await).await, "-");
    assert_eq!(text(ada.get(api.uri("/me")).await).await, "ada-0");

    let strict = TokenClient::new(&rig.manager).for_key(GrantKey::new("fake", "ada"));
    let error = token_error(strict.get(foreign.uri("/me")).await);
    assert_eq!(error.kind(), ErrorKind::ForeignOrigin);
    assert_eq!(foreign.tokens(), ["-"]);
}
