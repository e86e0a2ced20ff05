//! What the fuzz targets see of the parts that are private. It is there only where
//! cargo-fuzz builds (`--cfg fuzzing`), and no part of the public API.

#![allow(missing_docs)]

use std::time::Duration;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::grant::{AccountToken, Grant, TokenResponse};
use crate::key::GrantKey;
use crate::provider::fuzzing::mesh_answer;
use crate::secret::Secret;
pub use crate::store::probe::{Sample, opened, recoded, sealed};
pub use crate::store::transfer::fuzzing::{export_pieces, exported, taken_in};

/// Whether a 401 says that another token would not help.
pub fn insufficient_scope(headers: &HeaderMap) -> bool {
    crate::layer::insufficient_scope(headers)
}

/// Which tokens came: access, refresh, id.
pub fn tokens(response: &TokenResponse) -> [Option<&Secret>; 3] {
    [
        response.access_token.as_ref(),
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

/// The accounts of a grant by id, each with its token, and the refresh token, after this
/// answer of Mesh's to a refresh. Before, they are `a` (token id `t-a`) with `a1`, `b` with
/// `b1`, and `r1`. `None` if nothing came that can be kept.
pub fn mesh_refreshed(status: u16, body: &[u8]) -> Option<(Vec<(String, String)>, String)> {
    let now = Timestamp::from_unix_millis(1_735_689_600_000);
    let accounts = [
        AccountToken::new("a", "a1").token_id("t-a"),
        AccountToken::new("b", "b1"),
    ];
    let consent = TokenResponse::for_accounts(accounts).refresh_token("r1");
    let mut grant = Grant::connected(GrantKey::new("p", "s"), 1, consent, now, None).ok()?;
    let response = mesh_answer(status, body, grant.accounts(), &Secret::from("r1"))?;
    // Without an access token the rest is taken over all the same.
    let _ = grant.apply(response, now, None);
    let accounts = grant.accounts().iter().map(|account| {
        let token = account.access_token().map_or("", |token| token.expose());
        (account.id().to_owned(), token.to_owned())
    });
    let refresh_token = grant.refresh_token()?.expose().to_owned();
    Some((accounts.collect(), refresh_token))
}
