//! It is a Tower service: layers go around it, and each of their tries is a request of its own.

use std::future::{Ready, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_client_token::{Body, Error, TokenClient};
use tower::retry::Policy;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_token::{ErrorKind, Recovery, TokenServiceError};

use crate::support::{Api, HOUR, Rig, VERSIONS, text, token_error};

/// Once more if hyper failed, and not if there is no token.
#[derive(Clone)]
struct OnceMore(bool);

impl<B: Clone> Policy<Request<B>, Response<Incoming>, Error> for OnceMore {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<B>,
        result: &mut Result<Response<Incoming>, Error>,
    ) -> Option<Ready<()>> {
        let useful = match result {
            Ok(_) => false,
            Err(TokenServiceError::Inner(_)) => true,
            Err(TokenServiceError::Token(error)) => {
                matches!(error.recovery(), Recovery::Retry { .. })
            }
        };
        (std::mem::take(&mut self.0) && useful).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn time_outs_and_retries() {
    for (version, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager)).build();
        let ada = client.for_key(rig.connect("ada").await);
        let client = ServiceBuilder::new()
            .timeout(Duration::from_secs(60))
            .retry(OnceMore(true))
            .service(ada);
        let client = BoxCloneSyncService::new(client);
        api.hang_up();
        let request = Request::post(api.uri("/x"))
            .body(Full::<Bytes>::from("a text"))
            .unwrap();
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(text(Ok(response)).await, "ada-0");
        let bodies: Vec<_> = api.seen().into_iter().map(|seen| seen.body).collect();
        assert_eq!(bodies, ["a text", "a text"], "{version:?}");
    }
}

/// The time-out is over before the refresh is; what that brings is there for the next.
#[tokio::test]
async fn a_time_out_bounds_the_wait_for_a_token() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let client = TokenClient::new(&rig.manager);
    let ada = client.for_key(rig.connect("ada").await);
    rig.clock.advance(HOUR);
    rig.tokens.hold();
    let hasty = ServiceBuilder::new()
        .timeout(Duration::from_millis(1))
        .service(ada.clone());
    let request = Request::get(api.uri("/x")).body(()).unwrap();
    let error = hasty.oneshot(request).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error:?}");
    rig.tokens.release();
    assert_eq!(text(ada.get(api.uri("/x")).await).await, "ada-1");
    assert_eq!(rig.tokens.exchanges(), 1);
}

#[tokio::test]
async fn redirects_are_followed_outside_and_checked_on_every_hop() {
    let (api, foreign) = (Api::start().await, Api::start().await);
    let rig = Rig::of(&api).await;
    let key = rig.connect("ada").await;
    let get = |to: http::Uri| {
        let uri = api.uri(&format!("/redirect?{to}"));
        Request::get(uri).body(Body::default()).unwrap()
    };

    let ada = TokenClient::new(&rig.manager).for_key(key.clone());
    // By itself it follows none.
    let response = ada.request(get(api.uri("/end"))).await.unwrap();
    assert_eq!(response.status(), 307);

    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .service(ada);
    let home = client.clone().oneshot(get(api.uri("/end"))).await;
    assert_eq!(text(home).await, "ada-0");
    let away = client.oneshot(get(foreign.uri("/end"))).await;
    assert_eq!(token_error(away).kind(), ErrorKind::ForeignOrigin);
    assert!(foreign.seen().is_empty());

    let download = TokenClient::builder(&rig.manager)
        .foreign_origin_without_token()
        .build();
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .service(download.for_key(key));
    let away = client.oneshot(get(foreign.uri("/end"))).await;
    assert_eq!(text(away).await, "-");
    assert_eq!(foreign.tokens(), ["-"]);
}
