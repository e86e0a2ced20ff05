//! Mesh's API, as far as a service that holds its users' tokens has to speak it.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::broker::MeshBroker;
use super::ledger::{Account, Asked, Issued, Refreshed, Refused};
use super::result::{Problem, ok, refusal};
use super::schema::{Field, check};
use super::{App, fields};
use crate::testkit::wire::{Answer, HangUp, Omit};

pub(super) const LINK_TOKEN: &str = "/api/v1/linktoken";
pub(super) const REFRESH: &str = "/api/v1/token/refresh";
/// Where a redirect points: the same without its fault.
pub(super) const MOVED: &str = "/api/v1/token/refresh/moved";
pub(super) const ACCOUNT: &str = "/api/v1/account";
pub(super) const HOLDINGS: &str = "/api/v1/holdings/get";

/// No request comes near this.
const LIMIT: usize = 64 * 1024;

/// A request by the client, with the documented fields.
async fn read(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
    fields: &[Field],
) -> Result<Value, Problem> {
    let body = json_body(headers, body).await;
    let is = |name, value: &str| {
        let said = headers
            .get(name)
            .map_or(&b""[..], http::HeaderValue::as_bytes);
        bool::from(said.ct_eq(value.as_bytes()))
    };
    if !is("x-client-id", &app.book.client_id) || !is("x-client-secret", &app.book.client_secret) {
        return Err(Problem::Unauthenticated);
    }
    let body = body?;
    check(fields, &body).map_err(Problem::Rejected)?;
    Ok(body)
}

/// The body, read to its end: a client that is still sending may not see an answer.
pub(super) async fn json_body(headers: &HeaderMap, body: Incoming) -> Result<Value, Problem> {
    let rejected = |why: &str| Problem::Rejected(why.to_owned());
    let body = Limited::new(body, LIMIT).collect().await;
    let body = body.map_err(|_| rejected("the body is too long or broken"))?;
    let media_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = media_type.and_then(|it| it.split(';').next());
    if !media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json")) {
        return Err(rejected("the body is not application/json"));
    }
    serde_json::from_slice(&body.to_bytes()).map_err(|_| rejected("the body is not JSON"))
}

pub(super) async fn link_token(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let asked = read(app, headers, body, fields::LINK_TOKEN).await;
    answer(
        app,
        asked.map(|asked| {
            let user = text(&asked, "userId");
            app.tally.add(Some(user), |counts| counts.link_tokens += 1);
            json!({ "linkToken": app.links.open(user, app), "paymentLink": null })
        }),
    )
}

