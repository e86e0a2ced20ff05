//! A redirect is followed outside of the layer: every hop has its own token and its own check, and
//! what belongs to one origin is not seen at another.

use std::time::Duration;

use http::{HeaderName, Request, StatusCode};
use http_body_util::Full;
use reqwest::redirect::Policy;
use reqwest::{Body, Response};
use serde_json::json;
use tokio::time::timeout;
use tower::ServiceExt as _;
use tower_token::reqwest::{SendWith as _, TokenClient, TokenClientBuilder};
use tower_token::{
    Authorization, ErrorKind, JsonBody, Placement, TokenHeader, TokenRequest, TokenServiceError,
};

use crate::reqwest_rig::{ADAS, Api, Rig, builder};
use crate::support::HOUR;

type Answer = Result<Response, TokenServiceError<reqwest::Error>>;

fn kind(answer: Answer) -> ErrorKind {
    match answer {
        Err(TokenServiceError::Token(error)) => error.kind(),
        other => panic!("{other:?}"),
    }
}

/// `/away` leads to another origin, and there from one page to the next.
async fn leading_away() -> (Rig, Api) {
    let (rig, foreign) = (Rig::start().await, Api::start().await);
    rig.api.redirect("/away", 307, foreign.url("/1"));
    foreign.redirect("/1", 307, "/2");
    (rig, foreign)
}

/// Nothing of the token, wherever it would stand.
fn saw_no_token(foreign: &Api) -> bool {
    let seen = format!("{:?}", foreign.seen());
    !seen.contains(ADAS) && !seen.contains("a1")
}

fn api_key() -> TokenHeader {
    TokenHeader::new(HeaderName::from_static("x-api-key"))
}

/// A redirect to another origin, with the token placed like this.
async fn away<P: Placement<Body> + Clone>(
    place: impl Fn(TokenClientBuilder) -> TokenClientBuilder<P>,
) {
    let (rig, foreign) = leading_away().await;
    let tokens = place(TokenClient::builder(&rig.manager));
    let ada = tokens.clone().build(builder()).unwrap();
    let ada = ada.for_key(rig.ada.clone());
    let post = || ada.client().post(rig.api.url("/away")).json(&json!({}));
    let error = kind(post().send_with(&ada).await);
    assert_eq!(error, ErrorKind::ForeignOrigin);
    assert!(foreign.seen().is_empty());

    let ada = tokens.foreign_origin_without_token();
    let ada = ada.build(builder()).unwrap().for_key(rig.ada.clone());
    let response = post().send_with(&ada).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.url().as_str(), foreign.url("/2"));
    let seen = foreign.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.body == "{}"));
    assert!(saw_no_token(&foreign));
    // The API itself had it, both times.
    let seen = rig.api.seen();
    assert!(seen.iter().all(|seen| format!("{seen:?}").contains(ADAS)));
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_token_in_authorization_is_never_seen_at_another_origin() {
    away(|tokens| tokens.place(Authorization)).await;
}

#[tokio::test]
async fn a_token_in_a_header_is_never_seen_at_another_origin() {
    away(|tokens| tokens.place(api_key())).await;
}

#[tokio::test]
async fn a_token_in_a_body_is_never_seen_at_another_origin() {
    away(|tokens| tokens.place(JsonBody::field("authToken"))).await;
}

/// Also where reqwest was told to follow by itself.
#[tokio::test]
async fn the_policy_of_a_builder_does_not_count() {
    let (rig, foreign) = leading_away().await;
    let client = builder().redirect(Policy::limited(5));
    let ada = TokenClient::new(&rig.manager, client).unwrap();
    let ada = ada.for_key(rig.ada.clone());
    let get = ada.client().get(rig.api.url("/away"));
    assert_eq!(kind(get.send_with(&ada).await), ErrorKind::ForeignOrigin);
    assert!(foreign.seen().is_empty());
}

#[tokio::test]
async fn credentials_of_the_request_stay_at_their_origin() {
    let (rig, foreign) = leading_away().await;
    let ada = TokenClient::builder(&rig.manager)
        .place(api_key())
        .foreign_origin_without_token();
    let ada = ada.build(builder()).unwrap().for_key(rig.ada.clone());
    let request = ada.client().get(rig.api.url("/away"));
    let request = request
        .bearer_auth("its-own")
        .header("cookie", "session=its-own")
        .header("x-api-key", "its-own")
        .header("x-id", "7");
    request.send_with(&ada).await.unwrap();
    assert_eq!(rig.api.headers("authorization"), ["Bearer its-own"]);
    assert_eq!(rig.api.headers("x-api-key"), ["its-own"]);
    let seen = foreign.seen();
    // Not on the first hop, nor on the one after.
    assert_eq!(seen.len(), 2);
    assert!(!format!("{seen:?}").contains("its-own"));
    assert_eq!(foreign.headers("x-id"), ["7", "7"]);
}

