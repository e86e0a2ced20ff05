//! Each is refused: nothing that is stored changes, and the API hears of nothing.

use axum::body::Body;
use axum_token::TrustedHeader;
use http::{HeaderMap, HeaderName, Method};

use crate::proxy_rig::{NASTY, PAGE, ProxyRig, answered, call, connection, serve};
use crate::support::{Browser, ORIGIN};

const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");
const CSRF: (&str, &str) = ("x-csrf", "1");
const EVIL: (&str, &str) = ("origin", "https://evil.example");

#[tokio::test]
async fn a_page_of_another_site_calls_nothing() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    let before = rig.stored().await;
    let attacks: &[&[(&str, &str)]] = &[
        &[],
        &[SAME],
        &[SAME, ("x-csrf", "0")],
        &[EVIL, CSRF],
        &[EVIL, ("host", "evil.example"), CSRF],
        &[("origin", "null"), CSRF],
        &[("sec-fetch-site", "cross-site"), CSRF],
        &[("sec-fetch-site", "same-site"), CSRF],
        &[("sec-fetch-site", "none"), CSRF],
        &[SAME, EVIL, CSRF],
        &[SAME, ("sec-fetch-mode", "navigate")],
    ];
    for method in [
        "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "REPORT",
    ] {
        for headers in attacks {
            let method = method.parse().unwrap();
            let body = Body::from("a=b");
            let answer = ada
                .send_body(method, "/api/calendar/x", headers, body)
                .await;
            assert_eq!(answer.status, 403, "{headers:?}");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    }
    // Not even if a worker of the page's own would add the header.
    let navigation = [SAME, CSRF, ("sec-fetch-mode", "navigate")];
    let answer = ada.send(Method::GET, "/api/calendar/x", &navigation).await;
    assert_eq!(answer.status, 403);
    assert_eq!(rig.stored().await, before);
    assert_eq!(rig.api.seen().len(), 0);
}