/// A request to refresh, under the fault in force.
pub(super) async fn refresh(
    app: &App,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Response<Answer>, HangUp> {
    let asked = read(app, headers, body, fields::REFRESH).await;
    let count = |count: fn(&mut super::MeshCounts)| app.count(presented(&asked), count);
    count(|counts| counts.refresh_requests += 1);
    let turned_away = || count(|counts| counts.refreshes_failed += 1);
    let process = |omit| exchange(app, &asked, omit);
    app.faults.around(MOVED, turned_away, process).await
}

/// A request to refresh that followed a redirect.
pub(super) async fn moved(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let asked = read(app, headers, body, fields::REFRESH).await;
    app.count(presented(&asked), |counts| {
        counts.refresh_requests += 1;
        counts.redirects_followed += 1;
    });
    exchange(app, &asked, Omit::Nothing)
}

fn presented(asked: &Result<Value, Problem>) -> Option<&str> {
    asked.as_ref().ok()?["refreshToken"].as_str()
}

fn exchange(app: &App, asked: &Result<Value, Problem>, omit: Omit) -> Response<Answer> {
    let outcome = asked.clone().and_then(|asked| {
        let code = app.code.lock().clone();
        let asked = Asked {
            broker: text(&asked, "type"),
            refresh: text(&asked, "refreshToken"),
            access: said(&asked, "accessToken"),
            renew: asked["createNewRefreshToken"] == true,
            code: said(&asked, "mfaCode"),
        };
        let (terms, now) = (app.terms, app.clock.now());
        let refreshed = app.book.change(|ledger| {
            ledger.refresh(&asked, code.as_deref(), &terms, now, &mut super::mint)
        })?;
        Ok(refreshed)
    });
    app.count(presented(asked), |counts| match &outcome {
        Ok(Refreshed::Succeeded(_)) => counts.refreshes_ok += 1,
        Ok(Refreshed::CodeWanted(_)) => counts.codes_wanted += 1,
        Ok(Refreshed::CodeRefused) | Err(_) => {
            counts.refreshes_failed += 1;
            let reused = matches!(outcome, Err(Problem::Token(Refused::Reused)));
            counts.reuse_detected += u64::from(reused);
        }
    });
    let content = outcome.map(|refreshed| match refreshed {
        Refreshed::Succeeded(issued) => succeeded(&issued, omit),
        Refreshed::CodeWanted(access) => json!({
            "status": "mfaRequired",
            "errorMessage": null,
            "account": null,
            "accessToken": access,
            "refreshToken": null,
            "expiresInSeconds": app.terms.access_ttl.as_secs(),
            "refreshTokenExpiresInSeconds": null,
            "brokerAccountTokens": [
                { "account": null, "accessToken": access, "refreshToken": null, "tokenId": null },
            ],
        }),
        Refreshed::CodeRefused => json!({
            "status": "failed",
            "errorMessage": "The code is wrong, or not for this access token",
            "account": null,
            "accessToken": null,
            "refreshToken": null,
            "expiresInSeconds": null,
            "refreshTokenExpiresInSeconds": null,
            "brokerAccountTokens": null,
        }),
    });
    answer(app, content)
}

/// `B2BBrokerRefreshTokenResponse`.
fn succeeded(issued: &Issued, omit: Omit) -> Value {
    let tokens = issued.accounts.iter().map(|(account, access)| {
        json!({
            "account": broker_account(account),
            "accessToken": access,
            "refreshToken": issued.refresh,
            "tokenId": account.token_id,
        })
    });
    let tokens: Vec<_> = tokens.collect();
    let mut content = json!({
        "status": "succeeded",
        "errorMessage": null,
        // Deprecated: the first of the accounts.
        "account": tokens.first().map(|first| &first["account"]),
        "accessToken": tokens.first().map(|first| &first["accessToken"]),
        "refreshToken": issued.refresh,
        "refreshTokenExpiresInSeconds": issued.refresh_expires_in.as_secs(),
        "brokerAccountTokens": tokens,
    });
    if omit == Omit::Nothing {
        content["expiresInSeconds"] = issued.expires_in.as_secs().into();
    }
    content
}

/// `BrokerAccount`.
fn broker_account(account: &Account) -> Value {
    json!({
        "meshAccountId": account.mesh_id,
        "frontAccountId": account.mesh_id,
        "accountId": account.id,
        "accountName": account.name,
        "fund": account.fund,
        "cash": account.cash,
        "isReconnected": account.reconnected,
        "balances": [{
            "symbol": "USD",
            "buyingPower": account.fund,
            "cryptoBuyingPower": account.fund,
            "cash": account.cash,
        }],
    })
}

pub(super) async fn remove(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let asked = read(app, headers, body, fields::REMOVE).await;
    let outcome = asked.and_then(|asked| {
        let (token, broker) = (text(&asked, "authToken"), text(&asked, "type"));
        let now = app.clock.now();
        let removed = app.book.change(|ledger| ledger.remove(token, broker, now));
        app.count(Some(token), |counts| match removed {
            Ok(()) => counts.removals += 1,
            Err(_) => counts.dead_tokens += 1,
        });
        Ok(removed?)
    });
    answer(app, outcome.map(|()| Value::Null))
}

pub(super) async fn holdings(app: &App, headers: &HeaderMap, body: Incoming) -> Response<Answer> {
    let asked = read(app, headers, body, fields::HOLDINGS).await;
    let outcome = asked.and_then(|asked| {
        let (token, broker) = (text(&asked, "authToken"), text(&asked, "type"));
        let now = app.clock.now();
        let shown = app.book.read(|ledger| {
            let (_, account) = ledger.open(token, broker, now)?;
            Ok::<_, Refused>(portfolio(
                account,
                broker,
                asked["includeMarketValue"] == true,
            ))
        });
        app.count(Some(token), |counts| match shown {
            Ok(_) => counts.holdings += 1,
            Err(_) => counts.dead_tokens += 1,
        });
        Ok(shown?)
    });
    answer(app, outcome)
}

/// `HoldingsModel`.
fn portfolio(account: &Account, broker: &str, with_value: bool) -> Value {
    let price = with_value.then_some(2_500.0);
    let amount = 0.25;
    json!({
        "status": "succeeded",
        "errorMessage": null,
        "displayMessage": null,
        "notSupportedEquityPositions": [],
        "notSupportedCryptocurrencyPositions": [],
        "nftPositions": [],
        "optionPositions": [],
        "type": broker,
        "accountId": account.id,
        "institutionName": MeshBroker::of_type(broker).map(MeshBroker::name),
        "accountName": account.name,
        "equityPositions": [],
        "cryptocurrencyPositions": [{
            "name": "Ether",
            "symbol": "ETH",
            "amount": amount,
            "costBasis": null,
            "distribution": null,
            "marketValue": price.map(|price| price * amount),
            "lastPrice": price,
        }],
    })
}

/// The answer to what came of a request, once that is kept.
fn answer(app: &App, outcome: Result<Value, Problem>) -> Response<Answer> {
    let outcome = match outcome {
        Ok(_) if app.book.is_behind() => Err(Problem::Unsaved),
        other => other,
    };
    match outcome {
        Ok(content) => ok(content),
        Err(problem) => {
            app.tally.add(None, |counts| match problem {
                Problem::Unauthenticated => counts.unauthenticated += 1,
                Problem::Rejected(_) => counts.rejected += 1,
                Problem::Token(_) | Problem::Unsaved => {}
            });
            refusal(&problem)
        }
    }
}

pub(super) fn not_found() -> Response<Answer> {
    crate::testkit::wire::status(StatusCode::NOT_FOUND)
}

/// A field that is there, since it was checked.
fn text<'a>(asked: &'a Value, name: &str) -> &'a str {
    asked[name].as_str().unwrap_or_default()
}

