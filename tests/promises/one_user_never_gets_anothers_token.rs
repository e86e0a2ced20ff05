//! Invariant 2: the key comes from the request, or from a handle bound to one key.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, ServiceExt as _};
use tower_token::{
    ErrorKind, GrantKey, TokenLayer, TokenRequest, TokenResponse, TokenServiceError,
};

use crate::support::{API, Api, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn interleaved_users_on_one_client_each_get_their_own() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let users: Vec<String> = (0..50).map(|n| format!("user-{n}")).collect();
    for user in &users {
        let response = TokenResponse::new(format!("token-of-{user}"));
        rig.manager
            .connect(&GrantKey::new("fake", user.as_str()), response)
            .await
            .unwrap();
    }
    let calls: Vec<_> = (0..1_000)
        .map(|n| {
            let user = users[n * 7 % users.len()].clone();
            let client = client.clone();
            tokio::spawn(async move {
                let key = GrantKey::new("fake", user.as_str());
                let request = Request::get(API).extension(TokenRequest::new(key));
                let response = client
                    .oneshot(request.body(Full::default()).unwrap())
                    .await
                    .unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, format!("token-of-{user}"));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_bound_client_refuses_a_request_for_somebody_else() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let bob = GrantKey::new("fake", "bob");
    rig.manager
        .connect(&bob, TokenResponse::new("of-bob"))
        .await
        .unwrap();
    let shared = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let (ada, bobs) = (shared.for_key(rig.key.clone()), shared.for_key(bob.clone()));
    let plain = || Request::get(API).body(Full::default()).unwrap();
    ada.clone().oneshot(plain()).await.unwrap();
    bobs.oneshot(plain()).await.unwrap();
    assert_eq!(api.tokens(), ["a0", "of-bob"]);

    let mut for_bob = plain();
    for_bob.extensions_mut().insert(TokenRequest::new(bob));
    match ada.oneshot(for_bob).await.unwrap_err() {
        TokenServiceError::Token(error) => assert_eq!(error.kind(), ErrorKind::KeyMismatch),
        TokenServiceError::Inner(never) => match never {},
    }
    assert_eq!(api.tokens().len(), 2);
}

#[tokio::test]
async fn an_empty_subject_is_refused() {
    let rig = Rig::connected().await;
    let anonymous = GrantKey::new("fake", "");
    let error = rig
        .manager
        .connect(&anonymous, rig.fake.consent())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
