//! The authorization endpoint: the page that asks, and what its buttons do.

use std::collections::HashMap;

use axum::Form;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::codes::Granted;
use super::{Provider, pages};

/// The authorization request (RFC 6749 section 4.1.1) of the one client.
pub(super) struct Asked {
    scope: String,
    state: Option<String>,
    nonce: Option<String>,
    code_challenge: String,
}

/// What is wrong with a request: for the person alone, or for the client to be told.
enum Wrong {
    Client,
    Request(&'static str, Option<String>),
}

/// The form of the page.
#[derive(Deserialize)]
pub(super) struct Decision {
    /// The query that the page was asked by.
    request: String,
    name: Option<String>,
    answer: String,
}

/// `GET /authorize`: asks whoever it is.
pub(super) async fn ask(
    State(provider): State<Provider>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let subject = provider
        .sessions
        .of(&headers)
        .map(|session| session.subject);
    match provider.asked(&query) {
        Ok(asked) => pages::consent(&provider, &query, &asked.scope, subject.as_deref()),
        Err(wrong) => provider.refuse(wrong),
    }
}

/// `POST /authorize`: the button that was pressed.
pub(super) async fn decide(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(decision): Form<Decision>,
) -> Response {
    if !provider.is_own_page(&headers) {
        return pages::problem(&provider, StatusCode::FORBIDDEN, "That was not this page.");
    }
    let asked = match provider.asked(&decision.request) {
        Ok(asked) => asked,
        Err(wrong) => return provider.refuse(wrong),
    };
    if decision.answer != "allow" {
        return provider.answer(asked.state.as_deref(), &[("error", "access_denied")]);
    }
    let (session, cookie) = match (provider.sessions.of(&headers), decision.name) {
        (Some(session), _) => (session, None),
        (None, Some(name)) if is_name(&name) => {
            let (session, cookie) = provider.sessions.begin(name);
            (session, Some(cookie))
        }
        (None, _) => {
            let why = "A name has 1 to 40 letters, digits, - or _.";
            return pages::problem(&provider, StatusCode::BAD_REQUEST, why);
        }
    };
    let granted = Granted {
        subject: session.subject,
        sid: session.sid,
        nonce: asked.nonce,
        scope: asked.scope,
        code_challenge: asked.code_challenge,
    };
    let code = provider.codes.issue(granted, provider.now());
    let mut response = provider.answer(asked.state.as_deref(), &[("code", &code)]);
    if let Some(cookie) = cookie {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

impl Provider {
    fn asked(&self, query: &str) -> Result<Asked, Wrong> {
        let mut given: HashMap<_, _> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        let is = |name: &str, value: &str| given.get(name).is_some_and(|it| it == value);
        // Nobody is sent to a place that was not registered, to the letter.
        if !is("client_id", self.tokens.client_id())
            || !is("redirect_uri", &self.client.redirect_uri)
        {
            return Err(Wrong::Client);
        }
        let is_code = is("response_type", "code");
        let is_s256 = is("code_challenge_method", "S256");
        let state = given.remove("state");
        let wrong = |error| Err(Wrong::Request(error, state.clone()));
        if !is_code {
            return wrong("unsupported_response_type");
        }
        let Some(code_challenge) = given.remove("code_challenge").filter(|_| is_s256) else {
            return wrong("invalid_request");
        };
        let scope = given.remove("scope").unwrap_or_default();
        if !scope.split(' ').any(|scope| scope == "openid") {
            return wrong("invalid_scope");
        }
        Ok(Asked {
            scope,
            state,
            nonce: given.remove("nonce"),
            code_challenge,
        })
    }

    fn refuse(&self, wrong: Wrong) -> Response {
        match wrong {
            Wrong::Client => {
                let why = "No client of this provider asks like that: its id or its redirect \
                           URI is not the registered one.";
                pages::problem(self, StatusCode::BAD_REQUEST, why)
            }
            Wrong::Request(error, state) => self.answer(state.as_deref(), &[("error", error)]),
        }
    }

    /// Back to the client, which learns from whom it is (RFC 9207).
    fn answer(&self, state: Option<&str>, said: &[(&str, &str)]) -> Response {
        let location = format!("{}?", self.client.redirect_uri);
        let start = location.len();
        let mut query = form_urlencoded::Serializer::for_suffix(location, start);
        query.extend_pairs(said).append_pair("iss", &self.issuer);
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        Redirect::to(&query.finish()).into_response()
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (1..=40).contains(&name.len()) && name.bytes().all(is_plain)
}
