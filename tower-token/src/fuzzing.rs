//! What the fuzz targets see of the parts that are private. It is there only where
//! cargo-fuzz builds (`--cfg fuzzing`), and no part of the public API.

#![allow(missing_docs)]

use std::time::Duration;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::grant::{Grant, TokenResponse};
use crate::key::GrantKey;
use crate::secret::Secret;
pub use crate::store::fuzzing::{opened, recoded, sealed};

/// Whether a 401 says that another token would not help.
pub fn insufficient_scope(headers: &HeaderMap) -> bool {
    crate::layer::insufficient_scope(headers)
}

/// Which tokens came: access, refresh, id.
pub fn tokens(response: &TokenResponse) -> [Option<&Secret>; 3] {
    [
        Some(&response.access_token),
        response.refresh_token.as_ref(),
        response.id_token.as_ref(),
    ]
}

/// How long the access and the refresh token live, as far as the answer says so.
pub fn lifetimes(response: &TokenResponse) -> [Option<Duration>; 2] {
    [response.expires_in, response.refresh_token_expires_in]
}

/// How long the tokens live in a grant that was just made of `response`; `None` if its
/// access token cannot be used.
pub fn kept(response: TokenResponse) -> Option<[Option<Duration>; 2]> {
    let now = Timestamp::from_unix_millis(1_735_689_600_000);
    let grant = Grant::connected(GrantKey::new("p", "s"), 1, response, now, None).ok()?;
    let ends = [grant.expires_at(), grant.refresh_expires_at()];
    Some(ends.map(|end| end.map(|end| end.since(now))))
}
