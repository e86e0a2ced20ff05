//! Access tokens that say themselves when they expire.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::json;

use crate::clock::Timestamp;

/// A JSON Web Token (RFC 7519) with the claims `sub` and `exp`. In the place of its signature
/// stands `random`: nobody here checks one, and no two tokens may be the same.
pub(super) fn jwt(user: &str, expires: Timestamp, random: &str) -> String {
    let exp = expires.as_unix_millis() / 1_000;
    let part = |claims: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    let header = part(json!({ "typ": "at+jwt", "alg": "HS256" }));
    let claims = part(json!({ "sub": user, "exp": exp }));
    format!("{header}.{claims}.{random}")
}
