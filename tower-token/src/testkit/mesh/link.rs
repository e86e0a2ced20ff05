//! Link: the page in which users connect, and what is behind it.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::App;
use super::api::json_body;
use super::broker::MeshBroker;
use super::payload::{access_token_payload, delayed_payload};
use super::result::{Problem, ok, refusal};
use super::schema::{Field, Kind, check, optional, required};
use crate::clock::Timestamp;
use crate::testkit::wire::{Answer, no_store, status, with_body};

pub(super) const PAGE: &str = "/link/";
pub(super) const STYLE: &str = "/link/page.css";
pub(super) const SCRIPT: &str = "/link/page.js";
pub(super) const CONNECT: &str = "/link/connect";
pub(super) const VERIFY: &str = "/link/verify";

/// By which a page shows that it is one of ours.
const PAGE_KEY: &str = "x-page-key";

/// How long a link token, and then its page, is good for.
const LIFE: Duration = Duration::from_secs(30 * 60);

const ANY: usize = usize::MAX;

const CONNECT_FIELDS: &[Field] = &[
    required("brokerType", Kind::Text(1, ANY)),
    required("userName", Kind::Text(1, 100)),
    required("later", Kind::Bool),
];

const VERIFY_FIELDS: &[Field] = &[required("accessTokens", Kind::Objects(ACCESS_TOKEN))];

/// `IntegrationAccessToken` of `@meshconnect/web-link-sdk`.
const ACCESS_TOKEN: &[Field] = &[
    required("accountId", Kind::Text(1, ANY)),
    required("accountName", Kind::Text(0, ANY)),
    required("accessToken", Kind::Text(1, ANY)),
    required("brokerType", Kind::Text(1, ANY)),
    optional("brokerName", Kind::Text(0, ANY)),
];

/// The links that were handed out, by what stands in their URL, and the pages that were
/// opened with one, by their key.
#[derive(Default)]
pub(super) struct Links {
    unopened: Mutex<HashMap<String, Link>>,
    pages: Mutex<HashMap<String, Link>>,
}

#[derive(Clone)]
struct Link {
    user: String,
    ends: Timestamp,
}

impl Links {
    /// A link token for `user`: the URL of a page that can be opened once.
    pub(super) fn open(&self, user: &str, app: &App) -> String {
        let id = super::mint();
        let url = format!("{}{PAGE}{id}", app.base_url);
        let ends = app.clock.now() + LIFE;
        let link = Link {
            user: user.to_owned(),
            ends,
        };
        keep(&self.unopened, id, link, app.clock.now());
        BASE64_STANDARD.encode(url)
    }

    /// Whose page it is, by its key.
    fn user_of(&self, headers: &HeaderMap, now: Timestamp) -> Option<String> {
        let key = headers.get(PAGE_KEY)?.to_str().ok()?;
        let pages = self.pages.lock();
        let link = pages.get(key).filter(|link| now < link.ends)?;
        Some(link.user.clone())
    }
}

fn keep(links: &Mutex<HashMap<String, Link>>, id: String, link: Link, now: Timestamp) {
    let mut links = links.lock();
    links.retain(|_, link| now < link.ends);
    links.insert(id, link);
}

/// The page of a link that was not opened before.
pub(super) fn page(app: &App, id: &str) -> Response<Answer> {
    let now = app.clock.now();
    let link = app.links.unopened.lock().remove(id);
    let Some(link) = link.filter(|link| now < link.ends) else {
        let gone = include_str!("page/gone.html");
        return framed(app, html(StatusCode::GONE, gone.to_owned()));
    };
    app.tally
        .add(Some(&link.user), |counts| counts.links_opened += 1);
    let key = super::mint();
    keep(&app.links.pages, key.clone(), link, now);
    let brokers = MeshBroker::ALL.map(|it| json!({ "type": it.broker_type(), "name": it.name() }));
    let setup = json!({ "key": key, "parents": &*app.parents.lock(), "brokers": brokers });
    // Within a script element only "</" would end it.
    let setup = setup.to_string().replace('<', "\\u003c");
    let page = include_str!("page/page.html").replace("SETUP", &setup);
    framed(app, html(StatusCode::OK, page))
}

