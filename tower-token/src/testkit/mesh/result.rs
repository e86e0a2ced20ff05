//! Answers in Mesh's wrapper, `ApiResult`.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::ledger::Refused;
use crate::testkit::wire::{Answer, json as answer, no_store};

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Not this client, or no client at all.
    Unauthenticated,
    /// Not what is documented.
    Rejected(String),
    /// What came with it is no good.
    Token(Refused),
    /// It happened, but it could not be written down.
    Unsaved,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self::Token(refused)
    }
}

pub(super) fn ok(content: Value) -> Response<Answer> {
    let mut fields = json!({
        "status": "ok",
        "message": "",
        "displayMessage": null,
        "errorHash": null,
        "errorType": "",
        "errorData": null,
    });
    // What has no content leaves it out.
    if !content.is_null() {
        fields["content"] = content;
    }
    no_store(answer(StatusCode::OK, &fields))
}

pub(super) fn refusal(problem: &Problem) -> Response<Answer> {
    let (code, status, kind) = match problem {
        Problem::Unauthenticated => (
            StatusCode::UNAUTHORIZED,
            "permissionDenied",
            "unauthenticated",
        ),
        Problem::Rejected(_) => (StatusCode::BAD_REQUEST, "badRequest", "validation"),
        Problem::Token(_) => (StatusCode::BAD_REQUEST, "badRequest", "integrationToken"),
        Problem::Unsaved => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "serverFailure",
            "unexpected",
        ),
    };
    let message = match problem {
        Problem::Unauthenticated => "Client Id or Client Secret are not correct or missing.",
        Problem::Rejected(why) => why,
        Problem::Token(Refused::Dead | Refused::Reused) => "Unauthorized token",
        Problem::Token(Refused::OtherType) => "The token is of another type",
        Problem::Token(Refused::AccessTokenWanted) => {
            "accessToken has to be one of the same connection"
        }
        Problem::Unsaved => "The state could not be saved",
    };
    let fields = json!({
        "status": status,
        "message": message,
        "displayMessage": "Something went wrong.",
        "errorHash": "5f2e1c3a",
        "errorType": kind,
        "errorData": null,
    });
    no_store(answer(code, &fields))
}
