//! What pages send: read strictly, as they are ours.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tower_token::{MeshPayload, Timestamp};

use super::answer::Refusal;

pub(super) type Sent = Result<Bytes, BytesRejection>;

/// The SDK's `LinkPayload` and nothing else, least of all whose it is. Tokens are not copied
/// by looking at it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    access_token: Option<Named>,
    delayed_auth: Option<Named>,
    /// Milliseconds since 1970, by the page's clock.
    received_at: Option<u64>,
}

type Named = BTreeMap<String, IgnoredAny>;

/// What may be in a payload, and what says whose it is.
const USERS: [&str; 6] = ["user", "userid", "username", "subject", "sub", "customerid"];

/// Reads the body of `POST /connections`.
pub(super) fn payload(headers: &HeaderMap, body: Sent) -> Result<MeshPayload, Refusal> {
    let body = received(body)?;
    if !is_json(headers) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "the payload is sent as application/json",
        ));
    }
    // What the parser says of it could quote a token.
    let envelope: Envelope = serde_json::from_slice(&body).map_err(|_| {
        Refusal::invalid_payload(
            "this is not a LinkPayload of Mesh's SDK, with nothing beside it but receivedAt",
        )
    })?;
    let parts = [&envelope.access_token, &envelope.delayed_auth];
    let mut fields = parts.into_iter().flatten().flat_map(BTreeMap::keys);
    if fields.any(|field| names_a_user(field)) {
        return Err(Refusal::invalid_payload(
            "a payload is for the user who is signed in, and names none",
        ));
    }
    let payload = MeshPayload::from_json(&body)
        .map_err(|invalid| Refusal::invalid_payload(invalid.to_string()))?;
    Ok(match envelope.received_at {
        Some(at) => payload.obtained_at(Timestamp::from_unix_millis(at)),
        None => payload,
    })
}

/// Nothing, or nothing in braces.
pub(super) fn empty(body: Sent) -> Result<(), Refusal> {
    let body = received(body)?;
    if matches!(body.trim_ascii(), b"" | b"{}") {
        return Ok(());
    }
    Err(Refusal::invalid_payload("this takes no body"))
}

fn received(body: Sent) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Refusal::new(rejection.status(), "too_large", "256 KiB is the limit")
        } else {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "not_received",
                "the body did not arrive",
            )
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn names_a_user(field: &str) -> bool {
    let letters = field.chars().filter(|c| c.is_alphanumeric());
    let plain: String = letters.flat_map(char::to_lowercase).collect();
    USERS.contains(&&*plain)
}

#[cfg(test)]
mod tests {
    use axum_core::response::IntoResponse as _;
    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: &'static str, body: impl Into<Bytes>) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        match payload(&headers, Ok(body.into())) {
            Ok(_) => 200,
            Err(refusal) => refusal.into_response().status().as_u16(),
        }
    }

    fn good() -> Value {
        json!({"accessToken": {
            "accountTokens": [{"account": {"accountId": "a", "accountName": "A"}, "accessToken": "t"}],
            "brokerBrandInfo": {}, "brokerType": "b", "brokerName": "B",
        }})
    }

    #[test]
    fn a_payload_and_a_time_are_all_there_is() {
        assert_eq!(read("application/json", good().to_string()), 200);
        assert_eq!(
            read("Application/JSON; charset=utf-8", good().to_string()),
            200
        );
        for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
            assert_eq!(read(kind, good().to_string()), 415, "{kind}");
        }
        for (field, value, expected) in [
            ("receivedAt", json!(1_000), 200),
            ("receivedAt", json!(null), 200),
            ("receivedAt", json!(u64::MAX), 200),
            ("receivedAt", json!(-1), 422),
            ("receivedAt", json!("1000"), 422),
            ("receivedAt", json!(1.5), 422),
            ("delayedAuth", json!(null), 200),
            ("delayedAuth", json!({}), 422),
            ("userId", json!("eve"), 422),
            ("subject", json!("eve"), 422),
            ("user", json!(null), 422),
            ("anything", json!(1), 422),
        ] {
            let mut body = good();
            body[field] = value;
            let status = read("application/json", body.to_string());
            assert_eq!(status, expected, "{field}");
        }
        // What Mesh adds one day is passed over; who it is for is not.
        for (field, expected) in [
            ("somethingNew", 200),
            ("userId", 422),
            ("user_id", 422),
            ("SUBJECT", 422),
        ] {
            let mut body = good();
            body["accessToken"][field] = json!("eve");
            let status = read("application/json", body.to_string());
            assert_eq!(status, expected, "{field}");
        }
        for body in ["", "{", "null", "[]", "\"x\"", "{}"] {
            assert_eq!(read("application/json", body), 422, "{body}");
        }
    }

    #[test]
    fn what_takes_no_body_takes_none() {
        for (body, taken) in [("", true), (" {} ", true), ("{\"userId\":\"eve\"}", false)] {
            assert_eq!(empty(Ok(Bytes::from(body))).is_ok(), taken, "{body}");
        }
    }
}
