//! What people and programs are told by the OAuth routes where it does not work, and who sets them up.

use axum::Router;
use axum::body::Body;
use axum_extra::extract::cookie::Key;
use axum_token::{
    ConnectFailureKind, ConnectProvider, OAuthRoutes, PublicOrigin, SessionTokenLayer,
};
use http::StatusCode;
use tower_token::OAuth2;

use crate::oauth_rig::{Asked, Service};
use crate::support::{Browser, HTML, ORIGIN};

/// The layers that a service has around them are its own business.
#[tokio::test]
async fn the_routes_say_themselves_what_their_answers_and_cookies_are() {
    let service = Service::new().await;
    let mut app = service.rig.app.clone();
    app.stamped = true;
    let routes = service
        .routes()
        .provider(service.op.provider("demo").await.signs_in());
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let router: Router = routes
        .router()
        .unwrap()
        .with_state(app)
        .layer(SessionTokenLayer::new(axum_token::sessions::Sessions))
        .layer(axum_token::sessions::layer(
            &origin,
            service.rig.sessions.clone(),
        ));
    let mut ada = Browser::new(router);
    let begun = ada.get("/auth/demo").await;
    let cookie = begun.header("set-cookie").to_owned();
    let (name, rest) = cookie.split_once('=').unwrap();
    assert!(name.starts_with("__Host-flow-"), "{name}");
    let attributes: Vec<_> = rest.split("; ").skip(1).collect();
    for attribute in [
        "HttpOnly",
        "Secure",
        "SameSite=Lax",
        "Path=/",
        "Max-Age=600",
    ] {
        assert!(attributes.contains(&attribute), "{attribute}: {cookie}");
    }
    let back = ada.get("/auth/demo/callback?error=access_denied").await;
    let out = ada.post("/auth/demo/logout").await;
    for answer in [&begun, &back, &out] {
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(begun.header("referrer-policy"), "no-referrer");
    assert_eq!(back.header("referrer-policy"), "no-referrer");

    // What is over is cleared away.
    let stale = [("cookie", "__Host-flow-AAAAAAAAAAAA=x")];
    let begun = Browser::new(ada.router.clone())
        .send(http::Method::GET, "/auth/demo", &stale)
        .await;
    let mut set = begun.headers.get_all("set-cookie").iter();
    let is_removal = |set: &http::HeaderValue| {
        let set = set.to_str().unwrap();
        set.starts_with("__Host-flow-AAAAAAAAAAAA=") && set.contains("Max-Age=0")
    };
    assert!(set.any(is_removal), "{:?}", begun.headers);
}

#[tokio::test]
async fn a_denied_consent_and_other_errors_are_pages_that_a_person_understands() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    let before = service.rig.stored().await;
    for (error, status, code, words) in [
        ("access_denied", 403, "access_denied", "You did not agree"),
        ("login_required", 403, "access_denied", "You did not agree"),
        (
            "temporarily_unavailable",
            503,
            "provider_unavailable",
            "Try again in a moment",
        ),
        (
            "server_error",
            503,
            "provider_unavailable",
            "Try again in a moment",
        ),
        (
            "invalid_scope",
            502,
            "provider_error",
            "answered with an error",
        ),
        (
            "%3Cscript%3Ealert(1)%3C/script%3E",
            502,
            "provider_error",
            "answered with an error",
        ),
    ] {
        for person in [true, false] {
            let asked = Asked::by(&mut ada, "/auth/demo?next=/public").await;
            let path = format!(
                "/auth/demo/callback?error={error}&error_description=%3Cb%3Eevil&state={}",
                asked.state()
            );
            let accept = if person { HTML } else { "application/json" };
            let headers = [("accept", accept)];
            let answer = ada.send(http::Method::GET, &path, &headers).await;
            assert_eq!(answer.status, status, "{}", answer.body);
            assert!(!answer.body.contains("evil") && !answer.body.contains("alert"));
            if person {
                assert!(answer.body.contains(words), "{}", answer.body);
                let retry = "href=\"/auth/demo?next=%2Fpublic\"";
                assert!(answer.body.contains(retry), "{}", answer.body);
                assert!(
                    answer
                        .header("content-security-policy")
                        .contains("default-src 'none'")
                );
            } else {
                assert_eq!(answer.json()["code"], code);
                assert_eq!(answer.json()["provider"], "demo");
            }
            // Its cookie is gone.
            assert!(ada.cookies.is_empty(), "{:?}", ada.cookies);
        }
    }
    assert_eq!(service.op.exchanges(), 0);
    assert_eq!(service.rig.stored().await, before);

    let page = service.routes().failure_page(|failure| {
        assert_eq!(failure.kind(), ConnectFailureKind::Denied);
        let page = format!("our own: {} {:?}", failure.title(), failure.retry_at());
        let answer = http::Response::builder().header("set-cookie", "own=1");
        answer.body(Body::from(page)).unwrap()
    });
    let provider = service.op.provider("demo").await.signs_in();
    let mut ada = Browser::new(service.router_with(page.provider(provider)));
    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let path = format!(
        "/auth/demo/callback?error=access_denied&state={}",
        asked.state()
    );
    let answer = ada
        .send(http::Method::GET, &path, &[("accept", HTML)])
        .await;
    assert_eq!(
        answer.body,
        "our own: You did not agree Some(\"/auth/demo?next=%2F\")"
    );
    // Its cookie, and the flow's end.
    assert!(ada.cookies.keys().eq(["own"]), "{:?}", ada.cookies);
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_and_it_works_again_later() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let code = service.code(asked.consent("ada"));
    service.op.set_down(true);
    let down = ada.get(&asked.callback(&code)).await;
    assert_eq!(down.json()["code"], "provider_unavailable", "{}", down.body);
    service.op.set_down(false);
    let back = service.sign_in(&mut ada, "ada").await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
}