/// It is none of ours, wherever it is redirected to: not even to where its user's token may go.
#[tokio::test]
async fn a_request_with_a_token_of_its_own_gets_no_other_on_its_way() {
    let (rig, partner) = leading_away().await;
    let ada = rig.client().for_key(rig.ada.clone());
    let post = |url: String| {
        let post = ada.client().post(url).bearer_auth("its-own");
        post.body("hello").send_with(&ada)
    };
    post(rig.api.url("/away")).await.unwrap();
    assert_eq!(partner.headers("authorization"), ["-", "-"]);
    // The partner chooses what is asked of the API, and has nobody's token for it.
    partner.redirect("/orders", 307, rig.api.url("/transfer"));
    post(partner.url("/orders")).await.unwrap();
    assert_eq!(rig.api.headers("authorization"), ["Bearer its-own", "-"]);
    assert_eq!(partner.headers("authorization")[2], "Bearer its-own");
    assert_eq!(rig.fake.exchanges(), 0);
}

/// A redirect that was elsewhere and comes back, with the token placed like this.
async fn back<P: Placement<Body> + Clone>(
    place: impl Fn(TokenClientBuilder) -> TokenClientBuilder<P>,
) {
    let (rig, foreign) = leading_away().await;
    foreign.redirect("/2", 307, rig.api.url("/transfer"));
    rig.api.redirect("/transfer", 307, "/end");
    let tokens = place(TokenClient::builder(&rig.manager)).foreign_origin_without_token();
    let ada = tokens.build(builder()).unwrap().for_key(rig.ada.clone());
    let post = || ada.client().post(rig.api.url("/away")).json(&json!({}));
    for _ in 0..2 {
        let response = post().send_with(&ada).await.unwrap();
        assert_eq!(response.url().path(), "/end");
    }
    for seen in rig.api.seen() {
        let has_token = format!("{seen:?}").contains(ADAS);
        assert_eq!(has_token, seen.path == "/away", "{seen:?}");
    }
    assert_eq!(rig.api.seen().len(), 6);
    assert!(saw_no_token(&foreign));
}

#[tokio::test]
async fn a_redirect_that_was_elsewhere_has_no_token_when_it_comes_back() {
    back(|tokens| tokens.place(Authorization)).await;
    back(|tokens| tokens.place(JsonBody::field("authToken"))).await;
}

#[tokio::test]
async fn a_hop_within_the_origin_keeps_everything() {
    let rig = Rig::start().await;
    rig.api.redirect("/1", 302, "/2");
    rig.api.redirect("/2", 307, rig.api.url("/me?x=y"));
    // Not by a handle: the key is in the request's extensions.
    let tokens = rig.client();
    let request = Request::get(rig.api.url("/1"))
        .header("x-id", "7")
        .extension(TokenRequest::new(rig.ada.clone()))
        .body(Body::default())
        .unwrap();
    let response = Response::from(tokens.clone().oneshot(request).await.unwrap());
    assert_eq!(response.url().as_str(), rig.api.url("/me?x=y"));
    assert_eq!(response.text().await.unwrap(), format!("Bearer {ADAS}"));
    let token = format!("Bearer {ADAS}");
    assert_eq!(rig.api.headers("authorization"), vec![token; 3]);
    assert_eq!(rig.api.headers("x-id"), ["7", "7", "7"]);
    // A token of its own, too.
    let ada = tokens.for_key(rig.ada.clone());
    let request = ada.client().get(rig.api.url("/1")).bearer_auth("its-own");
    let response = request.send_with(&ada).await.unwrap();
    assert_eq!(response.text().await.unwrap(), "Bearer its-own");
}

