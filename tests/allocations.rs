//! Invariant 4: a fresh token is attached without an allocation.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Empty;
use tower::{Layer as _, Service as _};
use tower_token::{
    GrantKey, KeyRing, MemoryStore, NoReplay, OAuth2, SealedStore, TokenLayer, TokenManager,
    TokenRequest, TokenResponse,
};

/// An inner service that is ready at once, allocates nothing, and answers by the token.
#[derive(Clone)]
struct Inner;

impl tower::Service<Request<Empty<Bytes>>> for Inner {
    type Response = Response<bool>;
    type Error = Infallible;
    type Future = Ready<Result<Response<bool>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(
            request.headers().contains_key(AUTHORIZATION),
        )))
    }
}

#[test]
fn a_fresh_token_is_attached_without_an_allocation() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SealedStore::open(MemoryStore::new(), KeyRing::generate().unwrap());
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(
                OAuth2::new("p", "https://a.example/token")
                    .public_client("c")
                    .allow_origin("https://api.example.com"),
            )
            .build()
            .await
            .unwrap();
        let key = GrantKey::new("p", "ada");
        let response = TokenResponse::new("t".repeat(1_024)).expires_in(Duration::from_secs(3_600));
        manager.connect(&key, response).await.unwrap();
        let mut service = TokenLayer::new(&manager).replay(NoReplay).layer(Inner);
        let request = || {
            Request::get("https://api.example.com/v1")
                .header("accept", "application/json")
                .extension(TokenRequest::new(key.clone()))
                .body(Empty::new())
                .unwrap()
        };
        // The first use of a map on a thread registers it.
        let warm = service.call(request()).await.unwrap();
        assert!(warm.into_body());

        let next = request();
        let mut answer = None;
        let allocated = allocation_counter::measure(|| {
            let future = service.call(next);
            let mut future = std::pin::pin!(future);
            let waker = std::task::Waker::noop();
            answer = Some(future.as_mut().poll(&mut Context::from_waker(waker)));
        });
        assert!(matches!(answer, Some(Poll::Ready(Ok(response))) if *response.body()));
        assert_eq!(allocated.count_total, 0, "{allocated:?}");
    });
}