#[tokio::test]
async fn what_is_not_to_be_called_is_not() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    rig.connect("narrow", "ada").await;
    let before = rig.stored().await;
    for (method, path, status, code) in [
        ("GET", "/api/calendar/../x", 400, "invalid_path"),
        ("GET", "/api/calendar/a/../../x", 400, "invalid_path"),
        ("GET", "/api/calendar/..", 400, "invalid_path"),
        ("GET", "/api/calendar/.", 400, "invalid_path"),
        ("GET", "/api/calendar/%2e%2e/x", 400, "invalid_path"),
        ("GET", "/api/calendar/%2E./x", 400, "invalid_path"),
        ("GET", "/api/calendar/%252e%252e/x", 400, "invalid_path"),
        ("GET", "/api/calendar/..%2fx", 400, "invalid_path"),
        ("GET", "/api/calendar/a%2Fb", 400, "invalid_path"),
        ("GET", "/api/calendar/..%5cx", 400, "invalid_path"),
        ("GET", "/api/calendar//evil.example/x", 400, "invalid_path"),
        ("GET", "/api/calendar/a//b", 400, "invalid_path"),
        ("GET", "/api/calendar/a%00", 400, "invalid_path"),
        ("GET", "/api/calendar/a%0d%0aX:y", 400, "invalid_path"),
        ("GET", "/api/calendar/..;/x", 400, "invalid_path"),
        ("GET", "/api/calendar/a/;/x", 400, "invalid_path"),
        ("GET", "/api/calendar/%E2%80%A5/x", 400, "invalid_path"),
        ("GET", "/api/calendar/a%EF%BC%8Fb", 400, "invalid_path"),
        ("GET", "/api/calendar/%c0%ae%c0%ae/x", 400, "invalid_path"),
        ("GET", "/api/calendar/a%zz", 400, "invalid_path"),
        ("GET", "/api/few/users/you", 403, "path_not_allowed"),
        ("GET", "/api/few/users/meg", 403, "path_not_allowed"),
        ("GET", "/api/few/users/me/../you", 400, "invalid_path"),
        ("GET", "/api/few/users/me%2f..%2fyou", 400, "invalid_path"),
        ("GET", "/api/few/users/me;/../you", 400, "invalid_path"),
        ("POST", "/api/few/users/me", 405, "method_not_allowed"),
        ("HEAD", "/api/few/users/me", 405, ""),
        ("TRACE", "/api/calendar/x", 405, "method_not_allowed"),
        ("OPTIONS", "/api/calendar/x", 405, "method_not_allowed"),
        ("REPORT", "/api/calendar/x", 405, "method_not_allowed"),
        ("GET", "/api/other/x", 404, ""),
        ("GET", "/api/%63alendar/x", 404, ""),
        ("GET", "/api/calendar", 404, ""),
        ("GET", "/api/foreign/x", 500, "internal"),
    ] {
        let answer = call(&mut ada, method.parse().unwrap(), path).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(
            answer.json()["code"].as_str().unwrap_or_default(),
            code,
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let long = format!("/api/calendar/{}", "a".repeat(8 << 10));
    assert_eq!(call(&mut ada, Method::GET, &long).await.status, 414);
    let post = call(&mut ada, Method::POST, "/api/few/users/me").await;
    assert_eq!(post.header("allow"), "GET");

    for (method, headers) in [
        ("GET", [("connection", "upgrade"), ("upgrade", "websocket")]),
        ("POST", [("connection", "Upgrade"), ("upgrade", "h2c")]),
        ("GET", [("connection", "keep-alive, UPGRADE"), ("x", "y")]),
        ("GET", [("upgrade", "x"), ("x", "y")]),
    ] {
        let headers = [&PAGE[..], &headers[..]].concat();
        let method = method.parse().unwrap();
        let answer = ada.send(method, "/api/calendar/x", &headers).await;
        assert_eq!(answer.status, 501, "{headers:?}");
        assert_eq!(answer.json()["code"], "upgrade_not_supported");
    }
    let socket = [EVIL, ("connection", "upgrade"), ("upgrade", "websocket")];
    let answer = ada.send(Method::GET, "/api/calendar/x", &socket).await;
    assert_eq!(answer.status, 403);
    assert_eq!(rig.stored().await, before);
    assert_eq!(rig.api.seen().len(), 0);
}

#[tokio::test]
async fn who_has_no_token_sends_nothing() {
    let rig = ProxyRig::new().await;
    let mut nobody = Browser::new(rig.router(rig.routes()));
    let own = [
        PAGE[0],
        PAGE[1],
        ("authorization", "Bearer of-the-page"),
        ("accept", "text/html"),
    ];
    let answer = nobody.send(Method::GET, "/api/calendar/x", &own).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (401, &"login_required".into())
    );
    assert_eq!(answer.json()["page"], "/login");

    let mut eve = rig.signed_in("eve").await;
    let answer = eve.send(Method::GET, "/api/calendar/x", &own).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (401, &"not_connected".into())
    );
    assert_eq!(answer.json()["provider"], "demo");
    assert_eq!(answer.json()["page"], "/auth/demo");

    let mut ada = rig.user("ada").await;
    rig.server.revoke_grant("ada");
    rig.api.refuse(rig.bearer("ada").await);
    rig.server.expire_access_tokens();
    // The first time the API says so, and then we know.
    for _ in 0..2 {
        let answer = call(&mut ada, Method::GET, "/api/calendar/x").await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (401, &"needs_reauth".into())
        );
        assert_eq!(answer.json()["page"], "/auth/demo");
        assert_eq!(rig.api.seen().len(), 1);
    }
}

