//! A refresh belongs to nobody who could drop it.

use futures_util::FutureExt as _;
use hyper_client_token::TokenClient;

use crate::support::{Api, HOUR, Rig, VERSIONS, text};

#[tokio::test]
async fn not_before_its_request_was_sent() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let client = TokenClient::new(&rig.manager);
    let ada = client.for_key(rig.connect("ada").await);
    rig.clock.advance(HOUR);
    rig.tokens.hold();
    let mut call = Box::pin(ada.get(api.uri("/x")));
    assert!((&mut call).now_or_never().is_none());
    rig.tokens.begun(1).await;
    drop(call);
    rig.tokens.release();
    assert_eq!(text(ada.get(api.uri("/x")).await).await, "ada-1");
    assert_eq!(
        (api.tokens(), rig.tokens.exchanges()),
        (vec!["ada-1".into()], 1)
    );
}

#[tokio::test]
async fn nor_after_a_401() {
    for (_, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let client = change(TokenClient::builder(&rig.manager)).build();
        let ada = client.for_key(rig.connect("ada").await);
        api.refuse("ada-0");
        rig.tokens.hold();
        let call = tokio::spawn(ada.get(api.uri("/x")));
        rig.tokens.begun(1).await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        rig.tokens.release();
        assert_eq!(text(ada.get(api.uri("/x")).await).await, "ada-1");
        assert_eq!(api.tokens(), ["ada-0", "ada-1"]);
        assert_eq!(rig.tokens.exchanges(), 1);
    }
}