#[tokio::test]
async fn a_hop_keeps_the_time_out_of_the_request() {
    let rig = Rig::start().await;
    rig.api.redirect("/slow", 302, "/never");
    let ada = rig.client().for_key(rig.ada.clone());
    let request = ada.client().get(rig.api.url("/slow"));
    let sent = request.timeout(Duration::from_secs(30)).send_with(&ada);
    let error = match timeout(HOUR, sent).await.expect("no time-out") {
        Err(TokenServiceError::Inner(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(error.is_timeout(), "{error:?}");
    assert_eq!(rig.api.seen().last().unwrap().path, "/never");
}

/// A refusal anywhere on the way is healed there.
#[tokio::test]
async fn each_hop_is_healed_by_itself() {
    let rig = Rig::start().await;
    rig.api.redirect("/1", 307, "/2");
    rig.api.refuse(ADAS);
    let ada = TokenClient::builder(&rig.manager).place(JsonBody::field("authToken"));
    let ada = ada.build(builder()).unwrap().for_key(rig.ada.clone());
    let request = ada.client().post(rig.api.url("/1"));
    let request = request.json(&json!({ "type": "x" }));
    let response = request.send_with(&ada).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let seen = rig.api.seen();
    let sent: Vec<_> = seen.iter().map(|seen| (&*seen.path, &*seen.body)).collect();
    let with = |token: &str| format!(r#"{{"type":"x","authToken":"{token}"}}"#);
    assert_eq!(
        sent,
        [
            ("/1", &*with(ADAS)),
            ("/1", &*with("a1")),
            ("/2", &*with("a1"))
        ]
    );
}

#[tokio::test]
async fn a_stream_does_not_follow_where_it_would_be_sent_again() {
    let rig = Rig::start().await;
    rig.api.redirect("/307", 307, "/me");
    rig.api.redirect("/303", 303, "/me");
    let ada = rig.client().for_key(rig.ada.clone());
    let post = |path: &str| {
        let body = Body::wrap(Full::<bytes::Bytes>::from("hello"));
        ada.client().post(rig.api.url(path)).body(body)
    };
    let response = post("/307").send_with(&ada).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(response.headers()["location"], "/me");
    let response = post("/303").send_with(&ada).await.unwrap();
    assert_eq!(response.text().await.unwrap(), format!("Bearer {ADAS}"));
    assert_eq!(rig.api.seen().last().unwrap().method, "GET");
}

#[tokio::test]
async fn redirects_without_an_end_have_one() {
    let rig = Rig::start().await;
    rig.api.redirect("/round", 302, "/round");
    let ada = rig.client().for_key(rig.ada.clone());
    let get = || ada.client().get(rig.api.url("/round"));
    let response = timeout(Duration::from_secs(60), get().send_with(&ada)).await;
    let response = response.expect("no end").unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(rig.api.seen().len(), 11);
    // As many as were asked for.
    let none = TokenClient::builder(&rig.manager).redirects(0);
    let none = none.build(builder()).unwrap().for_key(rig.ada.clone());
    let response = get().send_with(&none).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    assert_eq!(rig.api.seen().len(), 12);
}

#[tokio::test]
async fn another_scheme_is_no_way_out() {
    let rig = Rig::start().await;
    for location in ["ftp://127.0.0.1/x", "file:///etc/passwd", "http:///"] {
        rig.api.redirect("/odd", 302, location);
        let ada = rig.client().for_key(rig.ada.clone());
        let get = ada.client().get(rig.api.url("/odd"));
        match get.send_with(&ada).await {
            Ok(response) => assert_eq!(response.status(), StatusCode::FOUND, "{location}"),
            error => assert_eq!(kind(error), ErrorKind::ForeignOrigin, "{location}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_follows_nothing_is_as_good_as_ours() {
    let (rig, foreign) = leading_away().await;
    rig.api.redirect("/1", 302, "/me");
    let client = builder().redirect(Policy::none()).build().unwrap();
    let ada = TokenClient::from_client_without_redirects(&rig.manager, client);
    let ada = ada.for_key(rig.ada.clone());
    let get = |path: &str| ada.client().get(rig.api.url(path)).send_with(&ada);
    let response = get("/1").await.unwrap();
    assert_eq!(response.text().await.unwrap(), format!("Bearer {ADAS}"));
    assert_eq!(kind(get("/away").await), ErrorKind::ForeignOrigin);
    assert!(foreign.seen().is_empty());
}

/// It should not have been given to us: at its first redirect we say so, wherever that leads.
#[tokio::test]
async fn a_client_that_follows_by_itself_is_found_out() {
    let (rig, foreign) = (Rig::start().await, Api::start().await);
    rig.api.redirect("/1", 302, "/me");
    rig.api.redirect("/away", 302, foreign.url("/end"));
    // What comes back has been elsewhere, too.
    rig.api.redirect("/round", 302, foreign.url("/back"));
    foreign.redirect("/back", 302, rig.api.url("/me"));
    let client = builder().build().unwrap();
    let ada = TokenClient::from_client_without_redirects(&rig.manager, client);
    let ada = ada.for_key(rig.ada.clone());
    let get = |path: &str| ada.client().get(rig.api.url(path)).send_with(&ada);
    assert_eq!(get("/me").await.unwrap().status(), StatusCode::OK);
    for path in ["/1", "/away", "/round"] {
        assert_eq!(kind(get(path).await), ErrorKind::Config, "{path}");
    }
    // At the first hop reqwest takes it out.
    assert_eq!(foreign.seen().len(), 2);
    assert!(saw_no_token(&foreign));
}

/// The second hop elsewhere has the token again. Refused there, it is not followed by a newer one.
#[tokio::test]
async fn where_a_client_went_by_itself_nothing_is_healed() {
    let (rig, foreign) = leading_away().await;
    foreign.refuse(ADAS);
    let client = builder().build().unwrap();
    let ada = TokenClient::from_client_without_redirects(&rig.manager, client);
    let ada = ada.for_key(rig.ada.clone());
    let get = ada.client().get(rig.api.url("/away")).send_with(&ada);
    assert_eq!(kind(get.await), ErrorKind::Config);
    assert_eq!(rig.fake.exchanges(), 0);
    assert!(!format!("{:?}", foreign.seen()).contains("a1"));
}

/// Why such a client must not be given to us. Once this fails, reqwest has learnt it.
#[tokio::test]
async fn reqwest_brings_credentials_back_on_the_second_hop_elsewhere() {
    let (rig, foreign) = leading_away().await;
    let client = builder().build().unwrap();
    let request = client.get(rig.api.url("/away")).bearer_auth("its-own");
    request.send().await.unwrap();
    assert_eq!(foreign.headers("authorization"), ["-", "Bearer its-own"]);
}
