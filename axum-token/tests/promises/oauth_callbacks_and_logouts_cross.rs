//! Somebody leaves while they come, or hangs up while they leave: it ends as if one had been
//! after the other.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum_extra::extract::cookie::Key;
use axum_token::{OAuthRoutes, PrivateCookies, PublicOrigin, SessionTokenLayer};
use http::{Method, Request, StatusCode};
use serde_json::json;
use tower::ServiceExt as _;
use tower_token::{GrantKey, KeyRing};

use crate::oauth_rig::{Asked, Op, Service};
use crate::stamps_rig::Loads;
use crate::support::{Answer, Browser, ORIGIN};

async fn is_signed_in(browser: &mut Browser) -> bool {
    browser.get("/me").await.status == StatusCode::OK
}

async fn is_connected(service: &Service) -> bool {
    let grants = service.rig.manager.grants("ada").await.unwrap();
    grants.iter().any(|grant| grant.key().provider() == "demo")
}

/// What the provider posts when Ada has left there.
fn logout_token(op: &Op, provider: &str, jti: &str) -> Request<Body> {
    let token = op.logout_token(&json!({ "jti": jti }));
    Request::post(format!("/auth/{provider}/backchannel-logout"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("logout_token={token}")))
        .unwrap()
}

async fn told(router: &Router, token: Request<Body>) -> StatusCode {
    router.clone().oneshot(token).await.unwrap().status()
}

async fn comes_true<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let came = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, came).await.unwrap();
}

#[tokio::test]
async fn who_leaves_everywhere_while_they_connect_has_connected_nothing() {
    let service = Service::new().await;
    let router = service.router().await;
    let mut ada = Browser::new(router.clone());
    service.sign_in(&mut ada, "ada").await;
    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let code = service.code(asked.consent("ada"));
    let (begins, go) = service.op.pause();
    let logout = async {
        begins.await.unwrap();
        let token = logout_token(&service.op, "demo", "jti-1");
        assert_eq!(told(&router, token).await, StatusCode::OK);
        go.send(()).unwrap();
    };
    let callback = asked.callback(&code);
    let (back, ()) = tokio::join!(ada.get(&callback), logout);
    assert_eq!(back.json()["code"], "login_required", "{}", back.body);
    assert!(!is_connected(&service).await && !is_signed_in(&mut ada).await);
}

/// As who has a copy of a session would do, so that what they connect outlives it.
#[tokio::test]
async fn hanging_up_is_no_way_to_stay_connected() {
    let service = Service::new().await;
    let router = service.router().await;
    let mut ada = Browser::new(router.clone());
    service.sign_in(&mut ada, "ada").await;
    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let code = service.code(asked.consent("ada"));
    let (begins, go) = service.op.pause();
    let callback = asked.callback(&code);
    tokio::select! {
        _ = ada.get(&callback) => panic!("it was not paused"),
        begun = begins => begun.unwrap(),
    }
    let token = logout_token(&service.op, "demo", "jti-1");
    assert_eq!(told(&router, token).await, StatusCode::OK);
    assert!(!is_connected(&service).await);
    let before = service.rig.stored().await.0;
    go.send(()).unwrap();
    comes_true(async || service.rig.stored().await.0 != before && !is_connected(&service).await)
        .await;
}

#[tokio::test]
async fn who_leaves_everywhere_while_they_sign_in_has_connected_nothing() {
    let (store, ring) = (Loads::default(), KeyRing::generate().unwrap());
    let service = Service::on(&store, &ring).await;
    service.rig.sign_ins.admit("ada").await.unwrap();
    let router = service.router().await;
    let mut ada = Browser::new(router.clone());
    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let code = service.code(asked.consent("ada"));
    // Her first grant: a logout finds nothing to disconnect yet.
    let (begins, go) = store.pause();
    let logout = async {
        begins.await.unwrap();
        let token = logout_token(&service.op, "demo", "jti-1");
        assert_eq!(told(&router, token).await, StatusCode::OK);
        go.send(()).unwrap();
    };
    let callback = asked.callback(&code);
    let (back, ()) = tokio::join!(ada.get(&callback), logout);
    assert_eq!(back.json()["code"], "login_required", "{}", back.body);
    assert!(!is_signed_in(&mut ada).await && !is_connected(&service).await);
}

/// A provider that does not wait for the answer sends no other token, and this one is used up.
#[tokio::test]
async fn a_logout_token_ends_everything_also_if_the_provider_hangs_up() {
    let (store, ring) = (Loads::default(), KeyRing::generate().unwrap());
    let service = Service::on(&store, &ring).await;
    let router = service.router().await;
    let mut ada = Browser::new(router.clone());
    service.sign_in(&mut ada, "ada").await;
    assert!(is_signed_in(&mut ada).await);
    let (begins, go) = store.pause();
    tokio::select! {
        _ = told(&router, logout_token(&service.op, "demo", "jti-1")) => panic!("it was not paused"),
        begun = begins => begun.unwrap(),
    }
    go.send(()).unwrap();
    comes_true(async || !is_signed_in(&mut ada.clone()).await && !is_connected(&service).await)
        .await;
    let again = logout_token(&service.op, "demo", "jti-1");
    assert_eq!(told(&router, again).await, StatusCode::BAD_REQUEST);
}

