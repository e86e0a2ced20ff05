//! Each is refused, and leaves what is stored as it was.

use axum::body::Body;
use http::{Method, StatusCode};

use crate::support::{Browser, ORIGIN, Rig};

const CSRF: (&str, &str) = ("x-csrf", "1");
const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A page of another site, in Ada's browser; and everything that pretends to be ours.
#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let mut ada = rig.ada().await;
    let before = rig.stored().await;
    let attacks: &[&[(&str, &str)]] = &[
        &[],
        &[CSRF],
        &[SAME],
        &[("sec-fetch-site", "cross-site"), CSRF],
        &[("sec-fetch-site", "same-site"), CSRF],
        &[("sec-fetch-site", "none"), CSRF],
        &[("origin", "https://evil.example"), CSRF],
        &[
            ("origin", "https://evil.example"),
            ("host", "evil.example"),
            CSRF,
        ],
        &[("origin", "null"), CSRF],
        &[("host", "app.example.com"), CSRF],
        &[("referer", ORIGIN), CSRF],
        &[SAME, ("origin", "https://rebound.example"), CSRF],
        &[("origin", ORIGIN)],
    ];
    let mut refused = 0;
    for path in ["/logout", "/leave", "/connect", "/login/eve", "/note/x"] {
        for headers in attacks {
            let method = Method::POST;
            let body = Body::from("a=b");
            let answer = ada.send_body(method, path, headers, body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("set-cookie"), "");
            refused += 1;
        }
    }
    println!("{refused} cross-site requests refused");
    assert_eq!(rig.stored().await, before);
    assert_eq!(ada.get("/me").await.body, "ada");
    assert_eq!(rig.server.counts().token_requests, 0);
}

/// An id that somebody planted in a browser before its user signed in there.
#[tokio::test]
async fn a_planted_session_is_not_the_one_that_is_signed_in() {
    let rig = Rig::new().await;
    let mut mallory = rig.browser();
    mallory.post("/note/planted").await;
    assert_eq!(mallory.cookies.len(), 1);

    // Ada signs in with it.
    let mut ada = Browser::new(rig.router());
    ada.cookies = mallory.cookies.clone();
    ada.sign_in("ada").await;
    assert_ne!(ada.cookies, mallory.cookies);
    assert_eq!(ada.get("/me").await.body, "ada");
    // What was put in before is hers now, as a cart would be.
    assert_eq!(ada.get("/note").await.body, "planted");

    let before = rig.stored().await;
    let mut again = Browser::new(rig.router());
    again.cookies = mallory.cookies.clone();
    assert_eq!(again.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(again.get("/note").await.body, "");
    assert_eq!(rig.stored().await, before);
    assert_eq!(rig.sessions.all().len(), 1);
}

/// A session that is renewed while it is signed in: the id before is no good any more.
#[tokio::test]
async fn each_sign_in_has_an_id_of_its_own() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    let earlier = ada.clone();
    ada.sign_in("ada").await;
    assert_ne!(ada.cookies, earlier.cookies);
    let mut copied = earlier;
    assert_eq!(copied.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ada.get("/me").await.body, "ada");
}

/// Another user at the same browser finds nothing of who was there before.
#[tokio::test]
async fn one_users_session_is_not_handed_to_the_next() {
    let rig = Rig::new().await;
    let mut browser = rig.ada().await;
    browser.post("/note/private").await;
    assert_eq!(browser.get("/note").await.body, "private");
    browser.sign_in("ada").await;
    assert_eq!(browser.get("/note").await.body, "private");
    browser.sign_in("eve").await;
    assert_eq!(browser.get("/me").await.body, "eve");
    assert_eq!(browser.get("/note").await.body, "");
    assert_eq!(rig.sessions.all().len(), 1);
}

/// Somebody was signed in there, only it cannot be read who.
#[tokio::test]
async fn the_session_of_a_user_who_cannot_be_read_is_not_handed_on_either() {
    for unreadable in [
        serde_json::json!({"user": "ada", "version": 2}),
        serde_json::Value::Null,
    ] {
        let rig = Rig::new().await;
        let mut browser = rig.ada().await;
        browser.post("/note/private").await;
        let mut record = rig.sessions.record();
        let user = record.data.get_mut("axum-token.user").unwrap();
        *user = unreadable;
        rig.sessions.put(record);
        assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
        browser.sign_in("eve").await;
        assert_eq!(browser.get("/me").await.body, "eve");
        assert_eq!(browser.get("/note").await.body, "");
    }
}

