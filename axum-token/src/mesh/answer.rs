//! What the routes answer.

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use tower_token::{Error, ErrorKind};

use crate::rejection::TokenRejection;
use crate::rejection::problem::Problem;

/// Why a route does not do what it is asked to.
pub(super) enum Refusal {
    Token(TokenRejection),
    Problem(Problem),
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        Self::Problem(Problem::new(status, code).detail(detail))
    }

    pub(super) fn invalid_payload(detail: impl Into<String>) -> Self {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_payload");
        Self::Problem(problem.with("detail", detail.into()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Token(rejection) => rejection.into_response(),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

impl From<TokenRejection> for Refusal {
    fn from(rejection: TokenRejection) -> Self {
        Self::Token(rejection)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::InvalidResponse {
            // What the page sent, and no fault of the service's.
            return Self::invalid_payload(error.to_string());
        }
        Self::Token(error.into())
    }
}

pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
