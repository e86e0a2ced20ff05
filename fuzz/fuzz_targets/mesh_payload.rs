//! Any bytes where a page sends what Mesh's SDK gave it: bounded, told apart, and not shown.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use tower_token::{MeshPayload, fuzzing};

fuzz_target!(|body: &[u8]| {
    let Ok(payload) = MeshPayload::from_json(body) else {
        return;
    };
    let (mut ids, mut accounts, mut refresh_tokens) = (BTreeSet::new(), 0, BTreeSet::new());
    assert!(!payload.grants().is_empty());
    for grant in payload.grants() {
        for id in grant.account_ids() {
            assert!(!id.is_empty() && id.len() <= 256);
            ids.insert(id.to_owned());
            accounts += 1;
        }
        let response = grant.response();
        let [_, refresh_token, _] = fuzzing::tokens(&response);
        // A refresh token is spent by one grant.
        if let Some(token) = refresh_token {
            assert!(!token.expose().is_empty());
            assert!(refresh_tokens.insert(token.expose().to_owned()));
        }
        for life in fuzzing::lifetimes(&response).into_iter().flatten() {
            assert!(!life.is_zero());
        }
        // A short word may stand in any `Debug`.
        let shown = format!("{payload:?} {response:?}");
        for token in refresh_tokens.iter().filter(|token| token.len() > 24) {
            assert!(!shown.contains(token.as_str()));
        }
    }
    assert_eq!(ids.len(), accounts);
    assert!(accounts <= 64);
});