/// Names of what a page sends that must not arrive, with what must.
/// Whoever had them could be anybody here.
#[tokio::test]
async fn what_says_who_the_user_is_stays_here() {
    let rig = ProxyRig::new().await;
    rig.connect("demo", "ada").await;
    let source = TrustedHeader::overwritten_by_proxy(HeaderName::from_static("x-who"))
        .shared_secret(HeaderName::from_static("x-proof"), "proof".into());
    let mut ada = rig.behind(source);
    let said = [("x-who", "ada"), ("x-proof", "proof"), ("x-other", "1")];
    let headers = [&PAGE[..], &said[..]].concat();
    let answer = ada.send(Method::GET, "/api/calendar/me", &headers).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let seen = rig.api.only().headers;
    assert_eq!(seen.get("x-other").unwrap(), "1");
    assert!(
        !seen.contains_key("x-who") && !seen.contains_key("x-proof"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn what_is_between_the_page_and_us_stays_there() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    let stays = [
        ("authorization", "Bearer of-the-page"),
        ("cookie", "a=b"),
        ("origin", ORIGIN),
        ("referer", "https://app.example.com/secret"),
        ("connection", "close, x-named"),
        ("x-named", "1"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("keep-alive", "timeout=5"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("cf-connecting-ip", "10.0.0.1"),
        ("via", "1.1 x"),
        ("expect", "100-continue"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/v3/other"),
        ("x_http_method_override", "DELETE"),
        ("x-employee", "grace"),
        ("content_length", "0"),
        // Of what a layer in front has decoded.
        ("content-length", "1"),
    ];
    let goes = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("if-none-match", "\"1\""),
        ("content-type", "application/json"),
        ("x-goog-fieldmask", "items"),
    ];
    let headers = [
        &PAGE[..],
        &stays[..],
        &goes[..],
        &[("host", "evil.example")],
    ]
    .concat();
    let path = "/api/calendar/a%20b/c:d?q=%2F..%2F&x=//";
    let answer = ada
        .send_body(Method::POST, path, &headers, Body::from("{}"))
        .await;
    assert_eq!(answer.status, 200);
    let seen = rig.api.only();
    assert_eq!(
        (seen.method, &*seen.target),
        (Method::POST, "/v3/a%20b/c:d?q=%2F..%2F&x=//")
    );
    assert_eq!(
        seen.headers["authorization"],
        rig.bearer("ada").await.as_str()
    );
    assert_eq!(seen.headers.get_all("authorization").iter().count(), 1);
    assert_eq!(
        format!("http://{}", seen.headers["host"].to_str().unwrap()),
        rig.api.origin()
    );
    assert_eq!(seen.headers["content-length"], "2");
    for (name, value) in goes {
        assert_eq!(seen.headers[name], value);
    }
    let ours = ["authorization", "host", "content-length"];
    let goes = goes.map(|(name, _)| name);
    let more: Vec<_> = seen.headers.keys().map(|name| name.as_str()).collect();
    let mut more = more
        .iter()
        .filter(|name| !ours.contains(name) && !goes.contains(name));
    assert_eq!(more.next(), None);
}

#[tokio::test]
async fn an_answer_does_nothing_to_our_origin() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    for status in [
        200, 201, 204, 301, 302, 303, 307, 308, 403, 404, 429, 500, 503,
    ] {
        let path = format!("/api/calendar/status/{status}");
        let answer = call(&mut ada, Method::GET, &path).await;
        assert_eq!(answer.status, status);
        harmless(&answer.headers);
        assert_eq!(answer.header("etag"), "\"1\"");
        assert_eq!(answer.header("content-type"), "text/html");
        rig.api.only();
    }
    for status in [401, 407, 421] {
        let path = format!("/api/calendar/status/{status}");
        let answer = call(&mut ada, Method::GET, &path).await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.json()["code"], "upstream_refused");
        assert!(!answer.body.contains("of the API"));
        assert_eq!(answer.header("www-authenticate"), "");
    }
    assert_eq!(ada.cookies.len(), 1);
    assert!(!ada.cookies.values().any(|value| value == "planted"));
}

#[tokio::test]
async fn what_an_application_lets_pass_does_but_no_redirect() {
    let rig = ProxyRig::new().await;
    let mut ada = rig.user("ada").await;
    for (status, location) in [(201, "https://evil.example/"), (302, "")] {
        let path = format!("/api/open/status/{status}");
        let answer = call(&mut ada, Method::GET, &path).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("location"), location);
        assert_ne!(answer.header("link"), "");
        assert_eq!(answer.header("set-cookie2"), "");
    }
}

fn harmless(headers: &HeaderMap) {
    for (name, value) in NASTY {
        let mut stays = headers.get_all(name).iter();
        assert!(stays.all(|it| it != value), "{name}");
    }
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cross-origin-resource-policy"], "same-origin");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("sandbox") && policy.contains("default-src 'none'"));
}

/// By a socket, as no client of ours would write it.
#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_read_in_none() {
    let rig = ProxyRig::new().await;
    let ada = rig.user("ada").await;
    let before = rig.stored().await;
    let address = serve(ada.router.clone()).await;
    let cookies = ada
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let cookies = cookies.collect::<Vec<_>>().join("; ");
    let page = format!(
        "Host: app.example.com\r\nCookie: {cookies}\r\nSec-Fetch-Site: same-origin\r\n\
         X-CSRF: 1\r\nConnection: close\r\n"
    );
    let smuggled = "0\r\n\r\nGET /v3/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = "Content-Length: 5\r\n";
    for (line, fields, body) in [
        (
            "POST /api/calendar/x HTTP/1.1",
            format!("{length}Content-Length: 6\r\n"),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Content-Length: 5, 5\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Content-Length: +5\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Content-Length: 0x5\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Content-Length: -1\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Content-Length : 5\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Transfer-Encoding: xchunked\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Transfer-Encoding : chunked\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            format!("{length}Transfer-Encoding: identity\r\n"),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "Transfer-Encoding: chunked, identity\r\n".into(),
            smuggled,
        ),
        (
            "POST /api/calendar/x HTTP/1.1",
            "X: a\r\n Transfer-Encoding: chunked\r\n".into(),
            smuggled,
        ),
        ("POST /api/calendar/x HTTP/1.1", "X\r\n".into(), ""),
        ("POST /api/calendar/x HTTP/1.1", "X Y: 1\r\n".into(), ""),
        ("POST /api/calendar/x HTTP/1.1", "X: a\0b\r\n".into(), ""),
        ("GET /api/calendar/x HTTP/1.1 HTTP/1.1", String::new(), ""),
        ("GET /api/calendar/x HTTP/9.9", String::new(), ""),
        ("GET /api/calendar/a b HTTP/1.1", String::new(), ""),
        ("GET /api/calendar/a\\..\\x HTTP/1.1", String::new(), ""),
        ("GET /api/calendar/a\tb HTTP/1.1", String::new(), ""),
        ("GET /api/calendar/a\0b HTTP/1.1", String::new(), ""),
        ("GET /api/calendar/caf\u{e9} HTTP/1.1", String::new(), ""),
        (
            "GET http://evil.example/api/calendar/../x HTTP/1.1",
            String::new(),
            "",
        ),
        ("GET //evil.example/x HTTP/1.1", String::new(), ""),
        ("CONNECT evil.example:443 HTTP/1.1", String::new(), ""),
        ("CONNECT /api/calendar/x HTTP/1.1", String::new(), ""),
        ("GET http://evil.example HTTP/1.1", String::new(), ""),
        ("GET * HTTP/1.1", String::new(), ""),
        (
            "GET /api/calendar/x HTTP/1.1",
            "Upgrade: websocket\r\nConnection: Upgrade\r\n".into(),
            "",
        ),
    ] {
        let request = format!("{line}\r\n{page}{fields}\r\n{body}");
        let answer = answered(connection(address, request.as_bytes()).await).await;
        assert!(!answer.contains("HTTP/1.1 2"), "{line} {fields}: {answer}");
        assert_eq!(rig.api.seen().len(), 0, "{line} {fields}: {answer}");
    }
    assert_eq!(rig.stored().await, before);

    // hyper goes by the chunks, or by two lengths that are one (RFC 9112 section 6.3), and so does
    // what goes on: what stands behind them is no part of it.
    for (fields, sent) in [
        (format!("{length}{chunked}"), None),
        (format!("{chunked}{length}"), None),
        (format!("{length}{length}"), Some("5")),
    ] {
        let request = format!("POST /api/calendar/x HTTP/1.1\r\n{page}{fields}\r\n{smuggled}");
        answered(connection(address, request.as_bytes()).await).await;
        let seen = rig.api.only();
        let length = seen.headers.get("content-length");
        assert_eq!(
            (&*seen.target, length.map(|it| it.to_str().unwrap())),
            ("/v3/x", sent)
        );
    }
    // A server that hands both on is not believed.
    for second in ["content-length", "transfer-encoding"] {
        let both = [PAGE[0], PAGE[1], ("content-length", "5"), (second, "5")];
        let answer = ada
            .clone()
            .send(Method::POST, "/api/calendar/x", &both)
            .await;
        assert_eq!(answer.json()["code"], "invalid_length");
        assert_eq!(rig.api.seen().len(), 0);
    }

    // What goes on is one request, whatever its body looks like and whoever it says it is for.
    let body = "5\r\nGET /\r\n0\r\n\r\n";
    for request in [
        format!("POST http://evil.example/api/calendar/x HTTP/1.1\r\n{page}{chunked}\r\n{body}"),
        format!("POST /api/calendar/x#y HTTP/1.1\r\n{page}{length}\r\nGET /"),
    ] {
        let answer = answered(connection(address, request.as_bytes()).await).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = rig.api.only();
        assert_eq!(seen.target, "/v3/x");
        assert_eq!(
            format!("http://{}", seen.headers["host"].to_str().unwrap()),
            rig.api.origin()
        );
    }
}
