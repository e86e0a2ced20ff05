//! Invariant 5: what a 401 does.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tests::fake::Next;
use tower::{Layer as _, ServiceExt as _};
use tower_token::{EventKind, NoReplay, TokenLayer, TokenRequest, Verdict};

use crate::support::{API, Api, Rig};

fn request(rig: &Rig) -> Request<Full<Bytes>> {
    Request::post(API)
        .extension(TokenRequest::new(rig.key.clone()))
        .extension("the user's own")
        .header("x-mine", "1")
        .body(Full::from("body"))
        .unwrap()
}

#[tokio::test]
async fn a_401_is_healed_by_one_exchange_and_one_resend_of_the_whole_request() {
    let rig = Rig::connected().await;
    let api = Api::default();
    api.refuse("a0");
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let response = client.oneshot(request(&rig)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(api.tokens(), ["a0", "a1"]);
    assert_eq!(rig.fake.exchanges(), 1);
    let resent = api.last();
    assert_eq!(resent.method(), "POST");
    assert_eq!(resent.headers()["x-mine"], "1");
    assert_eq!(resent.extensions().get::<&str>(), Some(&"the user's own"));
}

#[tokio::test]
async fn the_second_request_is_the_first_but_for_its_token() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    for with_extension in [false, true] {
        let sent = || {
            let mut request = Request::put("https://api.example.com/a?b=c")
                .version(http::Version::HTTP_2)
                .header("x-first", "1")
                .header("cookie", "a=1")
                .header("x-second", "2")
                .header("cookie", "b=2")
                .extension(TokenRequest::new(rig.key.clone()))
                .body(Full::<Bytes>::default())
                .unwrap();
            if with_extension {
                request.extensions_mut().insert("the user's own");
            }
            request
        };
        let token = rig.token().await;
        client.clone().oneshot(sent()).await.unwrap();
        let first = api.last();
        api.refuse(&token);
        client.clone().oneshot(sent()).await.unwrap();
        let second = api.last();
        let shown = |request: &Request<()>| {
            let mut headers = request.headers().clone();
            headers.remove("authorization");
            let wanted = request
                .extensions()
                .get::<TokenRequest>()
                .map(|wanted| wanted.key().clone());
            (
                format!(
                    "{} {} {:?} {headers:?}",
                    request.method(),
                    request.uri(),
                    request.version()
                ),
                request.extensions().get::<&str>().copied(),
                wanted,
            )
        };
        assert_eq!(shown(&first), shown(&second));
        assert_ne!(
            first.headers()["authorization"],
            second.headers()["authorization"]
        );
        // What was issued for a refusal is not refused again at once.
        rig.clock.advance(std::time::Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_meanwhile_costs_no_exchange() {
    let rig = Rig::connected().await;
    let api = Api::default();
    api.refuse("a0");
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let both = tokio::join!(
        client.clone().oneshot(request(&rig)),
        client.clone().oneshot(request(&rig)),
    );
    assert_eq!(both.0.unwrap().status(), StatusCode::OK);
    assert_eq!(both.1.unwrap().status(), StatusCode::OK);
    assert_eq!(rig.fake.exchanges(), 1);
}

#[tokio::test]
async fn a_newer_token_in_the_store_is_adopted() {
    let mut rig = Rig::connected().await;
    let sibling = rig.sibling().await;
    sibling.token(&rig.key).await.unwrap();
    // The sibling refreshes; this manager still serves `a0`.
    rig.until_expired();
    sibling.token(&rig.key).await.unwrap();
    assert_eq!(rig.fake.exchanges(), 1);
    assert_eq!(rig.token().await, "a1");
    assert_eq!(rig.fake.exchanges(), 1);
    assert!(
        rig.seen()
            .iter()
            .any(|event| matches!(event, EventKind::Adopted { .. }))
    );
}

#[tokio::test]
async fn a_new_token_that_is_refused_at_once_is_not_refreshed_again() {
    let rig = Rig::connected().await;
    let api = Api::default();
    for token in ["a0", "a1", "a2", "a3"] {
        api.refuse(token);
    }
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    for _ in 0..5 {
        let response = client.clone().oneshot(request(&rig)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    }
    assert_eq!(rig.fake.exchanges(), 1);
    // A while later it is worth another try.
    rig.clock.advance(Duration::from_secs(60));
    client.oneshot(request(&rig)).await.unwrap();
    assert_eq!(rig.fake.exchanges(), 2);
}

#[tokio::test]
async fn insufficient_scope_is_an_answer_and_not_a_refusal() {
    let rig = Rig::connected().await;
    let api = Api::default();
    api.refuse("a0");
    api.challenge("Bearer error=\"insufficient_scope\", scope=\"admin\"");
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let response = client.oneshot(request(&rig)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!((api.tokens().len(), rig.fake.exchanges()), (1, 0));
}

#[tokio::test]
async fn the_401_is_the_answer_where_no_better_token_can_be_had() {
    let rig = Rig::connected().await;
    rig.fake
        .script([Next::Fail(Verdict::Transient { retry_after: None })]);
    let api = Api::default();
    api.refuse("a0");
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let response = client.oneshot(request(&rig)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.tokens(), ["a0"]);
}

/// A body that can be sent once.
struct Stream(Option<Bytes>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|data| Ok(http_body::Frame::data(data))))
    }
}

#[tokio::test]
async fn a_streaming_body_goes_through_and_its_401_comes_back_with_the_refresh_behind() {
    let mut rig = Rig::connected().await;
    let api = Api::default();
    api.refuse("a0");
    let client = TokenLayer::new(&rig.manager)
        .replay(NoReplay)
        .layer(api.service::<Stream>());
    let send = || {
        let request = Request::post(API)
            .extension(TokenRequest::new(rig.key.clone()))
            .body(Stream(Some(Bytes::from_static(b"once"))))
            .unwrap();
        client.clone().oneshot(request)
    };
    assert_eq!(send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.tokens(), ["a0"]);
    // The next request finds the new token, or waits for the refresh under way.
    assert_eq!(send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(api.tokens(), ["a0", "a1"]);
    assert_eq!(rig.fake.exchanges(), 1);
    assert!(
        rig.seen()
            .iter()
            .any(|event| matches!(event, EventKind::Refused { .. }))
    );
}

#[tokio::test]
async fn without_retry_the_401_comes_back_and_the_refresh_happens_behind() {
    let rig = Rig::connected().await;
    let api = Api::default();
    api.refuse("a0");
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    let mut once = request(&rig);
    once.extensions_mut()
        .insert(TokenRequest::new(rig.key.clone()).without_retry());
    let response = client.oneshot(once).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(rig.token().await, "a1");
    assert_eq!(rig.fake.exchanges(), 1);
}
