//! What a page is told in place of the API's answer.

use axum_core::response::{IntoResponse, Response};
use http::header::ALLOW;
use http::{HeaderValue, Method, StatusCode};

use super::body::Cut;
use crate::rejection::TokenRejection;
use crate::rejection::problem::Problem;

pub(super) enum Refusal {
    /// Who is nobody, or has no token.
    Token(TokenRejection),
    Problem(StatusCode, &'static str, &'static str),
    /// Not by this method, but by these.
    Method(Vec<Method>),
}

impl Refusal {
    pub(super) const INVALID_PATH: Self = Self::Problem(
        StatusCode::BAD_REQUEST,
        "invalid_path",
        "the path has dots, slashes or characters that are not read in the same way everywhere",
    );
    pub(super) const PATH_NOT_ALLOWED: Self = Self::Problem(
        StatusCode::FORBIDDEN,
        "path_not_allowed",
        "pages do not call this part of the API",
    );
    pub(super) const TOO_LONG: Self = Self::Problem(
        StatusCode::URI_TOO_LONG,
        "uri_too_long",
        "8 KiB of path and query are the limit",
    );
    pub(super) const INVALID_LENGTH: Self = Self::Problem(
        StatusCode::BAD_REQUEST,
        "invalid_length",
        "the request says in two ways how long it is",
    );
    pub(super) const UPGRADE: Self = Self::Problem(
        StatusCode::NOT_IMPLEMENTED,
        "upgrade_not_supported",
        "requests go on, and no other protocols",
    );
    pub(super) const UNREACHABLE: Self = Self::Problem(
        StatusCode::BAD_GATEWAY,
        "upstream_unreachable",
        "the API cannot be reached",
    );
    pub(super) const REFUSED: Self = Self::Problem(
        StatusCode::BAD_GATEWAY,
        "upstream_refused",
        "the API does not take the user's token",
    );
    pub(super) const TIMEOUT: Self = Self::Problem(
        StatusCode::GATEWAY_TIMEOUT,
        "upstream_timeout",
        "the API does not answer",
    );
}

impl From<Cut> for Refusal {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::TooLarge => Self::Problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than it may be",
            ),
            Cut::Broken => Self::Problem(
                StatusCode::BAD_REQUEST,
                "not_received",
                "the body did not arrive",
            ),
        }
    }
}

impl From<TokenRejection> for Refusal {
    fn from(rejection: TokenRejection) -> Self {
        Self::Token(rejection)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Token(rejection) => rejection.into_response(),
            Self::Problem(status, code, detail) => {
                Problem::new(status, code).detail(detail).into_response()
            }
            Self::Method(allowed) => {
                let status = StatusCode::METHOD_NOT_ALLOWED;
                let problem = Problem::new(status, "method_not_allowed");
                let mut response = problem
                    .detail("pages do not call the API by this method")
                    .into_response();
                let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
                if let Ok(allowed) = HeaderValue::from_str(&allowed.join(", ")) {
                    response.headers_mut().insert(ALLOW, allowed);
                }
                response
            }
        }
    }
}
