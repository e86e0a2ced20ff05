//! What the users hold: the service's own calls of Mesh's API, each with its account's token.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt as _};
use tower_token::{
    Account, Clock as _, CloneBody, Grant, JsonBody, SystemClock, TokenLayer, TokenManager,
    TokenRequest, TokenService, TokenServiceError,
};

type Mesh = TokenService<Client<HttpConnector, Full<Bytes>>, CloneBody, JsonBody>;

/// A client of Mesh's API that puts the right token into every request.
#[derive(Debug)]
pub(crate) struct Balances {
    manager: TokenManager,
    mesh: Mesh,
    api: Api,
    clock: SystemClock,
}

/// Where Mesh's API is, and who asks.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
}

/// What one connection holds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connection {
    id: String,
    accounts: Vec<AccountBalance>,
    problem: Option<String>,
    took_ms: u128,
}

#[derive(Debug, Serialize)]
struct AccountBalance {
    name: String,
    holdings: Vec<Holding>,
}

#[derive(Debug, Serialize)]
struct Holding {
    symbol: String,
    amount: f64,
}

impl Balances {
    pub(crate) fn new(manager: &TokenManager, api: Api) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http();
        let tokens = TokenLayer::new(manager).place(JsonBody::field("authToken"));
        Self {
            manager: manager.clone(),
            mesh: ServiceBuilder::new().layer(tokens).service(http),
            api,
            clock: SystemClock::new(),
        }
    }

    /// Asks for every account of a grant. What goes wrong is part of the answer.
    pub(crate) async fn of(&self, grant: &Grant) -> Connection {
        let started = self.clock.now();
        let (mut accounts, mut problem) = (Vec::new(), None);
        let known = match grant.accounts() {
            // A login that was confirmed later: its first refresh says which there are.
            [] => self.manager.accounts(grant.key(), Duration::ZERO).await,
            known => Ok(known.to_vec()),
        };
        let known = known.unwrap_or_else(|error| {
            problem = Some(error.to_string());
            Vec::new()
        });
        for account in &known {
            match self.ask(grant, account).await {
                Ok(holdings) => accounts.push(AccountBalance {
                    name: account.name().unwrap_or(account.id()).to_owned(),
                    holdings,
                }),
                Err(what) => problem = Some(what),
            }
        }
        Connection {
            id: grant.key().connection().unwrap_or_default().to_owned(),
            accounts,
            problem,
            took_ms: self.clock.now().since(started).as_millis(),
        }
    }

    async fn ask(&self, grant: &Grant, account: &Account) -> Result<Vec<Holding>, String> {
        // The layer adds the token: nobody here has it in hand.
        let body = json!({ "type": grant.metadata().get("brokerType") }).to_string();
        let request = Request::post(format!("{}/api/v1/holdings/get", self.api.url))
            .header("content-type", "application/json")
            .header("x-client-id", &self.api.client_id)
            .header("x-client-secret", &self.api.client_secret)
            .extension(TokenRequest::new(grant.key().clone()).account(account.id()))
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let response = match self.mesh.clone().oneshot(request).await {
            Ok(response) => response,
            Err(TokenServiceError::Token(error)) => return Err(error.to_string()),
            Err(TokenServiceError::Inner(_)) => return Err(String::from("Mesh does not answer")),
        };
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|_| "Mesh stopped in the middle of its answer")?;
        if !status.is_success() {
            return Err(format!("Mesh answered {status}"));
        }
        let answer = serde_json::from_slice(&body.to_bytes());
        Ok(holdings(&answer.map_err(|_| "Mesh's answer is not JSON")?))
    }
}

/// The positions in an answer of `POST /api/v1/holdings/get`.
fn holdings(answer: &Value) -> Vec<Holding> {
    let content = &answer["content"];
    let kinds = ["equityPositions", "cryptocurrencyPositions"];
    let positions = kinds.iter().filter_map(|kind| content[kind].as_array());
    let position = |position: &Value| {
        Some(Holding {
            symbol: position["symbol"].as_str()?.to_owned(),
            amount: position["amount"].as_f64()?,
        })
    };
    positions.flatten().filter_map(position).collect()
}

/// What a grant's broker is called.
pub(crate) fn broker_name(grant: &Grant) -> String {
    let name = grant.metadata().get("brokerName");
    name.map_or("a broker", String::as_str).to_owned()
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_either_kind_are_holdings() {
        let answer = json!({ "content": {
            "cryptocurrencyPositions": [{ "symbol": "BTC", "amount": 0.5 }, { "symbol": "odd" }],
            "equityPositions": [{ "symbol": "ACME", "amount": 3 }],
        }});
        let found = holdings(&answer);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.symbol.as_str(), it.amount))
            .collect();
        assert_eq!(found, [("ACME", 3.0), ("BTC", 0.5)]);
        assert!(holdings(&json!({ "content": null })).is_empty());
    }
}
