//! Who is signed in at the provider, and how that ends: on its own page, or because the client
//! asks (OpenID Connect RP-Initiated Logout 1.0). Unless it was the client, it is told over the
//! back channel (Back-Channel Logout 1.0).

use std::collections::HashMap;

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::{CONTENT_TYPE, COOKIE, ORIGIN};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use super::{Provider, pages, random};

const COOKIE_NAME: &str = "provider-session";
/// More than a demo has: whoever comes then finds everybody signed out.
const MOST: usize = 1_000;
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

#[derive(Clone)]
pub(super) struct Session {
    pub(super) subject: String,
    pub(super) sid: String,
    /// The last one of this session: whether the client has got any, and what it shows when it
    /// wants the session to end.
    id_token: Option<String>,
}

/// Sessions by the value of their cookie.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    pub(super) fn of(&self, headers: &HeaderMap) -> Option<Session> {
        self.0.lock().get(cookie(headers)?).cloned()
    }

    /// A new session, and its cookie.
    pub(super) fn begin(&self, subject: String) -> (Session, HeaderValue) {
        let session = Session {
            subject,
            sid: random(),
            id_token: None,
        };
        let id = random();
        let cookie = format!("{COOKIE_NAME}={id}; Path=/; HttpOnly; SameSite=Lax");
        let mut sessions = self.0.lock();
        if sessions.len() == MOST {
            sessions.clear();
        }
        sessions.insert(id, session.clone());
        // Base64 is within what a header may hold.
        let cookie = HeaderValue::try_from(cookie);
        (session, cookie.unwrap_or(HeaderValue::from_static("")))
    }

    pub(super) fn note_id_token(&self, sid: &str, token: &str) {
        let mut sessions = self.0.lock();
        if let Some(session) = sessions.values_mut().find(|session| session.sid == sid) {
            session.id_token = Some(token.to_owned());
        }
    }

    fn end(&self, headers: &HeaderMap) -> Option<Session> {
        self.0.lock().remove(cookie(headers)?)
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let mut pairs = headers.get(COOKIE)?.to_str().ok()?.split("; ");
    pairs.find_map(|pair| pair.strip_prefix(COOKIE_NAME)?.strip_prefix('='))
}

#[derive(Deserialize)]
pub(super) struct Leave {
    post_logout_redirect_uri: Option<String>,
    id_token_hint: Option<String>,
    state: Option<String>,
}

/// `GET /`: who is signed in here.
pub(super) async fn home(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    let subject = provider
        .sessions
        .of(&headers)
        .map(|session| session.subject);
    pages::home(&provider, subject.as_deref())
}

/// `GET /end-session`: the client says that somebody leaves. Whoever brings the id token of this
/// very session is not asked again.
pub(super) async fn end_session(
    State(provider): State<Provider>,
    Query(leave): Query<Leave>,
    headers: HeaderMap,
) -> Response {
    let Some(session) = provider.sessions.of(&headers) else {
        return provider.left(&leave);
    };
    if leave.id_token_hint.is_none() || leave.id_token_hint != session.id_token {
        return pages::home(&provider, Some(&session.subject));
    }
    provider.sessions.end(&headers);
    provider.left(&leave)
}

/// `POST /sign-out`: the button on the provider's own page.
pub(super) async fn sign_out(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    if !provider.is_own_page(&headers) {
        return pages::problem(&provider, StatusCode::FORBIDDEN, "That was not this page.");
    }
    let told = match provider.sessions.end(&headers) {
        Some(session) if session.id_token.is_some() => Some(provider.tell(&session).await),
        _ => None,
    };
    pages::left(&provider, told)
}

impl Provider {
    /// Whether the client took the news.
    async fn tell(&self, session: &Session) -> bool {
        let now = self.now();
        let claims = json!({
            "iss": self.issuer,
            "aud": self.tokens.client_id(),
            "sub": session.subject,
            "sid": session.sid,
            "iat": now,
            "exp": now + 120,
            "jti": random(),
            "events": { EVENT: {} },
        });
        let Ok(token) = self.keys.sign("logout+jwt", &claims) else {
            return false;
        };
        let request = self
            .http
            .post(&self.client.backchannel_logout_uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            // A JWT needs no encoding in a form.
            .body(format!("logout_token={token}"));
        let answer = request.send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Back to the client's page, if it is the registered one.
    fn left(&self, leave: &Leave) -> Response {
        let registered = &self.client.post_logout_redirect_uri;
        if leave.post_logout_redirect_uri.as_ref() != Some(registered) {
            return pages::left(self, None);
        }
        let mut location = registered.clone();
        if let Some(state) = &leave.state {
            let encoded: String = form_urlencoded::byte_serialize(state.as_bytes()).collect();
            location = format!("{location}?state={encoded}");
        }
        Redirect::to(&location).into_response()
    }

    /// Whether a form was sent by a page of the provider. Programs do not say from where.
    pub(super) fn is_own_page(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(ORIGIN);
        origin.is_none_or(|origin| origin.as_bytes() == self.issuer.as_bytes())
    }
}