/// What failed is tried again by the provider, with the same token.
#[tokio::test]
async fn a_logout_token_that_could_not_be_acted_on_is_good_still() {
    let (store, ring) = (Loads::default(), KeyRing::generate().unwrap());
    let service = Service::on(&store, &ring).await;
    let router = service.router().await;
    let mut ada = Browser::new(router.clone());
    service.sign_in(&mut ada, "ada").await;
    store.set_broken(true);
    let token = || logout_token(&service.op, "demo", "jti-1");
    assert_eq!(
        told(&router, token()).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    store.set_broken(false);
    assert!(is_signed_in(&mut ada).await);
    assert_eq!(told(&router, token()).await, StatusCode::OK);
    assert!(!is_signed_in(&mut ada).await && !is_connected(&service).await);
}

/// A `jti` is an id among those of one provider.
#[tokio::test]
async fn a_providers_logout_token_uses_up_no_other_providers() {
    let service = Service::new().await;
    let other = Op::of("https://other.example");
    let routes = service
        .routes()
        .provider(service.op.provider("demo").await.signs_in())
        .provider(other.provider("notes").await.signs_in());
    let router = service.router_with(routes);
    let mut ada = Browser::new(router.clone());
    service.sign_in(&mut ada, "ada").await;
    let of_other = other.logout_token(&json!({ "jti": "1", "sub": "eve" }));
    let of_other = Request::post("/auth/notes/backchannel-logout")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(format!("logout_token={of_other}")));
    assert_eq!(told(&router, of_other.unwrap()).await, StatusCode::OK);
    assert!(is_signed_in(&mut ada).await);
    let ours = logout_token(&service.op, "demo", "1");
    assert_eq!(told(&router, ours).await, StatusCode::OK);
    assert!(!is_signed_in(&mut ada).await);
}

/// The session ends in the answer, whatever else it says.
#[tokio::test]
async fn who_is_told_that_something_is_left_behind_is_signed_out() {
    let (store, ring) = (Loads::default(), KeyRing::generate().unwrap());
    let service = Service::on(&store, &ring).await;
    let mut ada = Browser::new(in_private_cookies(&service).await);
    service.sign_in(&mut ada, "ada").await;
    let before = store.rows().await;
    let work = GrantKey::new("demo", "demo|ada").with_connection("work");
    let tokens = service.rig.server.connect("ada").into();
    service.rig.manager.connect(&work, tokens).await.unwrap();
    store.damage_new(&before).await;

    let service = Service::on(&store, &ring).await;
    ada.router = in_private_cookies(&service).await;
    assert_eq!(ada.get("/me").await.body, "demo|ada");
    let out: Answer = ada.post("/auth/demo/logout").await;
    assert_eq!(out.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!is_signed_in(&mut ada).await);
}

async fn in_private_cookies(service: &Service) -> Router {
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let users = PrivateCookies::new(Key::from(&[9; 64]), &origin);
    let provider = service.op.provider("demo").await.signs_in();
    let routes = OAuthRoutes::new(&origin, "/auth", Key::from(&[9; 64]), users.clone())
        .sign_ins(&service.rig.sign_ins)
        .provider(provider.disconnects_at_logout());
    let mut app = service.rig.app.clone();
    app.stamped = true;
    crate::support::routes(app.clone())
        .merge(routes.router().unwrap().with_state(app))
        .layer(SessionTokenLayer::new(users).sign_ins(&service.rig.sign_ins))
        .layer(axum_token::sessions::layer(
            &origin,
            service.rig.sessions.clone(),
        ))
}

/// An id token is for the provider that it is of.
#[tokio::test]
async fn no_other_provider_is_told_who_has_left() {
    let service = Service::new().await;
    let other = Op::of("https://other.example");
    let routes = service
        .routes()
        .provider(service.op.provider("demo").await.signs_in())
        .provider(other.provider("notes").await.signs_in());
    let mut ada = Browser::new(service.router_with(routes));
    service.sign_in(&mut ada, "ada").await;
    ada.post("/auth/demo/logout").await;
    let elsewhere = ada.send(Method::GET, "/auth/notes/end-session", &[]).await;
    assert_eq!(elsewhere.header("location"), format!("{ORIGIN}/"));
    let on = ada.get("/auth/demo/end-session").await;
    assert!(on.header("location").contains("id_token_hint"));
}
