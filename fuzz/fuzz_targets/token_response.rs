//! Any answer of a token service: nothing of it is shown, and its times are sane.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tower_token::{TokenResponse, fuzzing};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

fuzz_target!(|body: &[u8]| {
    let Ok(response) = TokenResponse::from_json(body) else {
        return;
    };
    for life in fuzzing::lifetimes(&response).into_iter().flatten() {
        assert!(!life.is_zero());
    }
    // A token may be a word that stands in every `Debug`. So the text has to be the same,
    // letter for letter, as with other tokens.
    let others = with_other_tokens(&response);
    assert_eq!(format!("{response:?}"), format!("{others:?}"));

    let Some(kept) = fuzzing::kept(response) else {
        return;
    };
    for life in kept.into_iter().flatten() {
        assert!(
            life >= Duration::from_secs(1) && life <= 10 * YEAR,
            "{life:?}"
        );
    }
});

fn with_other_tokens(response: &TokenResponse) -> TokenResponse {
    let [_, refresh, id] = fuzzing::tokens(response);
    let [life, refresh_life] = fuzzing::lifetimes(response);
    let mut others = TokenResponse::new("another");
    if refresh.is_some() {
        others = others.refresh_token("another");
    }
    if id.is_some() {
        others = others.id_token("another");
    }
    if let Some(life) = life {
        others = others.expires_in(life);
    }
    if let Some(life) = refresh_life {
        others = others.refresh_token_expires_in(life);
    }
    others
}
