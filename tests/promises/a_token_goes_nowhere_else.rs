//! Invariants 1 and 3: allowed origins, and failing closed.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_token::{ErrorKind, GrantKey, Recovery, TokenLayer, TokenRequest, TokenServiceError};

use crate::support::{API, Api, Rig};

fn to(rig: &Rig, url: &str) -> Request<Full<Bytes>> {
    let wanted = TokenRequest::new(rig.key.clone());
    Request::get(url)
        .extension(wanted)
        .body(Full::default())
        .unwrap()
}

fn token_error<T: std::fmt::Debug, E: std::fmt::Debug>(
    result: Result<T, TokenServiceError<E>>,
) -> tower_token::Error {
    match result.unwrap_err() {
        TokenServiceError::Token(error) => error,
        TokenServiceError::Inner(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_foreign_origin_is_refused_before_anything_is_sent() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service());
    for foreign in [
        "https://evil.example.com/",
        "http://api.example.com/",
        "https://api.example.com:8443/",
        "https://api.example.com.evil.com/",
        "https://api.example.com@evil.com/",
        "/no-host",
    ] {
        let error = token_error(client.clone().oneshot(to(&rig, foreign)).await);
        assert_eq!(error.kind(), ErrorKind::ForeignOrigin, "{foreign}");
        assert_eq!(error.recovery(), Recovery::Fail);
    }
    let error = token_error(
        client
            .clone()
            .oneshot(to(&rig, "https://new.example.com/x"))
            .await,
    );
    assert!(
        error
            .to_string()
            .contains(".allow_origin(\"https://new.example.com\")"),
        "{error}"
    );
    assert!(api.tokens().is_empty());
}

#[tokio::test]
async fn a_foreign_origin_gets_the_request_without_a_token_where_that_was_chosen() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let layer = TokenLayer::new(&rig.manager).foreign_origin_without_token();
    let client = layer.layer(api.service());
    client
        .clone()
        .oneshot(to(&rig, "https://files.example.com/"))
        .await
        .unwrap();
    client.oneshot(to(&rig, API)).await.unwrap();
    assert_eq!(api.tokens(), ["-", "a0"]);
}

#[tokio::test]
async fn every_hop_of_a_redirect_is_checked() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let redirecting = {
        let api = api.clone();
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let api = api.clone();
            async move {
                let next = match request.uri().path() {
                    "/same" => "https://api.example.com/end",
                    "/foreign" => "https://evil.example.com/end",
                    _ => return api.service().oneshot(request).await,
                };
                let answered = api.service().oneshot(request).await?;
                let mut response = Response::new(answered.into_body());
                *response.status_mut() = StatusCode::FOUND;
                response
                    .headers_mut()
                    .insert("location", next.parse().unwrap());
                Ok(response)
            }
        })
    };
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(TokenLayer::new(&rig.manager).for_key(rig.key.clone()))
        .service(redirecting);
    let get = |path: &str| {
        let request = Request::get(format!("{API}{path}"))
            .body(Full::default())
            .unwrap();
        client.clone().oneshot(request)
    };
    assert_eq!(get("/same").await.unwrap().status(), StatusCode::OK);
    assert_eq!(api.tokens(), ["a0", "a0"]);
    let error = token_error(get("/foreign").await);
    assert_eq!(error.kind(), ErrorKind::ForeignOrigin);
    assert_eq!(api.tokens(), ["a0", "a0", "a0"]);
}

#[tokio::test]
async fn without_a_usable_token_the_client_is_not_called() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service());
    let of = |key| {
        Request::get(API)
            .extension(TokenRequest::new(key))
            .body(Full::<Bytes>::default())
            .unwrap()
    };
    for (key, kind, recovery) in [
        (
            GrantKey::new("fake", "nobody"),
            ErrorKind::NotConnected,
            Recovery::Reauthenticate,
        ),
        (
            GrantKey::new("other", "ada"),
            ErrorKind::UnknownProvider,
            Recovery::Misconfigured,
        ),
    ] {
        let error = token_error(client.clone().oneshot(of(key)).await);
        assert_eq!((error.kind(), error.recovery()), (kind, recovery));
    }
    let unnamed = Request::get(API).body(Full::<Bytes>::default()).unwrap();
    let error = token_error(client.clone().oneshot(unnamed).await);
    assert_eq!(error.kind(), ErrorKind::MissingKey);
    assert!(
        error
            .to_string()
            .contains(".extension(TokenRequest::new(key))"),
        "{error}"
    );
    assert!(api.tokens().is_empty());
}

#[tokio::test]
async fn a_request_without_a_key_passes_where_that_was_chosen() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager)
        .pass_without_key()
        .layer(api.service());
    let unnamed = Request::get("https://anywhere.example")
        .body(Full::<Bytes>::default())
        .unwrap();
    client.oneshot(unnamed).await.unwrap();
    assert_eq!(api.tokens(), ["-"]);
}

#[tokio::test]
async fn a_request_with_authorization_passes_untouched() {
    let rig = Rig::connected().await;
    let api = Api::default();
    api.refuse("its-own");
    let client = TokenLayer::new(&rig.manager).layer(api.service());
    let mut request = to(&rig, "https://anywhere.example");
    request
        .headers_mut()
        .insert("authorization", "Bearer its-own".parse().unwrap());
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        (api.tokens(), rig.fake.exchanges()),
        (vec![String::from("its-own")], 0)
    );
}

/// Where the token would be there at once, and may go.
#[tokio::test]
async fn authorization_of_its_own_passes_untouched_also_where_a_token_may_go() {
    let mut rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service());
    for due in [false, true] {
        for own in [&["Bearer its-own"][..], &["Basic one", "Bearer two"]] {
            let mut request = to(&rig, API);
            request
                .headers_mut()
                .insert("x-before", "1".parse().unwrap());
            for value in own {
                let mut value: http::HeaderValue = value.parse().unwrap();
                value.set_sensitive(true);
                request.headers_mut().append("authorization", value);
            }
            request
                .headers_mut()
                .insert("x-after", "2".parse().unwrap());
            let given = request.headers().clone();
            client.clone().oneshot(request).await.unwrap();
            let arrived = api.last().headers().clone();
            let listed = |headers: &http::HeaderMap| format!("{headers:?}");
            assert_eq!((&arrived, listed(&arrived)), (&given, listed(&given)));
        }
        if !due {
            rig.until_due();
        }
    }
    assert_eq!((rig.seen().len(), rig.fake.exchanges()), (1, 0));
}
