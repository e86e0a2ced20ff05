//! A user in an encrypted cookie: nobody can make one, change one, or use one for something
//! else, and it ends.

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Path, State};
use axum::routing::{get, post};
use axum_extra::extract::cookie::{Cookie, Key, PrivateCookieJar};
use axum_token::{
    CurrentSubject, PrivateCookies, PublicOrigin, SessionTokenLayer, TokenRejection, TokenState,
};
use http::StatusCode;
use tower_token::testkit::ManualClock;

use crate::attacks_change_nothing::{DISGUISED, TWINS, sends};
use crate::support::{Browser, ORIGIN, Rig};

#[derive(Clone)]
struct App {
    tokens: TokenState,
    users: PrivateCookies,
    key: Key,
}

impl FromRef<App> for TokenState {
    fn from_ref(app: &App) -> Self {
        app.tokens.clone()
    }
}

impl FromRef<App> for Key {
    fn from_ref(app: &App) -> Self {
        app.key.clone()
    }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn browser(rig: &Rig, key: &Key, stamped: bool) -> Browser {
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let users = PrivateCookies::new(key.clone(), &origin)
        .lifetime(7 * DAY)
        .clock(rig.clock.clone());
    let layer = SessionTokenLayer::new(users.clone());
    let layer = if stamped {
        layer.sign_ins(&rig.sign_ins)
    } else {
        layer
    };
    let app = App {
        tokens: rig.app.tokens.clone(),
        users,
        key: key.clone(),
    };
    let sign_ins = stamped.then(|| rig.sign_ins.clone());
    let login =
        async move |State(app): State<App>, jar: PrivateCookieJar, Path(user): Path<String>| {
            match sign_ins {
                Some(sign_ins) => app.users.sign_in(jar, sign_ins.admit(&user).await?),
                None => app.users.sign_in(jar, user),
            }
        };
    let router = Router::new()
        .route("/login/{user}", post(login))
        .route("/logout", post(logout))
        .route("/other", post(other))
        .route("/me", get(me))
        .layer(layer)
        .with_state(app);
    Browser::new(router)
}

async fn logout(State(app): State<App>, jar: PrivateCookieJar) -> PrivateCookieJar {
    app.users.sign_out(jar)
}

/// A cookie of the application's own, under the same key, with a text that a user chose.
async fn other(jar: PrivateCookieJar, body: String) -> PrivateCookieJar {
    jar.add(Cookie::new("other", body))
}

async fn me(user: CurrentSubject) -> Result<String, TokenRejection> {
    Ok(user.as_str().into())
}

#[tokio::test]
async fn it_signs_in_and_out() {
    let rig = Rig::new().await;
    let mut ada = browser(&rig, &Key::generate(), false);
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
    let answer = ada.post("/login/ada").await;
    let cookie = answer.header("set-cookie");
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-user="), "{cookie}");
    assert!(!pair.contains("ada"), "{cookie}");
    let mut attributes: Vec<_> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(
        attributes,
        [
            "HttpOnly",
            "Max-Age=604800",
            "Path=/",
            "SameSite=Lax",
            "Secure"
        ]
    );
    assert_eq!(ada.get("/me").await.body, "ada");

    // Another user at the same browser.
    ada.sign_in("eve").await;
    assert_eq!(ada.get("/me").await.body, "eve");
    ada.post("/logout").await;
    assert!(ada.cookies.is_empty());
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn nobody_makes_changes_or_moves_one() {
    let rig = Rig::new().await;
    let key = Key::generate();
    let mut ada = browser(&rig, &key, false);
    ada.sign_in("ada").await;
    let good = ada.cookies["__Host-user"].clone();
    let mut flipped = good.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let forged = r#"{"subject":"ada","stamp":null,"since":99999999999999}"#;
    let mut eve = browser(&rig, &key, false);
    let body = axum::body::Body::from(forged);
    let headers = [("content-type", "text/plain")];
    eve.send_body(http::Method::POST, "/other", &headers, body)
        .await;
    let moved = eve.cookies["other"].clone();
    for (name, value) in [
        ("__Host-user", String::from_utf8(flipped).unwrap()),
        ("__Host-user", forged.to_owned()),
        ("__Host-user", String::from("ada")),
        ("__Host-user", String::new()),
        // Sealed by us, for something else.
        ("__Host-user", moved),
        ("user", good.clone()),
        // Two of them: one is not ours.
        ("__Host-user", format!("{good}; __Host-user={good}")),
    ] {
        let mut eve = browser(&rig, &key, false);
        eve.cookies.insert(name.into(), value.clone());
        let answer = eve.get("/me").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}={value}");
    }
    let mut elsewhere = browser(&rig, &Key::generate(), false);
    elsewhere.cookies = ada.cookies.clone();
    assert_eq!(elsewhere.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ada.get("/me").await.body, "ada");
}

/// Mallory's own cookie, set by another host of the site under a name that reads as ours.
#[tokio::test]
async fn a_cookie_of_another_host_of_the_site_is_not_taken_for_ours() {
    let rig = Rig::new().await;
    let key = Key::generate();
    let mut ada = browser(&rig, &key, false);
    let mut mallory = ada.clone();
    ada.sign_in("ada").await;
    mallory.sign_in("mallory").await;
    let good = format!("__Host-user={}", ada.cookies["__Host-user"]);
    let theirs = &mallory.cookies["__Host-user"];
    let nobody = browser(&rig, &key, false);
    for name in DISGUISED {
        let bad = format!("{}={theirs}", name.replace("NAME", "user"));
        for (lines, expected) in [
            (&[bad.clone()][..], ""),
            (&[format!("{good}; {bad}")], "ada"),
            (&[format!("{bad}; {good}")], "ada"),
            (&[good.clone(), bad.clone()], "ada"),
            (&[bad.clone(), good.clone()], "ada"),
        ] {
            assert_eq!(sends(&nobody, lines).await, expected, "{lines:?}");
        }
    }
    for name in TWINS {
        let bad = format!("{}={theirs}", name.replace("NAME", "user"));
        for lines in [
            &[format!("{good}; {bad}")][..],
            &[format!("{bad}; {good}")],
            &[bad.clone(), good.clone()],
        ] {
            assert_eq!(sends(&nobody, lines).await, "", "{lines:?}");
        }
    }
    // Encoded where only we could have set it, but not by us.
    for name in ["__Host-%75ser", "__Host-use%72"] {
        let lines = [format!("{name}={theirs}")];
        assert_eq!(sends(&nobody, &lines).await, "", "{name}");
    }
}

/// The jar of axum-extra reads no header that has such a letter in it, and would take it that
/// there is nothing to remove.
#[tokio::test]
async fn a_letter_in_another_cookie_keeps_nobody_signed_in() {
    let rig = Rig::new().await;
    let mut ada = browser(&rig, &Key::generate(), false);
    ada.sign_in("ada").await;
    ada.cookies.insert("caf\u{e9}".into(), "1".into());
    assert_eq!(ada.get("/me").await.body, "ada");
    ada.post("/logout").await;
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert!(!ada.cookies.contains_key("__Host-user"));
}

#[tokio::test]
async fn it_ends_by_its_own_lifetime_whatever_the_browser_says() {
    let rig = Rig::new().await;
    let mut ada = browser(&rig, &Key::generate(), false);
    ada.sign_in("ada").await;
    rig.clock.advance(7 * DAY - Duration::from_secs(1));
    assert_eq!(ada.get("/me").await.body, "ada");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(ada.get("/me").await.status, StatusCode::UNAUTHORIZED);
}

/// The one way to end a copy of it.
#[tokio::test]
async fn signing_out_everywhere_ends_copies_too() {
    let rig = Rig::new().await;
    let mut ada = browser(&rig, &Key::generate(), true);
    ada.sign_in("ada").await;
    let mut copied = ada.clone();
    assert_eq!(copied.get("/me").await.body, "ada");
    rig.sign_ins.sign_out_everywhere("ada").await.unwrap();
    assert_eq!(copied.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert!(copied.cookies.is_empty(), "the browser may let go of it");
    // The answer removes the old cookie, and the handler's new one stays.
    ada.sign_in("ada").await;
    assert_eq!(ada.get("/me").await.body, "ada");
}

#[test]
fn debug_shows_no_key() {
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let users = PrivateCookies::new(Key::generate(), &origin).clock(ManualClock::new());
    assert_eq!(
        format!("{users:?}"),
        "PrivateCookies { name: \"__Host-user\", lifetime: 1209600s, .. }"
    );
}
