//! Problem documents (RFC 9457).

use axum_core::body::Body;
use axum_core::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

/// One problem, of the type `about:blank`: its title is its status.
pub(crate) struct Problem {
    status: StatusCode,
    members: Map<String, Value>,
}

impl Problem {
    /// `code` is for programs, and does not change.
    pub(crate) fn new(status: StatusCode, code: &'static str) -> Self {
        let mut members = Map::new();
        let title = status.canonical_reason().unwrap_or_default();
        members.insert("title".into(), title.into());
        members.insert("status".into(), status.as_u16().into());
        members.insert("code".into(), code.into());
        Self { status, members }
    }

    /// For people who read the answer of a program. No text from outside.
    pub(crate) fn detail(self, detail: &'static str) -> Self {
        self.with("detail", detail)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(Value::Object(self.members).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
