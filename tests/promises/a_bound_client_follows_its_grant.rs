//! Invariants 6 and 7, for a client that is bound to one grant and remembers what it offered.

use std::convert::Infallible;
use std::future::{Pending, pending};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_token::{
    ErrorKind, GrantKey, NoReplay, Provider, SealedStore, TokenLayer, TokenManager,
    TokenServiceError,
};

use crate::support::{API, Api, Rig};

fn plain() -> Request<Full<Bytes>> {
    Request::get(API).body(Full::default()).unwrap()
}

#[tokio::test]
async fn it_serves_what_is_newest_and_nothing_after_a_disconnect() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let layer = TokenLayer::new(&rig.manager).for_key(rig.key.clone());
    let mut client = layer.layer(api.service::<Full<Bytes>>());
    client.ready().await.unwrap().call(plain()).await.unwrap();
    // A clone keeps what it knew.
    let mut clone = client.clone();
    rig.until_expired();
    for client in [&mut client, &mut clone] {
        client.ready().await.unwrap().call(plain()).await.unwrap();
    }
    assert_eq!(api.tokens(), ["a0", "a1", "a1"]);

    rig.manager.disconnect(&rig.key).await.unwrap();
    for client in [&mut client, &mut clone] {
        let error = client.ready().await.unwrap().call(plain()).await;
        match error.unwrap_err() {
            TokenServiceError::Token(error) => assert_eq!(error.kind(), ErrorKind::NotConnected),
            TokenServiceError::Inner(never) => match never {},
        }
    }
    let again = rig.fake.consent();
    rig.manager.connect(&rig.key, again).await.unwrap();
    for client in [&mut client, &mut clone] {
        client.ready().await.unwrap().call(plain()).await.unwrap();
    }
    let tokens = api.tokens();
    assert!(tokens.len() == 5 && tokens[3] == tokens[4] && tokens[3] != "a1");
}

/// A client whose answers never come.
#[derive(Clone)]
struct Deaf;

impl Service<Request<Full<Bytes>>> for Deaf {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        pending()
    }
}

/// A request under way still has the offer that its token was of: what was withdrawn must not be
/// taken again because it is still there.
#[tokio::test]
async fn a_request_under_way_keeps_no_token_in_service() {
    let rig = Rig::connected().await;
    let layer = TokenLayer::new(&rig.manager)
        .replay(NoReplay)
        .for_key(rig.key.clone());
    let mut deaf = layer.clone().layer(Deaf);
    let under_way = deaf.call(plain());

    let api = Api::default();
    let mut client = layer.layer(api.service::<Full<Bytes>>());
    client.ready().await.unwrap().call(plain()).await.unwrap();
    rig.manager.disconnect(&rig.key).await.unwrap();
    let refused = client.ready().await.unwrap().call(plain()).await;
    assert!(matches!(refused, Err(TokenServiceError::Token(_))));
    assert_eq!(api.tokens(), ["a0"]);
    drop(under_way);
}

#[tokio::test]
async fn one_that_was_evicted_is_loaded_again() {
    let rig = Rig::connected().await;
    let sealed = SealedStore::open(rig.store.clone(), rig.ring.clone());
    let manager = TokenManager::builder()
        .store(sealed.await.unwrap())
        .provider(Provider::new("fake", rig.fake.clone()).allow_origin(API))
        .clock(rig.clock.clone())
        .cache_capacity(1)
        .build()
        .await
        .unwrap();
    let api = Api::default();
    let layer = TokenLayer::new(&manager).for_key(rig.key.clone());
    let mut client = layer.layer(api.service::<Full<Bytes>>());
    for n in 0..3 {
        client.ready().await.unwrap().call(plain()).await.unwrap();
        for other in 0..4 {
            let other = GrantKey::new("fake", format!("user-{n}-{other}"));
            manager.connect(&other, rig.fake.consent()).await.unwrap();
        }
    }
    assert_eq!(api.tokens(), ["a0"; 3]);
    assert_eq!(rig.fake.exchanges(), 0);
    // Another instance disconnects: whoever was evicted has to look.
    rig.sibling().await.disconnect(&rig.key).await.unwrap();
    let refused = client.ready().await.unwrap().call(plain()).await;
    assert!(matches!(refused, Err(TokenServiceError::Token(_))));
}
