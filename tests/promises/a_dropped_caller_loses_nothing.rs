//! Invariant 8: a refresh belongs to nobody who could drop it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower::{Layer as _, ServiceExt as _};
use tower_token::{TokenLayer, TokenRequest};

use crate::support::{API, Api, Rig};

#[tokio::test]
async fn a_caller_dropped_in_the_middle_of_a_refresh_loses_nothing() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = TokenLayer::new(&rig.manager).layer(api.service::<Full<Bytes>>());
    rig.until_expired();
    rig.fake.hold();
    let request = || {
        let wanted = TokenRequest::new(rig.key.clone());
        Request::get(API)
            .extension(wanted)
            .body(Full::default())
            .unwrap()
    };
    let caller = tokio::spawn(client.clone().oneshot(request()));
    rig.fake.begun(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    rig.fake.release(1);

    // The rotated token is stored, and serves the next call, here and after a restart.
    client.oneshot(request()).await.unwrap();
    assert_eq!(api.tokens(), ["a1"]);
    rig.manager.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(
        rig.sibling().await.token(&rig.key).await.unwrap().expose(),
        "a1"
    );
    assert_eq!((rig.fake.exchanges(), rig.fake.reused()), (1, 0));
}

#[tokio::test]
async fn a_connect_whose_caller_is_dropped_is_finished() {
    let rig = Rig::connected().await;
    rig.manager.disconnect(&rig.key).await.unwrap();
    {
        let connect = rig.manager.connect(&rig.key, rig.fake.consent());
        tokio::pin!(connect);
        assert!(futures_util::poll!(&mut connect).is_pending());
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.token().await, "a0");
}