/// A field that may be there.
fn said<'a>(asked: &'a Value, name: &str) -> Option<&'a str> {
    asked[name].as_str().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::super::test_client::{Caller, tokens};
    use super::*;
    use crate::testkit::{Fault, ManualClock, MeshServer};

    #[tokio::test]
    async fn two_accounts_are_refreshed_by_one_token() {
        let builder = MeshServer::builder().clock(ManualClock::new());
        let server = builder.start().unwrap();
        let caller = Caller::new(&server);
        let payload = server.connect("ada", MeshBroker::Northwind);
        let [one, _] = &tokens(&payload)[..] else {
            panic!("not two accounts");
        };
        let refresh = one["refreshToken"].clone();
        let asked = json!({ "type": "sandbox", "refreshToken": refresh });
        let reply = caller.post(REFRESH, &asked).await;
        let content = &reply.json()["content"];
        assert_eq!(content["status"], "succeeded");
        assert_eq!(content["expiresInSeconds"], 60);
        assert_eq!(content["refreshTokenExpiresInSeconds"], 30 * 86_400);
        let entries = content["brokerAccountTokens"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0]["refreshToken"], entries[1]["refreshToken"]);
        assert_ne!(entries[0]["refreshToken"], refresh);
        assert_eq!(content["accessToken"], entries[0]["accessToken"]);

        let holdings = json!({ "type": "sandbox", "authToken": entries[1]["accessToken"] });
        let reply = caller.post(HOLDINGS, &holdings).await;
        assert_eq!(
            reply.json()["content"]["accountId"],
            one["account"]["accountId"]
        );

        // A second use ends it all.
        let reply = caller.post(REFRESH, &asked).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(reply.json()["message"], "Unauthorized token");
        let reply = caller.post(HOLDINGS, &holdings).await;
        assert_eq!(reply.json()["message"], "Unauthorized token");
        assert!(!server.is_connected("ada", MeshBroker::Northwind));
        let counts = server.counts_of("ada");
        assert_eq!((counts.refresh_requests, counts.refreshes_ok), (2, 1));
        assert_eq!((counts.refreshes_failed, counts.reuse_detected), (1, 1));
        assert_eq!((counts.holdings, counts.dead_tokens), (1, 1));
    }

    #[tokio::test]
    async fn what_is_not_documented_is_rejected_and_changes_nothing() {
        let server = MeshServer::start().unwrap();
        let caller = Caller::new(&server);
        let payload = server.connect("ada", MeshBroker::Northwind);
        let one = &tokens(&payload)[0];
        let (refresh, access) = (&one["refreshToken"], &one["accessToken"]);
        for (path, body, message) in [
            (
                REFRESH,
                json!({ "type": "sandbox" }),
                "refreshToken is missing",
            ),
            (
                REFRESH,
                json!({ "type": "sandbox", "refreshToken": refresh, "refresh_token": "x" }),
                "refresh_token is not a known field",
            ),
            (
                REFRESH,
                json!({ "type": "lakeside", "refreshToken": refresh }),
                "The token is of another type",
            ),
            (HOLDINGS, json!({ "authToken": access }), "type is missing"),
            (
                HOLDINGS,
                json!({ "authToken": access, "type": "sandbox", "accountId": "x" }),
                "accountId is not a known field",
            ),
            (LINK_TOKEN, json!({}), "userId is missing"),
            (
                LINK_TOKEN,
                json!({ "userId": "x".repeat(301) }),
                "userId has to be 1 to 300 characters long",
            ),
        ] {
            let reply = caller.post(path, &body).await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{message}");
            assert_eq!(reply.json()["status"], "badRequest");
            assert_eq!(reply.json()["message"], message);
        }
        assert_eq!(server.counts().rejected, 6);

        let body = json!({ "type": "sandbox", "refreshToken": refresh });
        for (id, secret) in [("x", server.client_secret()), (server.client_id(), "x")] {
            let request = Request::post(format!("{}{REFRESH}", server.base_url()));
            let reply = caller.send_as(id, secret, request, &body).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(server.counts().unauthenticated, 2);
        assert_eq!(server.counts().refreshes_ok, 0);
        let reply = caller.post(REFRESH, &body).await;
        assert_eq!(reply.status, StatusCode::OK);
        let reply = caller.get("/api/v1/token/refresh").await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(caller.get("/").await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_removed_account_is_gone() {
        let server = MeshServer::start().unwrap();
        let caller = Caller::new(&server);
        let payload = server.connect("ada", MeshBroker::Lakeside);
        let token = &tokens(&payload)[0]["accessToken"];
        let body = json!({ "type": "lakeside", "authToken": token });
        let reply = caller.delete(ACCOUNT, &body).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.json()["status"], "ok");
        assert!(reply.json().get("content").is_none());
        assert!(!server.is_connected("ada", MeshBroker::Lakeside));
        let reply = caller.delete(ACCOUNT, &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert_eq!(server.counts_of("ada").removals, 1);
    }

    #[tokio::test]
    async fn faults_strike_refreshes_only() {
        let server = MeshServer::start().unwrap();
        let caller = Caller::new(&server);
        let payload = server.connect("ada", MeshBroker::Northwind);
        let token = tokens(&payload)[0]["refreshToken"].clone();
        let body = json!({ "type": "sandbox", "refreshToken": token });
        server.set_fault(Fault::status(503).times(1));
        let reply = caller.post(REFRESH, &body).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(server.counts().refreshes_failed, 1);

        server.set_fault(Fault::without_expires_in().times(1));
        let content = caller.post(REFRESH, &body).await.json()["content"].take();
        assert!(content.get("expiresInSeconds").is_none());
        server.set_fault(Fault::lost_answer());
        let body = json!({ "type": "sandbox", "refreshToken": content["refreshToken"] });
        assert!(caller.try_post(REFRESH, &body).await.is_err());
        assert_eq!(server.counts().refreshes_ok, 2);
        let link = json!({ "userId": "ada" });
        assert_eq!(caller.post(LINK_TOKEN, &link).await.status, StatusCode::OK);
    }
}
