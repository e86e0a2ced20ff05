//! No token, no user and no body in what any type prints.

use http::Request;
use hyper_client_token::{Body, TokenClient};

use crate::support::{Api, Rig};

#[tokio::test]
async fn nothing_prints_one() {
    let api = Api::start().await;
    let rig = Rig::of(&api).await;
    let key = rig.connect("a-user").await;
    let builder = TokenClient::builder(&rig.manager);
    let ada = builder.clone().build().for_key(key);
    let body = Body::from("a-secret-body");
    let mut shown = format!("{builder:?} {ada:?} {body:?}");
    let call = ada.request(Request::post(api.uri("/x")).body(body).unwrap());
    shown += &format!("{call:?}");
    shown += &format!("{:?}", call.await.unwrap());
    api.hang_up();
    let error = ada.get(api.uri("/x")).await.unwrap_err();
    shown += &format!("{error:?} {error}");
    assert_eq!(api.tokens(), ["a-user-0", "a-user-0"]);
    assert!(
        !shown.contains("a-user") && !shown.contains("a-secret"),
        "{shown}"
    );
}
