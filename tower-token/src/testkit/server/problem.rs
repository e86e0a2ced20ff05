//! What can be wrong with a request, and how that is answered.

use http::header::WWW_AUTHENTICATE;
use http::{Response, StatusCode};
use serde_json::json;

use super::ledger::Refused;
use crate::testkit::wire::{Answer, json, no_store, set};

/// An error answer of the token endpoint (RFC 6749 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    InvalidRequest(&'static str),
    InvalidClient,
    InvalidGrant(Refused),
    InvalidScope,
    UnsupportedGrantType,
}

impl Problem {
    fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant(_) => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::InvalidRequest(why) => why,
            Self::InvalidGrant(Refused::Unknown) => "the refresh token is unknown or revoked",
            Self::InvalidGrant(Refused::Expired) => "the refresh token has expired",
            Self::InvalidGrant(Refused::Reused) => {
                "the refresh token was used before: its grant is revoked"
            }
            Self::InvalidClient => "wrong or missing client credentials",
            Self::InvalidScope => "the scope exceeds what was granted",
            Self::UnsupportedGrantType => "only refresh_token is supported",
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::InvalidGrant(refused)
    }
}

pub(super) fn refusal(problem: Problem) -> Response<Answer> {
    let code = match problem {
        Problem::InvalidClient => StatusCode::UNAUTHORIZED,
        Problem::InvalidRequest(_)
        | Problem::InvalidGrant(_)
        | Problem::InvalidScope
        | Problem::UnsupportedGrantType => StatusCode::BAD_REQUEST,
    };
    let fields = json!({
        "error": problem.code(),
        "error_description": problem.description(),
    });
    let mut answer = no_store(json(code, &fields));
    if problem == Problem::InvalidClient {
        set(&mut answer, WWW_AUTHENTICATE, "Basic realm=\"token\"");
    }
    answer
}
