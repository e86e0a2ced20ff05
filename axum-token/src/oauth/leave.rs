//! `DELETE {base}/{provider}`, `POST {base}/{provider}/logout`, and the way on from there.

use std::time::Duration;

use axum::extract::State;
use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use tower_token::TokenManager;

use super::authorization_request::with_query;
use super::openid::OpenId;
use super::parameters::Parameters;
use super::routes::{Routes, add, see_other};
use crate::logout::Logout;
use crate::rejection::problem::Problem;
use crate::rejection::{Misconfigured, TokenRejection};
use crate::source::SubjectSource;
use crate::state::TokenState;
use crate::visitor::CurrentSubject;

/// Between the answer and the page's going there.
const LIFE: Duration = Duration::from_secs(60);
/// What is left of a cookie for it, sealed and in base64.
const MAX_HINT: usize = 2_400;

impl<Q: SubjectSource> Routes<Q> {
    pub(super) async fn disconnect(
        &self,
        user: CurrentSubject,
        State(state): State<TokenState>,
    ) -> Result<StatusCode, TokenRejection> {
        let key = user.grant_key(self.provider.name());
        state.manager().disconnect(&key).await?;
        Ok(StatusCode::NO_CONTENT)
    }

    /// Whoever asks is signed out when it answers, also somebody who was not signed in.
    pub(super) async fn logout(
        &self,
        user: Option<CurrentSubject>,
        State(state): State<TokenState>,
        request: Parts,
    ) -> Response {
        let mut answer = HeaderMap::new();
        let Some(everywhere) = everywhere(&request) else {
            return Problem::new(StatusCode::BAD_REQUEST, "invalid_request")
                .detail("`everywhere` is true or false, and nothing else is asked here")
                .into_response();
        };
        let left = self.left(user, everywhere, state.manager(), &request, &mut answer);
        match left.await {
            Ok(location) => {
                let body = json!({ "location": location }).to_string();
                let mut response = Response::new(Body::from(body));
                *response.headers_mut() = answer;
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            Err(rejection) => {
                let mut response = rejection.into_response();
                // Who is told that something is left behind has left as well.
                add(response.headers_mut(), &answer);
                response
            }
        }
    }

    async fn left(
        &self,
        user: Option<CurrentSubject>,
        everywhere: bool,
        manager: &TokenManager,
        request: &Parts,
        answer: &mut HeaderMap,
    ) -> Result<String, TokenRejection> {
        let mut hint = None;
        let mut outcome = None;
        if let Some(user) = &user {
            hint = self.id_token(user, manager).await;
            let mut logout = Logout::of(user);
            if self.provider.disconnects {
                logout = logout.disconnect(self.provider.name());
            }
            if everywhere {
                let sign_ins = self.shared.sign_ins.as_ref();
                logout = logout.everywhere(sign_ins.ok_or_else(|| {
                    let message = "signing out everywhere takes OAuthRoutes::sign_ins";
                    Misconfigured::new(message)
                })?);
            }
            outcome = Some(logout.run(manager).await?);
        }
        // Last: if something fails before, they are still signed in, and can try again.
        self.shared.source.end(request, answer).await?;
        outcome.map_or(Ok(()), |outcome| outcome.complete())?;
        if self.end_session_endpoint().is_none() {
            return Ok(self.shared.after_logout.clone());
        }
        // The id token goes from here to the provider by redirects, and past the page.
        let sealed = hint.unwrap_or_default();
        let (cookies, name) = (&self.shared.cookies, self.hint_cookie());
        if !cookies.set(&name, sealed, LIFE, answer) {
            cookies.set(&name, String::new(), LIFE, answer);
        }
        Ok(format!("{}/end-session", self.path()))
    }

    /// On to the provider's own logout (OpenID Connect RP-Initiated Logout 1.0), for whoever has
    /// just signed out here.
    pub(super) async fn end_session(&self, request: Parts) -> Response {
        let mut answer = HeaderMap::new();
        let (cookies, name) = (&self.shared.cookies, self.hint_cookie());
        let hint = cookies.get(&name, &request.headers);
        cookies.remove(&name, &mut answer);
        let back = format!("{}{}", self.shared.origin, self.shared.after_logout);
        let location = match (hint, self.end_session_endpoint()) {
            (Some(hint), Some(endpoint)) => {
                let mut parameters = vec![
                    ("client_id", self.provider.exchange.client_id()),
                    ("post_logout_redirect_uri", &back),
                ];
                if !hint.is_empty() {
                    parameters.push(("id_token_hint", &hint));
                }
                with_query(endpoint, &parameters)
            }
            _ => back,
        };
        see_other(&location, answer).unwrap_or_else(|| {
            let message = "the provider's end_session_endpoint is no header value";
            TokenRejection::from(Misconfigured::new(message)).into_response()
        })
    }

    /// One for each provider: an id token is shown to the one that it is of.
    fn hint_cookie(&self) -> String {
        format!("end-session-{}", self.provider.name())
    }

    fn end_session_endpoint(&self) -> Option<&str> {
        self.provider
            .openid
            .as_ref()
            .and_then(OpenId::end_session_endpoint)
    }

    /// What the provider recommends to be told who leaves. It does without.
    async fn id_token(&self, user: &CurrentSubject, manager: &TokenManager) -> Option<String> {
        self.end_session_endpoint()?;
        let key = user.grant_key(self.provider.name());
        let held = manager.grants(user.as_str()).await.ok()?;
        let grant = held.iter().find(|grant| *grant.key() == key)?;
        let token = grant.id_token()?.expose();
        (token.len() <= MAX_HINT).then(|| token.to_owned())
    }
}

/// Whether all sessions are to end. `None`: it is not clear, and nobody should take one session
/// for all.
fn everywhere(request: &Parts) -> Option<bool> {
    let query = request.uri.query().unwrap_or_default();
    match Parameters::parse(query.as_bytes())?.get("everywhere") {
        None | Some("false") => Some(false),
        Some("true") => Some(true),
        Some(_) => None,
    }
}
