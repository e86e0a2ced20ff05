//! `POST`, `GET` and `DELETE /connections`

use std::collections::HashSet;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum_core::body::Body;
use axum_core::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tower_token::{
    AccessToken, Account, Grant, GrantKey, GrantState, MeshGrant, Timestamp, TokenManager,
};

use super::MeshRoutes;
use super::answer::{self, Refusal};
use super::body::{self, Sent};
use super::id;
use crate::rejection::reader::Reader;
use crate::rejection::{LoginReason, TokenRejection};
use crate::state::TokenState;
use crate::visitor::CurrentSubject;

/// Nobody has more, and nobody fills the store.
const MAX_CONNECTIONS: usize = 64;

impl MeshRoutes {
    pub(super) async fn connect(
        &self,
        user: CurrentSubject,
        State(state): State<TokenState>,
        headers: HeaderMap,
        body: Sent,
    ) -> Result<Response, Refusal> {
        let payload = body::payload(&headers, body)?;
        let manager = state.manager();
        let _turn = self.turns.take(user.as_str()).await;
        let held = self.held(manager, &user).await?;
        let key = user.grant_key(&self.provider);
        let (mut keys, mut responses) = (Vec::new(), Vec::new());
        for grant in payload.grants() {
            match held.iter().find(|held| grant.is_known_to(held)) {
                // It has been handed out before: what it began with may have been spent.
                Some(known) => {
                    keys.push(known.key().clone());
                    responses.push(grant.joined_with(known));
                }
                None => {
                    keys.push(id::place(manager, &key, grant, &held, &keys));
                    responses.push(Some(grant.response()));
                }
            }
        }
        let is_held = |key: &&GrantKey| held.iter().any(|grant| grant.key() == *key);
        let new = keys.len() - keys.iter().filter(is_held).count();
        if new > 0 && held.len() + new > MAX_CONNECTIONS {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "too_many_connections",
                "a user has at most 64 connections",
            ));
        }
        for (key, response) in keys.iter().zip(responses) {
            if let Some(response) = response {
                manager.connect(key, response).await?;
            }
        }
        // Whose accounts are all connected anew. Mesh is not told: it would remove them.
        for old in held.iter().filter(|held| gives_way(held, payload.grants())) {
            if !keys.contains(old.key()) {
                manager.forget(old.key()).await?;
            }
        }
        if !user.is_signed_in().await? {
            // They left everywhere meanwhile: what was made for them has to go as well.
            for key in &keys {
                manager.disconnect(key).await?;
            }
            let left = state.login(LoginReason::Anonymous, None, Reader::Program);
            return Err(TokenRejection::LoginRequired(left).into());
        }
        let held = self.held(manager, &user).await?;
        let made = held.iter().filter(|grant| keys.contains(grant.key()));
        let made = made.map(|grant| shown(grant, &grant.accounts().iter().collect::<Vec<_>>()));
        let answer = json!({ "connections": made.collect::<Vec<_>>() });
        Ok(answer::json(StatusCode::CREATED, &answer))
    }

    pub(super) async fn list(
        &self,
        user: CurrentSubject,
        State(state): State<TokenState>,
    ) -> Result<Response, Refusal> {
        let held = self.held(state.manager(), &user).await?;
        let mut seen = HashSet::new();
        // An account that was connected again stands with the later connection.
        let listed = held.iter().rev().filter_map(|grant| {
            let accounts = grant.accounts().iter();
            let new: Vec<_> = accounts
                .filter(|account| seen.insert((broker_type(grant), account.id())))
                .collect();
            let nothing_left = new.is_empty() && !grant.accounts().is_empty();
            (!nothing_left).then(|| shown(grant, &new))
        });
        let mut listed: Vec<_> = listed.collect();
        listed.reverse();
        let answer = json!({ "connections": listed });
        Ok(answer::json(StatusCode::OK, &answer))
    }

    pub(super) async fn disconnect(
        &self,
        user: CurrentSubject,
        State(state): State<TokenState>,
        id: Result<Path<String>, PathRejection>,
    ) -> Result<Response, Refusal> {
        let held = self.held(state.manager(), &user).await?;
        let id = id.map_or_else(|_| String::new(), |Path(id)| id);
        // Among the user's own: another's id is as unknown as one that nobody has.
        let Some(grant) = held.iter().find(|grant| connection(grant.key()) == id) else {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown_connection",
                "there is no such connection, or not any more",
            ));
        };
        state.manager().disconnect(grant.key()).await?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// The user's connections, in the order in which they were made.
    pub(super) async fn held(
        &self,
        manager: &TokenManager,
        user: &CurrentSubject,
    ) -> Result<Vec<Grant>, Refusal> {
        let mut held = manager.grants(user.as_str()).await?;
        held.retain(|grant| self.is_ours(grant));
        held.sort_by(|a, b| {
            let order = |grant: &Grant| (grant.connected_at(), connection(grant.key()).to_owned());
            order(a).cmp(&order(b))
        });
        Ok(held)
    }
}

/// Whether all that `held` has is in `new`, perhaps in several.
fn gives_way(held: &Grant, new: &[MeshGrant]) -> bool {
    let accounts = held.accounts();
    !accounts.is_empty()
        && accounts.iter().all(|account| {
            new.iter().any(|new| {
                new.broker_type() == broker_type(held) && new.account_ids().contains(&account.id())
            })
        })
}

fn connection(key: &GrantKey) -> &str {
    key.connection().unwrap_or_default()
}

/// What a page may know of a connection. No token.
fn shown(grant: &Grant, accounts: &[&Account]) -> Value {
    let ends = accounts
        .iter()
        .filter_map(|account| account.access_token())
        .filter_map(AccessToken::expires_at);
    let expires_at = ends.min().or(grant.expires_at());
    json!({
        "id": connection(grant.key()),
        "brokerType": broker_type(grant),
        "brokerName": broker_name(grant),
        "state": match grant.state() {
            GrantState::Active => "active",
            _ => "needs_reauth",
        },
        "expiresAt": expires_at.map(Timestamp::as_unix_millis),
        "refreshedAt": grant.refreshed_at().as_unix_millis(),
        "accounts": accounts.iter().map(|account| json!({
            "accountId": account.id(),
            "accountName": account.name().unwrap_or_default(),
        })).collect::<Vec<_>>(),
    })
}

pub(super) fn broker_type(grant: &Grant) -> &str {
    metadata(grant, "brokerType")
}

pub(super) fn broker_name(grant: &Grant) -> &str {
    metadata(grant, "brokerName")
}

fn metadata<'a>(grant: &'a Grant, name: &str) -> &'a str {
    grant.metadata().get(name).map_or("", String::as_str)
}
