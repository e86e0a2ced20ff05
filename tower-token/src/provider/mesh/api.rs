//! How Mesh is called: JSON, and the client in two headers.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::config;
use super::super::transport::{Answer, Transport};
use super::super::verdict::{RefreshError, Verdict, VerdictRule, judge};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::secret::{Secret, wiped_json};

const CLIENT_ID: HeaderName = HeaderName::from_static("x-client-id");
const CLIENT_SECRET: HeaderName = HeaderName::from_static("x-client-secret");

/// One route of Mesh's.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
}

pub(super) const REFRESH: Route = Route {
    method: Method::POST,
    path: "/api/v1/token/refresh",
};
pub(super) const REMOVE: Route = Route {
    method: Method::DELETE,
    path: "/api/v1/account",
};
pub(super) const LINK_TOKEN: Route = Route {
    method: Method::POST,
    path: "/api/v1/linktoken",
};

/// Mesh, for one client.
pub(super) struct Api {
    base: String,
    headers: HeaderMap,
    transport: Arc<dyn Transport>,
}

impl Api {
    pub(super) fn new(
        provider: &str,
        base: &str,
        client_id: &str,
        client_secret: &Secret,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, Error> {
        let value = |text: &str, what: &str| {
            let value = HeaderValue::from_str(text)
                .ok()
                .filter(|_| !text.is_empty());
            value.ok_or_else(|| {
                let problem = format!("the {what} is empty, or cannot go into a header");
                config(provider, &problem)
            })
        };
        let mut secret = value(client_secret.expose(), "client secret")?;
        secret.set_sensitive(true);
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([
            (CLIENT_ID, value(client_id, "client id")?),
            (CLIENT_SECRET, secret),
            (CONTENT_TYPE, json.clone()),
            (ACCEPT, json),
        ]);
        Ok(Self {
            base: base.to_owned(),
            headers,
            transport,
        })
    }

    /// Sends `body` as JSON; what comes back if nothing does is judged.
    pub(super) async fn send(
        &self,
        route: &Route,
        body: &impl Serialize,
    ) -> Result<Reply, RefreshError> {
        let misfit = |_| RefreshError::new(Verdict::UserAction, "the request cannot be written");
        let uri: Uri = format!("{}{}", self.base, route.path)
            .parse()
            .map_err(|_| RefreshError::new(Verdict::Misconfigured, "the base URL is none"))?;
        let mut request = Request::new(wiped_json(body).map_err(misfit)?);
        *request.method_mut() = route.method.clone();
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        match self.transport.send(request).await {
            Ok(answer) => Ok(Reply::read(answer)),
            Err(error) => Err(judge(Err(error), SystemClock::new().now(), &[])),
        }
    }
}

/// What Mesh answered: each answer is wrapped in the same way.
pub(super) struct Reply {
    answer: Answer,
    body: Value,
}

impl Reply {
    pub(super) fn read(answer: Answer) -> Self {
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        Self { answer, body }
    }

    /// The content of an answer that says that all went well.
    pub(super) fn into_content(mut self) -> Result<Value, RefreshError> {
        if !self.went_well() {
            return Err(self.judge());
        }
        match self.body.get_mut("content").map(Value::take) {
            Some(content @ Value::Object(_)) => Ok(content),
            _ => Err(self.judge()),
        }
    }

    /// Whether all went well, for answers that have no content.
    pub(super) fn check(self) -> Result<(), RefreshError> {
        match self.went_well() {
            true => Ok(()),
            false => Err(self.judge()),
        }
    }

    /// Whether neither HTTP nor Mesh says otherwise. A status that is none of those that are
    /// known must not cost the tokens that come with it.
    fn went_well(&self) -> bool {
        let said = self.text("status").and_then(stands_for);
        self.answer.status.is_success() && said.is_none()
    }

    /// What an answer means that is not what was asked for. What Mesh says of itself counts
    /// like the status of HTTP that it stands for.
    pub(super) fn judge(&self) -> RefreshError {
        let mut status = self.answer.status;
        if status.is_success() {
            status = self.text("status").and_then(stands_for).unwrap_or(status);
        }
        if status == StatusCode::BAD_REQUEST && self.text("message").is_some_and(is_dead) {
            let message = "Mesh says that the refresh token is no good any more";
            return RefreshError::new(Verdict::Dead, message);
        }
        let answer = Answer {
            status,
            headers: self.answer.headers.clone(),
            body: Zeroizing::default(),
        };
        // That the client's key may not do this is no fault of the user's.
        let rules = [VerdictRule::new(Verdict::Misconfigured).status(403)];
        judge(Ok(&answer), SystemClock::new().now(), &rules)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name)?.as_str()
    }
}

/// The status of HTTP that one of Mesh's own stands for, if it is an error.
fn stands_for(status: &str) -> Option<StatusCode> {
    Some(match status {
        "badRequest" | "conflict" | "notFound" => StatusCode::BAD_REQUEST,
        "permissionDenied" => StatusCode::FORBIDDEN,
        "unavailableForLegalReasons" => StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
        "tooManyRequest" | "locked" => StatusCode::TOO_MANY_REQUESTS,
        "serverFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => return None,
    })
}

/// The one message that says so.
pub(super) fn is_dead(message: &str) -> bool {
    message.trim().eq_ignore_ascii_case("unauthorized token")
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A reply of this status and body.
    pub(in crate::provider::mesh) fn reply(status: u16, body: &str) -> Reply {
        Reply::read(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Zeroizing::new(body.as_bytes().to_vec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::reply;
    use super::*;

    #[test]
    fn every_answer_has_its_verdict() {
        let transient = Verdict::Transient { retry_after: None };
        let dead = r#"{"status":"badRequest","message":"Unauthorized token"}"#;
        for (status, body, verdict) in [
            (400, dead, Verdict::Dead),
            (200, dead, Verdict::Dead),
            (400, r#"{"message":" unauthorized TOKEN "}"#, Verdict::Dead),
            (400, r#"{"message":"Unauthorized"}"#, transient),
            (400, r#"{"message":["Unauthorized token"]}"#, transient),
            (400, "", transient),
            // Only what is about the request is about the token in it.
            (401, dead, Verdict::Misconfigured),
            (403, dead, Verdict::Misconfigured),
            (404, "", transient),
            (429, dead, transient),
            (500, dead, Verdict::Ambiguous),
            (502, "<html>", Verdict::Ambiguous),
            (200, "", Verdict::Ambiguous),
            (200, "{}", Verdict::Ambiguous),
            (200, r#"{"status":"serverFailure"}"#, Verdict::Ambiguous),
            (200, r#"{"status":"tooManyRequest"}"#, transient),
            (
                200,
                r#"{"status":"permissionDenied"}"#,
                Verdict::Misconfigured,
            ),
            (302, "", Verdict::Misconfigured),
        ] {
            let judged = reply(status, body).into_content().unwrap_err();
            assert_eq!(judged.verdict(), verdict, "{status} {body}");
        }
        for status in [r#""ok""#, r#""OK""#, r#""fine""#, "7", "null"] {
            let body = format!(r#"{{"status":{status},"content":{{}}}}"#);
            assert!(reply(200, &body).into_content().is_ok(), "{status}");
        }
        assert!(reply(200, r#"{"status":"ok"}"#).check().is_ok());
        assert!(reply(200, r#"{"status":"badRequest"}"#).check().is_err());
    }
}
