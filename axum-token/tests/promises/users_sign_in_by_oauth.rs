//! Users sign in, connect and connect again by OAuth, and go on where they were.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum_extra::extract::cookie::Key;
use axum_token::{OAuthRoutes, PrivateCookies, PublicOrigin, SessionTokenLayer, SourceError};
use http::{Request, StatusCode};
use tower::ServiceExt as _;
use tower_token::testkit::ManualClock;
use tower_token::{Grant, GrantState};

use crate::oauth_rig::{Asked, CLIENT, ISSUER, Service};
use crate::support::{Browser, HTML, ORIGIN};

#[tokio::test]
async fn a_user_signs_in_and_goes_on_where_they_were() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    let asked = Asked::by(&mut ada, "/auth/demo?next=/token%3Fa=b").await;
    assert_eq!(asked.endpoint, format!("{ISSUER}/authorize"));
    let code = service.code(asked.consent("ada"));
    let back = ada.get(&asked.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    assert_eq!(back.header("location"), format!("{ORIGIN}/token?a=b"));
    assert_eq!(back.header("cache-control"), "no-store");
    assert_eq!(back.header("referrer-policy"), "no-referrer");
    assert_eq!(ada.get("/me").await.body, "ada");
    assert_eq!(ada.get("/token").await.status, StatusCode::OK);
    // Nothing is left of the flow.
    assert_eq!(ada.cookies.keys().collect::<Vec<_>>(), ["__Host-session"]);

    // The grant is refreshed like any other, and the id token is kept with it.
    let grants = service.rig.manager.grants("ada").await.unwrap();
    let grant = grants.iter().find(|grant| grant.key().provider() == "demo");
    assert!(grant.unwrap().id_token().is_some());
    service.rig.clock.advance(crate::support::TTL);
    assert_eq!(ada.get("/token").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_request_has_pkce_state_and_nonce_and_the_exact_redirect_uri() {
    let service = Service::new().await;
    let provider = service.op.provider("demo").await;
    let provider = provider
        .scope("email openid")
        .resource("https://api.example/a")
        .resource("https://api.example/b")
        .parameter("ui_locales", "de")
        .signs_in();
    let mut ada = Browser::new(service.router_of(provider));
    let first = Asked::by(&mut ada, "/auth/demo").await;
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", "https://app.example.com/auth/demo/callback"),
        ("code_challenge_method", "S256"),
        ("scope", "openid offline_access email"),
        ("prompt", "consent"),
        ("ui_locales", "de"),
    ] {
        assert_eq!(first.parameters[name], value, "{name}");
    }
    let second = Asked::by(&mut ada, "/auth/demo").await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(first.parameters[name].len(), 43, "{name}");
        assert_ne!(first.parameters[name], second.parameters[name], "{name}");
    }
    let sealed: Vec<_> = ada.cookies.values().collect();
    for (asked, name) in [(&first, "state"), (&first, "nonce"), (&second, "state")] {
        let kept = sealed
            .iter()
            .any(|value| value.contains(&asked.parameters[name]));
        assert!(!kept, "{name} can be read in a cookie");
    }
    // Both of them, at both ends (RFC 8707 section 2).
    let code = service.code(first.consent("ada"));
    let back = ada.get(&first.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    let resources = ["https://api.example/a", "https://api.example/b"];
    assert_eq!(first.all("resource"), resources);
    assert_eq!(service.op.exchanged("resource"), resources);
}

#[tokio::test]
async fn several_tabs_do_not_mind_each_other() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    let mut tabs = Vec::new();
    for tab in 0..3 {
        tabs.push(Asked::by(&mut ada, &format!("/auth/demo?next=/tab{tab}")).await);
    }
    for tab in [1, 2, 0] {
        let code = service.code(tabs[tab].consent("ada"));
        let back = ada.get(&tabs[tab].callback(&code)).await;
        assert_eq!(
            back.header("location"),
            format!("{ORIGIN}/tab{tab}"),
            "{}",
            back.body
        );
    }
    assert_eq!(service.op.exchanges(), 3);

    // However many are opened, a browser keeps a few: the last ones.
    let mut tabs = Vec::new();
    for _ in 0..12 {
        tabs.push(Asked::by(&mut ada, "/auth/demo").await);
    }
    assert!(ada.cookies.len() <= 6, "{:?}", ada.cookies.keys());
    let code = service.code(tabs[11].consent("ada"));
    let back = ada.get(&tabs[11].callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
}

#[tokio::test]
async fn who_is_signed_in_connects_another_provider() {
    let service = Service::new().await;
    let routes = service
        .routes()
        .provider(service.op.provider("demo").await.signs_in())
        .provider(service.op.plain("notes").await);
    let mut ada = Browser::new(service.router_with(routes));

    // Nobody connects anything for nobody.
    let nobody = ada.get("/auth/notes").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    let page = ada.send(http::Method::GET, "/auth/notes", &[("accept", HTML)]);
    assert_eq!(page.await.header("location"), "/login");

    service.sign_in(&mut ada, "ada").await;
    let asked = Asked::by(&mut ada, "/auth/notes").await;
    assert_eq!(asked.parameters["scope"], "notes");
    assert!(!asked.parameters.contains_key("nonce"));
    let mut consent = asked.consent("somebody");
    consent.without_id_token = true;
    let code = service.code(consent);
    let back = ada.get(&asked.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    let grants = service.rig.manager.grants("ada").await.unwrap();
    let of_notes = |grant: &&Grant| grant.key().provider() == "notes";
    assert_eq!(grants.iter().filter(of_notes).count(), 1);
    // Whose account it is there says nothing of who they are here.
    assert_eq!(ada.get("/me").await.body, "ada");
}

#[tokio::test]
async fn a_grant_that_has_ended_is_connected_again() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    service.sign_in(&mut ada, "ada").await;
    service.rig.server.revoke_grant("ada");
    service.rig.clock.advance(crate::support::TTL);
    let refused = ada.get("/token").await;
    assert_eq!(refused.json()["code"], "needs_reauth", "{}", refused.body);

    let back = service.sign_in(&mut ada, "ada").await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    assert_eq!(ada.get("/token").await.status, StatusCode::OK);
    let grants = service.rig.manager.grants("ada").await.unwrap();
    let states = grants.iter().map(Grant::state);
    assert!(states.into_iter().all(|state| state == GrantState::Active));
}

/// Providers give one to who agrees for the first time, and then often none.
#[tokio::test]
async fn an_answer_without_a_refresh_token_takes_no_grants_place() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    service.sign_in(&mut ada, "ada").await;
    let before = service.rig.stored().await.0;

    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let mut consent = asked.consent("ada");
    consent.without_refresh_token = true;
    let code = service.code(consent.clone());
    let back = ada.get(&asked.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    assert_eq!(service.rig.stored().await.0, before);

    // Where there is none to lose it is taken.
    let mut eve = service.browser().await;
    let asked = Asked::by(&mut eve, "/auth/demo").await;
    let mut consent = asked.consent("eve");
    consent.without_refresh_token = true;
    let code = service.code(consent);
    eve.get(&asked.callback(&code)).await;
    assert_eq!(eve.get("/token").await.status, StatusCode::OK);
}

/// What is held is not better because it is older.
#[tokio::test]
async fn an_answer_without_a_refresh_token_is_taken_where_nothing_better_is_lost() {
    let service = Service::new().await;
    let routes = service
        .routes()
        .provider(service.op.provider("demo").await.signs_in())
        .provider(service.op.provider("notes").await);
    let mut ada = Browser::new(service.router_with(routes));
    service.sign_in(&mut ada, "ada").await;

    // Another account: theirs is the one that they have just agreed to.
    for account in ["work-1", "work-2"] {
        let asked = Asked::by(&mut ada, "/auth/notes").await;
        let mut consent = asked.consent(account);
        consent.without_refresh_token = account == "work-2";
        let code = service.code(consent);
        let back = ada.get(&asked.callback(&code)).await;
        assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
        let grants = service.rig.manager.grants("ada").await.unwrap();
        let notes = grants
            .iter()
            .find(|grant| grant.key().provider() == "notes");
        assert_eq!(notes.unwrap().metadata()["openid.sub"], account);
        assert_eq!(notes.unwrap().can_refresh(), account == "work-1");
    }

    // One that has ended.
    service.rig.server.revoke_grant("ada");
    service.rig.clock.advance(crate::support::TTL);
    assert_eq!(ada.get("/token").await.json()["code"], "needs_reauth");
    without_refresh_token(&service, &mut ada).await;
    let first = ada.get("/token").await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);

    // One that cannot be refreshed either.
    without_refresh_token(&service, &mut ada).await;
    assert_ne!(ada.get("/token").await.body, first.body);
}

