//! Other places for a token than `Authorization`.

use http::{HeaderName, Request};
use hyper_client_token::TokenClient;
use tower_token::TokenHeader;

use crate::support::{Api, Rig, VERSIONS, text};

#[tokio::test]
async fn a_header_of_its_own() {
    for (_, change) in VERSIONS {
        let api = Api::start().await;
        let rig = Rig::of(&api).await;
        let header = TokenHeader::new(HeaderName::from_static("x-api-key"));
        let client = change(TokenClient::builder(&rig.manager))
            .place(header)
            .build();
        let ada = client.for_key(rig.connect("ada").await);
        api.refuse("ada-0");
        let request = Request::post(api.uri("/x")).body("a text").unwrap();
        assert_eq!(text(ada.request(request).await).await, "ada-1");
        for seen in api.seen() {
            assert_eq!(seen.head.headers["x-api-key"], seen.token());
            assert!(!seen.head.headers.contains_key("authorization"));
            assert_eq!(seen.body, "a text");
        }
        assert_eq!(api.tokens(), ["ada-0", "ada-1"]);
    }
}
