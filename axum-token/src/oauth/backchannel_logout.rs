//! `POST {base}/{provider}/backchannel-logout`: the provider says that somebody has left.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tower_token::TokenManager;

use super::openid::OpenIdErrorKind;
use super::parameters::Parameters;
use super::routes::Routes;
use crate::logout::Logout;
use crate::rejection::{Misconfigured, TemporarilyUnavailable, TokenRejection};
use crate::source::{SignIn, SubjectSource};
use crate::state::TokenState;
use crate::visitor::CurrentSubject;

/// Why nobody was signed out.
enum Refused {
    /// OpenID Connect Back-Channel Logout 1.0 section 2.8.
    Request(&'static str),
    Token(TokenRejection),
}

impl<R: Into<TokenRejection>> From<R> for Refused {
    fn from(rejection: R) -> Self {
        Self::Token(rejection.into())
    }
}

impl<Q: SubjectSource> Routes<Q> {
    pub(super) async fn backchannel_logout(
        &self,
        State(state): State<TokenState>,
        headers: HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Response {
        match self.logged_out(state.manager(), &headers, body).await {
            Ok(()) => StatusCode::OK.into_response(),
            Err(Refused::Token(rejection)) => rejection.into_response(),
            Err(Refused::Request(why)) => {
                let error = json!({ "error": "invalid_request", "error_description": why });
                let mut response = Response::new(Body::from(error.to_string()));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
        }
    }

    async fn logged_out(
        &self,
        manager: &TokenManager,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<(), Refused> {
        let (Some(openid), Some(sign_ins)) = (&self.provider.openid, &self.shared.sign_ins) else {
            return Err(Refused::Request("nobody signs in by this provider"));
        };
        if !is_form(headers) {
            return Err(Refused::Request("a logout token comes in a form"));
        }
        let body = body.map_err(|_| Refused::Request("the form did not come whole"))?;
        let form = Parameters::parse(&body);
        let form = form.ok_or(Refused::Request("a parameter comes twice"))?;
        let token = form.get("logout_token");
        let token = token.ok_or(Refused::Request("there is no logout_token"))?;
        let (client, now) = (self.provider.exchange.client_id(), self.now());
        let token = openid
            .check_logout_token(client, token, now)
            .await
            .map_err(|error| match error.kind() {
                OpenIdErrorKind::Unavailable => TemporarilyUnavailable::new(None).into(),
                _ => Refused::Request("the logout token is not one of this provider's for us"),
            })?;
        let Some(subject) = &token.subject else {
            return Err(Refused::Request(
                "a logout token without `sub` cannot be acted on",
            ));
        };
        // An id among those of its issuer. Until it is over anyway.
        let id = format!("{} {}", openid.issuer(), token.jti);
        if !self.shared.logout_tokens.spend(&id, token.expires_at, now) {
            return Err(Refused::Request("this logout token was used before"));
        }
        let subject = (self.shared.subject_of)(&self.account(openid.issuer(), subject));
        let user = CurrentSubject::new(SignIn::new(subject), None);
        let logout = Logout::of(&user).disconnect(self.provider.name());
        let logout = logout.everywhere(sign_ins);
        let (shared, manager) = (Arc::clone(&self.shared), manager.clone());
        // On a task of its own: a provider that hangs up has used the token up all the same.
        let work = tokio::spawn(async move {
            let left = logout.run(&manager).await;
            // It may send the same one again, if this could not be done.
            left.inspect_err(|_| shared.logout_tokens.give_back(&id))
        });
        let outcome = work
            .await
            .map_err(|_| Misconfigured::new("a logout ended in a panic"))??;
        Ok(outcome.complete()?)
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| {
        kind.trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    })
}