async fn without_refresh_token(service: &Service, ada: &mut Browser) {
    let asked = Asked::by(ada, "/auth/demo").await;
    let mut consent = asked.consent("ada");
    consent.without_refresh_token = true;
    let code = service.code(consent);
    let back = ada.get(&asked.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
}

#[tokio::test]
async fn tokens_of_somebody_who_cannot_be_admitted_are_given_back() {
    let service = Service::new().await;
    let provider = service.op.provider("demo").await.signs_in();
    let routes = service.routes().subject(|_| "x".repeat(1_025));
    let mut ada = Browser::new(service.router_with(routes.provider(provider)));
    let before = service.rig.stored().await;
    let back = service.sign_in(&mut ada, "ada").await;
    assert_eq!(back.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(service.op.revoked(), 1);
    assert_eq!(service.rig.stored().await, before);
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_flow_is_over_after_ten_minutes() {
    let service = Service::new().await;
    let clock = ManualClock::new();
    let provider = service.op.provider("demo").await.signs_in();
    let routes = service.routes().clock(clock.clone()).provider(provider);
    let mut ada = Browser::new(service.router_with(routes));
    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let late = Asked::by(&mut ada, "/auth/demo").await;
    clock.advance(Duration::from_secs(599));
    let code = service.code(asked.consent("ada"));
    let back = ada.get(&asked.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    clock.advance(Duration::from_secs(1));
    let code = service.code(late.consent("ada"));
    let back = ada.get(&late.callback(&code)).await;
    assert_eq!(back.json()["code"], "invalid_state", "{}", back.body);
}

/// The code is spent by then, and with it went what the provider had given before.
#[tokio::test]
async fn who_closes_the_tab_loses_no_tokens() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    service.sign_in(&mut ada, "ada").await;
    service.rig.server.revoke_grant("ada");
    let asked = Asked::by(&mut ada, "/auth/demo").await;
    let code = service.code(asked.consent("ada"));
    let cookies: Vec<_> = ada
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let request = Request::get(asked.callback(&code))
        .header("cookie", cookies.join("; "))
        .body(Body::empty())
        .unwrap();
    let mut call = Box::pin(ada.router.clone().oneshot(request));
    let before = service.rig.stored().await.0;
    // It waits for the exchange, which is a task of its own that has not run yet.
    assert!(futures_util::poll!(call.as_mut()).is_pending());
    assert_eq!(service.op.exchanges(), 1);
    drop(call);
    let connected = async {
        while service.rig.stored().await.0 == before {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, connected).await.unwrap();
    assert_eq!(ada.get("/token").await.status, StatusCode::OK);
    assert_eq!(service.op.exchanges(), 2);
}

#[tokio::test]
async fn the_service_is_told_who_signs_in_and_can_keep_them_out() {
    let service = Service::new().await;
    let told = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let list = std::sync::Arc::clone(&told);
    let routes = service.routes().on_sign_in(move |user, identity| {
        let email = identity.claim("email").and_then(|email| email.as_str());
        list.lock().push((user.clone(), email.map(str::to_owned)));
        async move {
            match &*user {
                "ada" => Ok(()),
                _ => Err(SourceError::refused("not one of ours")),
            }
        }
    });
    let provider = service.op.provider("demo").await.signs_in();
    let router = service.router_with(routes.provider(provider));
    let mut ada = Browser::new(router.clone());
    let back = service.sign_in(&mut ada, "ada").await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    let before = service.rig.stored().await;
    let mut eve = Browser::new(router);
    let refused = service.sign_in(&mut eve, "eve").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);
    assert_eq!(service.rig.stored().await, before);
    assert_eq!(service.op.revoked(), 1);
    // Once for each sign-in, and not for who connects again.
    service.sign_in(&mut ada, "ada").await;
    let email = Some("ada@example.com".to_owned());
    let expected = [("ada".to_owned(), email.clone()), ("eve".to_owned(), email)];
    assert_eq!(*told.lock(), expected);
}

#[tokio::test]
async fn users_sign_in_into_private_cookies_as_well() {
    let service = Service::new().await;
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let key = Key::from(&[9; 64]);
    let users = PrivateCookies::new(key.clone(), &origin);
    let routes = OAuthRoutes::new(&origin, "/auth", key, users.clone())
        .sign_ins(&service.rig.sign_ins)
        .provider(service.op.provider("demo").await.signs_in());
    let mut app = service.rig.app.clone();
    app.stamped = true;
    let router: Router = crate::support::routes(app.clone())
        .merge(routes.router().unwrap().with_state(app))
        .layer(SessionTokenLayer::new(users).sign_ins(&service.rig.sign_ins))
        .layer(axum_token::sessions::layer(
            &origin,
            service.rig.sessions.clone(),
        ));
    let mut ada = Browser::new(router);
    let back = service.sign_in(&mut ada, "ada").await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    // The default id of a user.
    assert_eq!(ada.get("/me").await.body, "demo|ada");
    let out = ada.post("/auth/demo/logout").await;
    assert_eq!(out.status, StatusCode::OK, "{}", out.body);
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
}
