//! A table of attacks on the OAuth routes: each is refused, and leaves every grant, stamp and
//! session as it was. `cargo test -p axum-token --all-features --test promises
//! oauth_attacks -- --nocapture` prints it.

use http::{Method, StatusCode};
use serde_json::json;

use crate::oauth_rig::{Asked, Consent, ISSUER, Service, unix_now};
use crate::support::{Answer, Browser};

/// Ada, who is signed in and connected, and what was stored then.
struct Attacked {
    service: Service,
    ada: Browser,
    before: Stored,
}

type Stored = (
    Vec<(Vec<u8>, u64, bytes::Bytes)>,
    std::collections::BTreeMap<i128, String>,
);

impl Attacked {
    async fn new() -> Self {
        let service = Service::new().await;
        let mut ada = service.browser().await;
        service.sign_in(&mut ada, "ada").await;
        let before = service.rig.stored().await;
        Self {
            service,
            ada,
            before,
        }
    }

    async fn refused(&mut self, what: &str, answer: &Answer, code: &str) {
        println!("{what}: {} {}", answer.status, answer.json()["code"]);
        assert_eq!(answer.json()["code"], code, "{what}: {}", answer.body);
        assert!(answer.status.is_client_error() || answer.status.is_server_error());
        assert_eq!(answer.header("location"), "", "{what}");
        assert_eq!(self.service.rig.stored().await, self.before, "{what}");
        assert_eq!(self.ada.get("/me").await.body, "ada", "{what}");
        assert_eq!(
            self.ada.get("/token").await.status,
            StatusCode::OK,
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_state_that_was_forged_or_replayed_is_refused() {
    let mut at = Attacked::new().await;
    let exchanges = at.service.op.exchanges();
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    let state = asked.state().to_owned();
    let mallorys = Asked::by(&mut at.service.browser().await, "/auth/demo").await;
    let forged = |state: &str| format!("/auth/demo/callback?code={code}&state={state}");
    let another = format!("{}{}", &state[..12], "A".repeat(31));
    for (what, path) in [
        ("no state", format!("/auth/demo/callback?code={code}")),
        ("an empty state", forged("")),
        ("a short state", forged("x")),
        ("a state that nobody made", forged(&"A".repeat(43))),
        ("another browser's state", forged(mallorys.state())),
        ("a state that begins like it", forged(&another)),
        (
            "a state that goes on after it",
            forged(&format!("{state}A")),
        ),
        (
            "a state of letters that no cookie has",
            forged("%00%0d%0aset-cookie:a"),
        ),
        ("a state twice", format!("{}&state=x", forged(&state))),
        ("a code twice", format!("{}&code=x", forged(&state))),
    ] {
        let answer = at.ada.get(&path).await;
        at.refused(what, &answer, "invalid_state").await;
    }
    // Another provider's callback, at which the state is none.
    assert_eq!(at.service.op.exchanges(), exchanges);

    // Its own is still good: nobody else could end it. Then it is replayed.
    let cookies = at.ada.cookies.clone();
    let back = at.ada.get(&asked.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
    at.before = at.service.rig.stored().await;
    let answer = at.ada.get(&asked.callback(&code)).await;
    at.refused("a state again", &answer, "invalid_state").await;
    let mut copy = Browser::new(at.ada.router.clone());
    copy.cookies = cookies;
    let answer = copy.get(&asked.callback(&code)).await;
    at.refused(
        "a state again, with a copy of the cookie",
        &answer,
        "invalid_state",
    )
    .await;
    assert_eq!(at.service.op.exchanges(), exchanges + 1);
    assert_eq!(
        at.service.op.reused(),
        0,
        "the provider would have ended the grant"
    );
}

/// The attacker's own code, in the browser of somebody else: they would be signed in as the
/// attacker, and leave their data there.
#[tokio::test]
async fn an_attackers_code_signs_nobody_in() {
    let mut at = Attacked::new().await;
    let mut eve = at.service.browser().await;
    let eves = Asked::by(&mut eve, "/auth/demo").await;
    let code = at.service.code(eves.consent("eve"));
    let answer = at.ada.get(&eves.callback(&code)).await;
    at.refused(
        "a link to the attacker's callback",
        &answer,
        "invalid_state",
    )
    .await;

    // With a state of Ada's own: the code is bound to the verifier that the attacker does not have.
    let adas = Asked::by(&mut at.ada, "/auth/demo").await;
    let path = adas.callback(&code);
    let answer = at.ada.get(&path).await;
    at.refused("the attacker's code", &answer, "code_refused")
        .await;
}

#[tokio::test]
async fn a_code_is_good_once() {
    let mut at = Attacked::new().await;
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    at.ada.get(&asked.callback(&code)).await;
    at.before = at.service.rig.stored().await;
    let again = Asked::by(&mut at.ada, "/auth/demo").await;
    let answer = at.ada.get(&again.callback(&code)).await;
    at.refused("a code that was used", &answer, "code_refused")
        .await;
    let again = Asked::by(&mut at.ada, "/auth/demo").await;
    let answer = at.ada.get(&again.callback("made-up")).await;
    at.refused("a code that nobody made", &answer, "code_refused")
        .await;
    let again = Asked::by(&mut at.ada, "/auth/demo").await;
    let path = format!("/auth/demo/callback?state={}", again.state());
    let answer = at.ada.get(&path).await;
    at.refused("no code", &answer, "provider_error").await;
    let again = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(again.consent("ada"));
    let path = format!("{}&error=access_denied", again.callback(&code));
    let answer = at.ada.get(&path).await;
    at.refused("a code beside an error", &answer, "access_denied")
        .await;
    let again = Asked::by(&mut at.ada, "/auth/demo").await;
    let answer = at.ada.get(&again.callback(&"c".repeat(10_000))).await;
    at.refused("a code without end", &answer, "provider_error")
        .await;
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_refused() {
    let mut at = Attacked::new().await;
    let others = [
        "https://other.example",
        "https://op.example/",
        "https://OP.example",
        "",
    ];
    for iss in others {
        let asked = Asked::by(&mut at.ada, "/auth/demo").await;
        let code = at.service.code(asked.consent("ada"));
        let path = format!("{}&iss={iss}", asked.callback(&code));
        let answer = at.ada.get(&path).await;
        at.refused(&format!("iss {iss:?}"), &answer, "issuer_mismatch")
            .await;
    }
    // A provider that says that it always names itself, and does not.
    at.service.op.set_sends_iss();
    at.ada.router = at.service.router().await;
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    let answer = at.ada.get(&asked.callback(&code)).await;
    at.refused("no iss", &answer, "issuer_mismatch").await;
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    let path = format!("{}&iss={ISSUER}", asked.callback(&code));
    assert_eq!(at.ada.get(&path).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_refused_without_id_tokens_as_well() {
    let mut at = Attacked::new().await;
    let routes = at.service.routes();
    let notes = at.service.op.plain("notes").await.issuer(ISSUER);
    let demo = at.service.op.provider("demo").await.signs_in();
    at.ada.router = at
        .service
        .router_with(routes.provider(demo).provider(notes));
    let asked = Asked::by(&mut at.ada, "/auth/notes").await;
    let code = at.service.code(asked.consent("somebody"));
    let path = format!("{}&iss=https://other.example", asked.callback(&code));
    let answer = at.ada.get(&path).await;
    at.refused("another iss", &answer, "issuer_mismatch").await;
    let asked = Asked::by(&mut at.ada, "/auth/notes").await;
    let code = at.service.code(asked.consent("somebody"));
    let path = format!("{}&iss={ISSUER}", asked.callback(&code));
    assert_eq!(at.ada.get(&path).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_answer_for_another_provider_is_refused() {
    let mut at = Attacked::new().await;
    let routes = at.service.routes();
    let routes = routes
        .provider(at.service.op.provider("demo").await.signs_in())
        .provider(at.service.op.plain("notes").await);
    at.ada.router = at.service.router_with(routes);
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    let path = asked.callback(&code).replace("/auth/demo/", "/auth/notes/");
    let answer = at.ada.get(&path).await;
    at.refused("another provider's callback", &answer, "invalid_state")
        .await;
}

#[tokio::test]
async fn an_id_token_that_is_not_the_one_asked_for_is_refused() {
    let mut at = Attacked::new().await;
    let now = unix_now();
    type Change = Box<dyn Fn(&mut Consent)>;
    let claims = |claims: serde_json::Value| -> Change {
        Box::new(move |consent| consent.claims = claims.clone())
    };
    let cases: Vec<(&str, Change)> = vec![
        ("a wrong nonce", claims(json!({ "nonce": "another" }))),
        ("no nonce", claims(json!({ "nonce": null }))),
        (
            "another issuer",
            claims(json!({ "iss": "https://other.example" })),
        ),
        (
            "another audience",
            claims(json!({ "aud": "another-client" })),
        ),
        (
            "one that is over",
            claims(json!({ "iat": now - 7_200, "exp": now - 3_600 })),
        ),
        ("no subject", claims(json!({ "sub": null }))),
        ("another key", Box::new(|consent| consent.forged = true)),
        ("none", Box::new(|consent| consent.without_id_token = true)),
    ];
    for (what, change) in &cases {
        let asked = Asked::by(&mut at.ada, "/auth/demo").await;
        let mut consent = asked.consent("ada");
        change(&mut consent);
        let code = at.service.code(consent);
        let answer = at.ada.get(&asked.callback(&code)).await;
        at.refused(&format!("id token: {what}"), &answer, "id_token_refused")
            .await;
        // Whose tokens they are is not known: they may be of a grant that lives.
        assert_eq!(at.service.op.revoked(), 0, "{what}");
    }
}

#[tokio::test]
async fn nobody_connects_for_somebody_else() {
    let mut at = Attacked::new().await;
    // Begun by Ada; then Eve signs in, in the same browser.
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    let mut shared = Browser::new(at.ada.router.clone());
    shared.cookies = at.ada.cookies.clone();
    shared.cookies.remove("__Host-session");
    at.service.sign_in(&mut shared, "eve").await;
    at.before = at.service.rig.stored().await;
    let answer = shared.get(&asked.callback(&code)).await;
    at.refused("another user's flow", &answer, "other_user")
        .await;

    // And signed out.
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    let mut out = Browser::new(at.ada.router.clone());
    out.cookies = at.ada.cookies.clone();
    out.cookies.remove("__Host-session");
    let answer = out.get(&asked.callback(&code)).await;
    at.refused("after signing out", &answer, "other_user").await;

    // Eve's account, while Ada is signed in; and one that nobody has signed in by, whose tokens
    // are no use to anybody.
    for (revoked, account) in ["eve", "mallory"].iter().enumerate() {
        let asked = Asked::by(&mut at.ada, "/auth/demo").await;
        let code = at.service.code(asked.consent(account));
        let answer = at.ada.get(&asked.callback(&code)).await;
        at.refused("another account", &answer, "other_account")
            .await;
        assert_eq!(at.service.op.revoked(), revoked);
    }
}

/// The account would be whosever the browser is logged in as there, which may be whoever wrote
/// that page.
#[tokio::test]
async fn another_sites_page_connects_nothing() {
    let mut at = Attacked::new().await;
    let routes = at.service.routes();
    let routes = routes
        .provider(at.service.op.provider("demo").await.signs_in())
        .provider(at.service.op.plain("notes").await);
    at.ada.router = at.service.router_with(routes);
    let begin = "/auth/notes?next=/public";
    for site in ["cross-site", "same-site", ""] {
        let headers = [("sec-fetch-site", site)];
        let answer = at.ada.send(Method::GET, begin, &headers).await;
        at.refused(&format!("sent by {site:?}"), &answer, "cross_site")
            .await;
        let headers = [("sec-fetch-site", site), ("accept", crate::support::HTML)];
        let page = at.ada.send(Method::GET, begin, &headers).await;
        let link = "href=\"/auth/notes?next=%2Fpublic\">Go on";
        assert!(page.body.contains(link), "{}", page.body);
    }
    for site in ["same-origin", "none"] {
        let headers = [("sec-fetch-site", site)];
        let answer = at.ada.send(Method::GET, begin, &headers).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{site}");
    }
    // A sign-in may begin anywhere: it says itself who it is.
    let headers = [("sec-fetch-site", "cross-site")];
    let answer = at.ada.send(Method::GET, "/auth/demo", &headers).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn next_leads_nowhere_else() {
    let mut at = Attacked::new().await;
    for next in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "%5C%5Cevil.example",
        "/%09/evil.example",
        "/%0d%0aset-cookie:a=b",
        "/..//evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/a&next=//evil.example",
    ] {
        let answer = at.ada.get(&format!("/auth/demo?next={next}")).await;
        at.refused(&format!("next {next}"), &answer, "invalid_next")
            .await;
    }
}

#[tokio::test]
async fn another_sites_page_signs_nobody_out_and_disconnects_nobody() {
    let mut at = Attacked::new().await;
    let attacks: &[(&[(&str, &str)], &str)] = &[
        (
            &[("sec-fetch-site", "cross-site"), ("x-csrf", "1")],
            "cross_site",
        ),
        (
            &[("origin", "https://evil.example"), ("x-csrf", "1")],
            "cross_site",
        ),
        (
            &[("sec-fetch-site", "same-site"), ("x-csrf", "1")],
            "cross_site",
        ),
        (&[("sec-fetch-site", "same-origin")], "csrf_header_missing"),
        (&[], "cross_site"),
    ];
    for (headers, code) in attacks {
        for (method, path) in [
            (Method::POST, "/auth/demo/logout"),
            (Method::POST, "/auth/demo/logout?everywhere=true"),
            (Method::DELETE, "/auth/demo"),
        ] {
            let answer = at.ada.send(method.clone(), path, headers).await;
            let what = format!("{method} {path} {headers:?}");
            at.refused(&what, &answer, code).await;
        }
    }
}

#[tokio::test]
async fn cookies_without_end_are_refused_and_those_of_others_are_not_read() {
    let mut at = Attacked::new().await;
    let asked = Asked::by(&mut at.ada, "/auth/demo").await;
    let code = at.service.code(asked.consent("ada"));
    let name = at
        .ada
        .cookies
        .keys()
        .find(|name| name.contains("flow-"))
        .unwrap()
        .clone();
    let good = at.ada.cookies[&name].clone();
    let session = at.ada.cookies["__Host-session"].clone();

    let huge = "x".repeat(40_000);
    let answer = raw(
        &at.ada,
        &asked.callback(&code),
        &[(&name, &good), ("junk", &huge)],
    )
    .await;
    at.refused("more cookies than any browser sends", &answer, "too_large")
        .await;
    let answer = raw(&at.ada, "/auth/demo", &[("junk", &huge)]).await;
    at.refused("the same at the beginning", &answer, "too_large")
        .await;

    let long = "x".repeat(5_000);
    let unsealed = json!({ "state": asked.state(), "provider": "demo" }).to_string();
    let swapped = good.chars().rev().collect::<String>();
    let unprefixed = name.trim_start_matches("__Host-");
    let last = if name.ends_with('0') { '1' } else { '0' };
    let other_name = format!("{}{last}", &name[..name.len() - 1]);
    for (what, cookies) in [
        ("a flow without end", vec![(&*name, &*long)]),
        ("a flow that is not sealed", vec![(&*name, &*unsealed)]),
        ("a flow that was changed", vec![(&*name, &*swapped)]),
        (
            "two flows of one name",
            vec![(&*name, &*good), (&*name, &*good)],
        ),
        ("a flow under another name", vec![(&*other_name, &*good)]),
        (
            "a flow that another host could set",
            vec![(unprefixed, &*good)],
        ),
        ("a session in place of a flow", vec![(&*name, &*session)]),
        ("no flow", vec![]),
    ] {
        let answer = raw(&at.ada, &asked.callback(&code), &cookies).await;
        at.refused(what, &answer, "invalid_state").await;
    }
    let back = at.ada.get(&asked.callback(&code)).await;
    assert_eq!(back.status, StatusCode::SEE_OTHER, "{}", back.body);
}

/// Session fixation: the attacker has been in Ada's session before she signs in.
#[tokio::test]
async fn who_signs_in_has_a_session_that_nobody_had_before() {
    let service = Service::new().await;
    let mut ada = service.browser().await;
    ada.post("/note/hello").await;
    let mut mallory = ada.clone();
    service.sign_in(&mut ada, "ada").await;
    assert_eq!(ada.get("/me").await.body, "ada");
    let before = mallory.cookies["__Host-session"].clone();
    assert_ne!(ada.cookies["__Host-session"], before);
    let answer = mallory.get("/me").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// A flow that was begun where users sign in, back where they do not any more.
#[tokio::test]
async fn nobody_signs_in_by_a_provider_that_signs_nobody_in() {
    let mut at = Attacked::new().await;
    let mut eve = at.service.browser().await;
    let asked = Asked::by(&mut eve, "/auth/demo").await;
    let code = at.service.code(asked.consent("eve"));
    let exchanges = at.service.op.exchanges();
    eve.router = at.service.router_of(at.service.op.provider("demo").await);
    let answer = eve.get(&asked.callback(&code)).await;
    at.refused("a sign-in where there is none", &answer, "invalid_state")
        .await;
    assert_eq!(at.service.op.exchanges(), exchanges);
}

#[tokio::test]
async fn flows_without_end_are_not_all_looked_at() {
    let mut at = Attacked::new().await;
    let names: Vec<_> = (0..1_500).map(|n| format!("__Host-flow-{n}")).collect();
    let cookies: Vec<_> = names.iter().map(|name| (&**name, "x")).collect();
    let answer = raw(&at.ada, "/auth/demo", &cookies).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let set = answer.headers.get_all("set-cookie").iter().count();
    assert!(set <= 40, "{set} cookies are set");
    assert_eq!(at.ada.get("/me").await.body, "ada");
}

/// With these cookies and no others.
async fn raw(browser: &Browser, path: &str, cookies: &[(&str, &str)]) -> Answer {
    let mut other = Browser::new(browser.router.clone());
    let pairs: Vec<_> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let joined = pairs.join("; ");
    other.send(Method::GET, path, &[("cookie", &joined)]).await
}
