//! A page's request goes on with its user's token, and the answer comes back without it.

use std::sync::Arc;

use axum::body::Body;
use axum_token::{ProxyRoutes, PublicOrigin, Upstream};
use http::Method;
use tokio::task::JoinSet;
use tower_token::testkit::Fault;

use crate::proxy_rig::{HttpClient, PAGE, ProxyRig, call};
use crate::support::{Browser, ORIGIN};

#[tokio::test]
async fn every_method_goes_on_and_the_answer_comes_back() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        let method: Method = method.parse().unwrap();
        let answer = call(&mut ada, method.clone(), "/api/calendar/users/me?x=y").await;
        assert_eq!(answer.status, 200);
        let body = if method == Method::HEAD {
            ""
        } else {
            "of the API"
        };
        assert_eq!(answer.body, body);
        assert_eq!(answer.header("content-length"), "10");
        let seen = rig.api.only();
        assert_eq!((seen.method, &*seen.target), (method, "/v3/users/me?x=y"));
        assert!(!seen.headers.contains_key("transfer-encoding"));
    }
    // The base itself, as far as its slash.
    assert_eq!(
        call(&mut ada, Method::GET, "/api/calendar/").await.status,
        200
    );
    assert_eq!(rig.api.only().target, "/v3/");
    let headers = PAGE;
    let body = Body::from("x".repeat(10_000));
    let answer = ada
        .send_body(Method::POST, "/api/calendar/upload", &headers, body)
        .await;
    assert_eq!(answer.body, "10000 bytes");
}

#[tokio::test]
async fn no_answer_has_a_token_in_it() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    let token = rig.bearer("ada").await.replace("Bearer ", "");
    for path in [
        "/user",
        "/api/calendar/x",
        "/api/calendar/status/401",
        "/api/foreign/x",
        "/api/dead/x",
        "/api/calendar/../x",
        "/api/calendar/status/302",
    ] {
        let answer = call(&mut ada, Method::GET, path).await;
        let all = format!("{} {:?}", answer.body, answer.headers);
        assert!(!all.contains(&token), "{path}");
    }
}

#[tokio::test]
async fn one_users_request_never_carries_anothers_token() {
    let rig = Arc::new(ProxyRig::new().await);
    let mut calls = JoinSet::new();
    for n in 0..24 {
        let rig = Arc::clone(&rig);
        calls.spawn(async move {
            let user = format!("user-{n}");
            let mut browser = rig.user(&user).await;
            let own = rig.bearer(&user).await;
            for _ in 0..8 {
                let answer = call(&mut browser, Method::GET, "/api/calendar/whose").await;
                assert_eq!(answer.body, own);
            }
        });
    }
    calls.join_all().await;
}

#[tokio::test]
async fn a_401_is_healed_once() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    let old = rig.bearer("ada").await;
    rig.api.refuse(old.clone());
    let body = Body::from_stream(futures_util::stream::iter(
        ["a", "bc", "def"].map(Ok::<_, std::io::Error>),
    ));
    let answer = ada
        .send_body(Method::POST, "/api/calendar/upload", &PAGE, body)
        .await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, "6 bytes"));
    let seen = rig.api.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].headers["authorization"], old.as_str());
    assert_eq!(
        seen[1].headers["authorization"],
        rig.bearer("ada").await.as_str()
    );
    assert_eq!(rig.server.counts().token_requests, 1);

    // What refuses the new one, too, is told as that: this one was made just now.
    let answer = call(&mut ada, Method::GET, "/api/calendar/status/401").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (502, &"upstream_refused".into())
    );
    assert_eq!(rig.api.seen().len(), 3);
    assert_eq!(rig.server.counts().token_requests, 1);
}

#[tokio::test]
async fn what_was_too_much_to_keep_is_for_the_page_to_send_again() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    rig.api.refuse(rig.bearer("ada").await);
    let sent = async |ada: &mut Browser| {
        let pieces = futures_util::stream::iter((0..10).map(|_| "x".repeat(16 << 10)));
        let body = Body::from_stream(futures_util::StreamExt::map(
            pieces,
            Ok::<_, std::io::Error>,
        ));
        ada.send_body(Method::POST, "/api/calendar/refused-late", &PAGE, body)
            .await
    };
    let answer = sent(&mut ada).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (502, &"upstream_refused".into())
    );
    assert_eq!(rig.api.seen().len(), 1);
    assert_eq!(sent(&mut ada).await.status, 200);
    assert_eq!(rig.api.seen().len(), 2);
    assert_eq!(rig.server.counts().token_requests, 1);
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_without_details() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    let answer = call(&mut ada, Method::GET, "/api/dead/x").await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["code"], "upstream_unreachable");
    assert!(!answer.body.contains("127.0.0.1"));

    rig.server.set_fault(Fault::status(503));
    rig.server.expire_access_tokens();
    rig.api.refuse(rig.bearer("ada").await);
    rig.clock.advance(std::time::Duration::from_secs(100_000));
    let before = rig.api.seen().len();
    let answer = call(&mut ada, Method::GET, "/api/calendar/x").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_ne!(answer.header("retry-after"), "");
    assert_eq!(rig.api.seen().len(), before);
}

#[tokio::test]
async fn a_body_may_have_a_limit() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    let pieces = |n| {
        let pieces =
            futures_util::stream::iter((0..n).map(|_| Ok::<_, std::io::Error>([b'x'; 100])));
        Body::from_stream(futures_util::StreamExt::map(pieces, |it| it.map(Vec::from)))
    };
    for (body, status) in [
        (Body::from("x".repeat(1_000)), 200),
        (Body::from("x".repeat(1_001)), 413),
        (pieces(10), 200),
        (pieces(11), 413),
    ] {
        let answer = ada
            .send_body(Method::POST, "/api/small/upload", &PAGE, body)
            .await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_pages_to_send_again() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    let broken = || Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
    let pieces = futures_util::stream::iter([Ok("half"), broken()]);
    let answer = ada
        .send_body(
            Method::POST,
            "/api/calendar/upload",
            &PAGE,
            Body::from_stream(pieces),
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (400, &"not_received".into())
    );
}

#[tokio::test]
async fn what_is_set_up_wrongly_does_not_start() {
    let rig = ProxyRig::new().await;
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let refused = |upstreams: [Upstream; 2]| {
        let client: HttpClient =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build_http();
        let routes = ProxyRoutes::new(&rig.manager, client);
        let routes = upstreams.into_iter().fold(routes, ProxyRoutes::upstream);
        routes
            .router::<axum_token::TokenState>(&origin)
            .err()
            .map(|it| it.to_string())
    };
    let good = || rig.upstream("a");
    assert_eq!(refused([good(), rig.upstream("b")]), None);
    for (upstream, about) in [
        (rig.upstream("a"), "another one"),
        (
            Upstream::new("b", "unknown", "https://api.example.com"),
            "no such provider",
        ),
        (
            Upstream::new("b", "demo", "http://api.example.com"),
            "its base",
        ),
        (rig.upstream("b").methods([Method::TRACE]), "TRACE"),
    ] {
        let told = refused([good(), upstream]).unwrap();
        assert!(told.contains(about), "{told}");
    }
}