pub(super) fn style() -> Response<Answer> {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

pub(super) fn script() -> Response<Answer> {
    file(
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    )
}

/// Connects the page's user: answers the message that the page has for its parent.
pub(super) async fn connect(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    behind(app, headers, body, CONNECT_FIELDS, |user, asked| {
        let broker = asked["brokerType"].as_str().and_then(MeshBroker::of_type);
        let broker = broker.ok_or_else(|| Problem::Rejected("no such broker".to_owned()))?;
        Ok(if asked["later"] == true {
            json!({
                "type": "delayedAuthentication",
                "payload": delayed_payload(broker, &app.connect_later(user, broker), &app.terms),
            })
        } else {
            json!({
                "type": "brokerageAccountAccessToken",
                "payload": access_token_payload(broker, &app.connect(user, broker)),
            })
        })
    })
    .await
}

/// Whether access tokens that the parent handed over are good, and the page's user's own.
pub(super) async fn verify(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    behind(app, headers, body, VERIFY_FIELDS, |user, asked| {
        let tokens = asked["accessTokens"].as_array();
        let tokens = tokens.filter(|tokens| !tokens.is_empty());
        let tokens = tokens.ok_or_else(|| Problem::Rejected("no access token".to_owned()))?;
        let accounts: Result<Vec<_>, _> = tokens
            .iter()
            .map(|token| verified(app, user, token))
            .collect();
        Ok(json!({ "accounts": accounts? }))
    })
    .await
}

fn verified(app: &App, user: &str, token: &Value) -> Result<Value, Problem> {
    let text = |name: &str| token[name].as_str().unwrap_or_default();
    let now = app.clock.now();
    let (access, broker) = (text("accessToken"), text("brokerType"));
    let account = app.book.read(|ledger| {
        let (owner, account) = ledger.open(access, broker, now).ok()?;
        let same = owner == user && account.id == text("accountId");
        same.then(|| json!({ "accountId": account.id, "accountName": account.name }))
    });
    app.tally.add(Some(user), |counts| match account {
        Some(_) => counts.tokens_verified += 1,
        None => counts.tokens_refused += 1,
    });
    let mut account = account.ok_or(super::ledger::Refused::Dead)?;
    account["brokerName"] = MeshBroker::of_type(broker).map(MeshBroker::name).into();
    Ok(account)
}

/// A request of an open page.
async fn behind(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
    fields: &[Field],
    answer: impl FnOnce(&str, &Value) -> Result<Value, Problem>,
) -> Response<Answer> {
    let body = json_body(headers, body).await;
    let answered = body.and_then(|body| {
        let user = app.links.user_of(headers, app.clock.now());
        let user = user.ok_or(Problem::Unauthenticated)?;
        check(fields, &body).map_err(Problem::Rejected)?;
        let content = answer(&user, &body)?;
        if app.book.is_behind() {
            return Err(Problem::Unsaved);
        }
        Ok(content)
    });
    match answered {
        Ok(content) => ok(content),
        Err(problem) => refusal(&problem),
    }
}

fn html(code: StatusCode, text: String) -> Response<Answer> {
    with_body(code, "text/html; charset=utf-8", text)
}

fn file(media_type: &'static str, text: &'static str) -> Response<Answer> {
    let mut answer = with_body(StatusCode::OK, media_type, text);
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Only the named parents may have the page in a frame, and it loads nothing from elsewhere.
fn framed(app: &App, answer: Response<Answer>) -> Response<Answer> {
    let mut answer = no_store(answer);
    let parents = app.parents.lock();
    let parents = match parents.len() {
        0 => "'none'".to_owned(),
        _ => parents.join(" "),
    };
    let policy = format!(
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors {parents}"
    );
    let headers = answer.headers_mut();
    match HeaderValue::try_from(policy) {
        Ok(policy) => {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            answer
        }
        // An origin is ASCII, so this does not happen; without the policy there is no page.
        Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_client::{Caller, tokens};
    use super::*;
    use crate::testkit::wire::test_client::Reply;
    use crate::testkit::{ManualClock, MeshServer};

    const PARENT: &str = "http://127.0.0.1:3000";

    async fn opened(caller: &Caller<'_>, user: &str) -> (String, Reply) {
        let asked = json!({ "userId": user });
        let reply = caller.post("/api/v1/linktoken", &asked).await.json();
        let token = reply["content"]["linkToken"].as_str().unwrap();
        let url = String::from_utf8(BASE64_STANDARD.decode(token).unwrap()).unwrap();
        let page = caller.get(&url).await;
        (url, page)
    }

    fn setup(page: &Reply) -> Value {
        let page = std::str::from_utf8(&page.body).unwrap();
        let (_, rest) = page.split_once("id=\"setup\">").unwrap();
        let (setup, _) = rest.split_once("</script>").unwrap();
        serde_json::from_str(setup).unwrap()
    }

    #[tokio::test]
    async fn a_link_opens_once_and_only_for_its_parents() {
        let clock = ManualClock::new();
        let server = MeshServer::builder()
            .clock(clock.clone())
            .parent_origin("http://LOCALHOST:3000/")
            .start()
            .unwrap();
        server.allow_parent(PARENT).unwrap();
        assert!(server.allow_parent("*").is_err());
        let caller = Caller::new(&server);
        let (url, page) = opened(&caller, "ada").await;
        assert_eq!(page.status, StatusCode::OK);
        let policy = page.header(CONTENT_SECURITY_POLICY);
        let ancestors = "frame-ancestors http://localhost:3000 http://127.0.0.1:3000";
        assert!(policy.ends_with(ancestors), "{policy}");
        let setup = setup(&page);
        assert_eq!(setup["parents"], json!(["http://localhost:3000", PARENT]));
        assert_eq!(setup["brokers"][1]["type"], "lakeside");

        assert_eq!(caller.get(&url).await.status, StatusCode::GONE);
        assert_eq!(caller.get("/link/x").await.status, StatusCode::GONE);
        let asked = json!({ "userId": "ada" });
        let late = caller.post("/api/v1/linktoken", &asked).await.json();
        clock.advance(LIFE);
        let late = late["content"]["linkToken"].as_str().unwrap();
        let late = String::from_utf8(BASE64_STANDARD.decode(late).unwrap()).unwrap();
        assert_eq!(caller.get(&late).await.status, StatusCode::GONE);
        for path in [STYLE, SCRIPT] {
            let file = caller.get(path).await;
            assert_eq!(file.header(X_CONTENT_TYPE_OPTIONS), "nosniff");
        }
        assert_eq!(server.counts_of("ada").links_opened, 1);
    }

    #[tokio::test]
    async fn without_a_parent_nobody_may_frame_it() {
        let server = MeshServer::start().unwrap();
        let (_, page) = opened(&Caller::new(&server), "ada").await;
        let policy = page.header(CONTENT_SECURITY_POLICY);
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
    }

    #[tokio::test]
    async fn a_page_connects_its_user() {
        let server = MeshServer::start().unwrap();
        let caller = Caller::new(&server);
        let (_, page) = opened(&caller, "ada").await;
        let key = setup(&page)["key"].as_str().unwrap().to_owned();
        let login = |later| json!({ "brokerType": "sandbox", "userName": "a", "later": later });
        let message = caller.behind(&key, CONNECT, &login(false)).await.json();
        let message = &message["content"];
        assert_eq!(message["type"], "brokerageAccountAccessToken");
        let fields: Vec<_> = message["payload"].as_object().unwrap().keys().collect();
        assert_eq!(
            fields,
            [
                "accountTokens",
                "brokerBrandInfo",
                "brokerName",
                "brokerType",
                "expiresInSeconds",
                "refreshTokenExpiresInSeconds",
            ]
        );
        assert!(server.is_connected("ada", MeshBroker::Northwind));
        let message = caller.behind(&key, CONNECT, &login(true)).await.json();
        assert_eq!(message["content"]["type"], "delayedAuthentication");
        assert_eq!(server.counts_of("ada").connections, 2);

        let reply = caller.behind("x", CONNECT, &login(false)).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        let other = json!({ "brokerType": "other", "userName": "a", "later": false });
        let reply = caller.behind(&key, CONNECT, &other).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn tokens_are_verified_for_the_pages_user() {
        let server = MeshServer::start().unwrap();
        let caller = Caller::new(&server);
        let payload = server.connect("ada", MeshBroker::Northwind);
        let handed: Vec<_> = tokens(&payload)
            .iter()
            .map(|token| {
                json!({
                    "accountId": token["account"]["accountId"],
                    "accountName": token["account"]["accountName"],
                    "accessToken": token["accessToken"],
                    "brokerType": "sandbox",
                    "brokerName": "Northwind Exchange",
                })
            })
            .collect();
        let with = |change: fn(&mut Value)| {
            let mut handed = handed.clone();
            change(&mut handed[1]);
            json!({ "accessTokens": handed })
        };
        for (user, body, good) in [
            ("ada", with(|_| ()), true),
            ("bob", with(|_| ()), false),
            ("ada", with(|token| token["accountId"] = "x".into()), false),
            (
                "ada",
                with(|token| token["accessToken"] = "x".into()),
                false,
            ),
            (
                "ada",
                with(|token| token["brokerType"] = "lakeside".into()),
                false,
            ),
            ("ada", json!({ "accessTokens": [] }), false),
        ] {
            let (_, page) = opened(&caller, user).await;
            let setup = setup(&page);
            let key = setup["key"].as_str().unwrap();
            let reply = caller.behind(key, VERIFY, &body).await;
            assert_eq!(reply.status.is_success(), good, "{user} {body}");
        }
        assert_eq!(server.counts_of("ada").tokens_refused, 3);
        assert_eq!(server.counts_of("bob").tokens_verified, 0);
    }
}
