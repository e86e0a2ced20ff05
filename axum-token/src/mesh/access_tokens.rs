//! `POST /access-tokens`

use std::collections::HashSet;

use axum::extract::State;
use axum_core::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower_token::{Account, Error, Grant};

use super::MeshRoutes;
use super::answer::{self, Refusal};
use super::body::{self, Sent};
use super::connections::{broker_name, broker_type};
use crate::rejection::TokenRejection;
use crate::state::TokenState;
use crate::visitor::CurrentSubject;

impl MeshRoutes {
    /// The tokens of every connection that has any. Where none has, because of something that
    /// may pass, this says so; one that needs its user is left out.
    pub(super) async fn access_tokens(
        &self,
        user: CurrentSubject,
        State(state): State<TokenState>,
        body: Sent,
    ) -> Result<Response, Refusal> {
        body::empty(body)?;
        let held = self.held(state.manager(), &user).await?;
        let mut failed = None;
        let mut seen = HashSet::new();
        let mut tokens = Vec::new();
        // An account that was connected again stands with the later connection.
        for (grant, accounts) in self.fetch(&state, &held).await.into_iter().rev() {
            match accounts {
                Ok(accounts) => tokens.extend(
                    accounts
                        .iter()
                        .filter(|it| seen.insert((broker_type(grant), it.id().to_owned())))
                        .filter_map(|account| shown(grant, account)),
                ),
                Err(error) => failed = worse(failed, error.into()),
            }
        }
        match failed {
            Some(failed) if tokens.is_empty() => Err(failed.into()),
            failed => {
                let mut answer = json!({ "accessTokens": tokens });
                if failed.is_some() {
                    answer["incomplete"] = Value::Bool(true);
                }
                Ok(answer::json(StatusCode::OK, &answer))
            }
        }
    }

    /// Of all connections at once: each may have to be refreshed.
    async fn fetch<'a>(
        &self,
        state: &TokenState,
        held: &'a [Grant],
    ) -> Vec<(&'a Grant, Result<Vec<Account>, Error>)> {
        let mut asked = JoinSet::new();
        for (at, grant) in held.iter().enumerate() {
            let (manager, key) = (state.manager().clone(), grant.key().clone());
            let validity = self.min_validity;
            asked.spawn(async move { (at, manager.accounts(&key, validity).await) });
        }
        let mut answers = Vec::new();
        while let Some(answered) = asked.join_next().await {
            answers.extend(answered);
        }
        answers.sort_by_key(|(at, _)| *at);
        let found = answers.into_iter();
        found
            .filter_map(|(at, accounts)| Some((held.get(at)?, accounts)))
            .collect()
    }
}

/// Which of two failures is told: what an operator has to look at first. What the user has to
/// do something about stands in the list of connections.
fn worse(failed: Option<TokenRejection>, other: TokenRejection) -> Option<TokenRejection> {
    match (&failed, &other) {
        (_, TokenRejection::LoginRequired(_)) | (Some(TokenRejection::Misconfigured(_)), _) => {
            failed
        }
        _ => Some(other),
    }
}

fn shown(grant: &Grant, account: &Account) -> Option<Value> {
    Some(json!({
        "accountId": account.id(),
        "accountName": account.name().unwrap_or_default(),
        "accessToken": account.access_token()?.expose(),
        "brokerType": broker_type(grant),
        "brokerName": broker_name(grant),
    }))
}