/// Ids that were guessed, cut, or made up name nobody.
#[tokio::test]
async fn a_made_up_cookie_is_nobodys() {
    let rig = Rig::new().await;
    rig.connect("ada").await;
    let ada = rig.ada().await;
    let (name, good) = ada.cookies.iter().next().unwrap();
    assert_eq!(name, "__Host-session");
    let before = rig.stored().await;
    let cut = &good[..good.len() - 1];
    let flipped = format!("{}A", &good[1..]);
    for (name, value) in [
        (name.as_str(), "AAAAAAAAAAAAAAAAAAAAAA"),
        (name, cut),
        (name, &flipped),
        (name, ""),
        (name, "ada"),
        // The right id under names that another host of the site could set.
        ("session", good),
        ("__Secure-session", good),
        ("__host-session", good),
    ] {
        let mut eve = rig.browser();
        eve.cookies.insert(name.into(), value.into());
        for path in ["/me", "/token"] {
            let answer = eve.get(path).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}={value}");
        }
    }
    assert_eq!(rig.stored().await, before);
}

/// Another host of the site can set any cookie for all of it, but none whose name begins with
/// `__Host-`: browsers see to that. They look at the name as it is sent, readers decode it.
#[tokio::test]
async fn a_cookie_of_another_host_of_the_site_is_not_taken_for_ours() {
    let rig = Rig::new().await;
    let (ada, mut mallory) = (rig.ada().await, rig.browser());
    mallory.sign_in("mallory").await;
    let [ours, theirs] = [ada, mallory].map(|browser| browser.cookies["__Host-session"].clone());
    let before = rig.stored().await;
    let good = format!("__Host-session={ours}");
    for name in DISGUISED {
        let bad = format!("{}={theirs}", name.replace("NAME", "session"));
        for (lines, expected) in [
            (&[bad.clone()][..], ""),
            (&[format!("{good}; {bad}")], "ada"),
            (&[format!("{bad};{good}")], "ada"),
            (&[format!("a=b; {bad}; c=d")], ""),
            (&[good.clone(), bad.clone()], "ada"),
            (&[bad.clone(), good.clone()], "ada"),
            (&[bad.clone(), bad.clone()], ""),
        ] {
            assert_eq!(sends(&rig.browser(), lines).await, expected, "{lines:?}");
        }
    }
    // Two of the right name: a browser has one of ours at most.
    for name in TWINS {
        let bad = format!("{}={theirs}", name.replace("NAME", "session"));
        for lines in [
            &[format!("{good}; {bad}")][..],
            &[format!("{bad}; {good}")],
            &[format!("{bad}; x=y; {good}")],
            &[good.clone(), bad.clone()],
            &[bad.clone(), good.clone()],
        ] {
            assert_eq!(sends(&rig.browser(), lines).await, "", "{lines:?}");
        }
    }
    // What the application has under other names is none of our business.
    for others in [
        "a%20b=1",
        "100%=1",
        "theme=1; theme=2",
        "__Host-a%20b=1",
        "__Host-x=1; __Host-y=1",
        "=__Host-x; __Host-session; ;",
        "caf\u{e9}=\u{a0}%",
    ] {
        for lines in [
            &[format!("{others}; {good}")][..],
            &[good.clone(), others.to_owned()],
        ] {
            assert_eq!(sends(&rig.browser(), lines).await, "ada", "{lines:?}");
        }
    }
    assert_eq!(rig.stored().await, before);
}

/// Names that no browser applies the rule to.
pub const DISGUISED: [&str; 15] = [
    "__Host%2DNAME",
    "__Host%2dNAME",
    "%5F_Host-NAME",
    "_%5fHost-NAME",
    "%5f%5F%48%6F%73%74%2dNAME",
    "__%48ost-NAME",
    "__%68ost%2DNAME",
    " \t__Host%2DNAME\t ",
    "%20__Host-NAME",
    "%09__Host%2DNAME",
    "%C2%A0__Host-NAME",
    "\u{a0}__Host-NAME",
    "\u{2003}\u{3000}__Host-NAME",
    "\u{85}__Host%2DNAME",
    "\u{a0}%5F_Host-NAME\u{a0}",
];

/// What may be read as the right name, beside it.
pub const TWINS: [&str; 3] = ["__Host-NAME", " \t__Host-NAME", "__Host-NAME \t"];

/// Who is signed in by these Cookie headers.
pub async fn sends(browser: &Browser, lines: &[String]) -> String {
    let headers: Vec<_> = lines.iter().map(|line| ("cookie", line.as_str())).collect();
    let answer = browser.clone().send(Method::GET, "/me", &headers).await;
    match answer.status {
        StatusCode::OK => answer.body,
        status => {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{lines:?}");
            String::new()
        }
    }
}

/// A socket is a GET, which no CORS asks about.
#[tokio::test]
async fn another_sites_page_opens_no_socket() {
    let rig = Rig::new().await;
    let mut ada = rig.ada().await;
    for headers in [
        [("upgrade", "websocket"), ("origin", "https://evil.example")],
        [("upgrade", "websocket"), ("sec-fetch-site", "same-site")],
    ] {
        let answer = ada.send(Method::GET, "/me", &headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    let ours = [("upgrade", "websocket"), ("origin", ORIGIN)];
    assert_eq!(ada.send(Method::GET, "/me", &ours).await.body, "ada");
}