#[tokio::test]
async fn routes_that_are_set_up_wrongly_do_not_start() {
    let service = Service::new().await;
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let routes = |base: &str| {
        let key = Key::from(&[7; 64]);
        OAuthRoutes::new(&origin, base, key, axum_token::sessions::Sessions)
            .sign_ins(&service.rig.sign_ins)
    };
    let demo = service.op.provider("demo").await;
    let plain = OAuth2::new("plain", "https://a.example/token").public_client("me");
    let exchange = || plain.code_exchange().unwrap();
    let wrong = [
        (routes("auth"), "begin at a path"),
        (routes("/auth/"), "begin at a path"),
        (routes("/auth/{x}"), "begin at a path"),
        (routes("//auth"), "begin at a path"),
        (routes(""), "begin at a path"),
        (
            routes("/auth").after_logout("https://evil.example"),
            "after_logout",
        ),
        (
            routes("/auth")
                .provider(demo.clone())
                .provider(demo.clone()),
            "given twice",
        ),
        (
            OAuthRoutes::new(
                &origin,
                "/auth",
                Key::generate(),
                axum_token::sessions::Sessions,
            )
            .provider(demo.clone().signs_in()),
            "add .sign_ins(&sign_ins)",
        ),
        (
            routes("/auth").provider(
                ConnectProvider::oauth2("https://a.example/authorize", exchange()).signs_in(),
            ),
            "nobody can sign in by it",
        ),
        (
            routes("/auth").provider(demo.clone().parameter("state", "x")),
            "the routes set themselves",
        ),
        (
            routes("/auth").provider(ConnectProvider::oauth2(
                "http://a.example/authorize",
                exchange(),
            )),
            "no https URL",
        ),
        (
            routes("/auth").provider(ConnectProvider::oauth2(
                "https://a.example/authorize#x",
                exchange(),
            )),
            "has a fragment",
        ),
        (
            routes("/auth").provider(service.op.plain("a/b").await),
            "stands in URLs",
        ),
        (
            routes("/auth").provider(service.op.plain("..").await),
            "stands in URLs",
        ),
    ];
    for (routes, says) in wrong {
        let error = routes
            .router::<crate::support::App>()
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
}
