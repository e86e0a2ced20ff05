//! Any answer to a refresh at Mesh: no account gets another's token, none is lost, and there is
//! always a refresh token. The first byte says which status comes with it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tower_token::fuzzing::mesh_refreshed;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let status = [200, 200, 200, 201, 302, 400, 401, 500][usize::from(first % 8)];
    let Some((accounts, refresh_token)) = mesh_refreshed(status, body) else {
        return;
    };
    assert!(!refresh_token.is_empty());
    assert!(accounts.len() <= 64);
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        panic!("read what is no JSON");
    };
    let content = &answer["content"];
    let listed = content["brokerAccountTokens"].as_array();
    let entries: Vec<&Value> = match listed {
        Some(listed) if !listed.is_empty() => listed.iter().collect(),
        _ => vec![content],
    };
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    // Whose an entry is by what it says of itself.
    let owner = |entry: &Value| match text(&entry["account"]["accountId"]) {
        Some(id) => Some(id),
        None => text(&entry["tokenId"])
            .filter(|token| token == "t-a")
            .map(|_| "a".to_owned()),
    };
    for (id, before) in [("a", "a1"), ("b", "b1")] {
        let (_, token) = accounts
            .iter()
            .find(|(known, _)| known == id)
            .expect("it is there");
        let brings = |entry: &&Value| {
            owner(entry).as_deref() == Some(id)
                && text(&entry["accessToken"]).as_ref() == Some(token)
        };
        assert!(
            token == before || entries.iter().any(brings),
            "{id} got a token of another"
        );
    }
    for (id, token) in &accounts {
        assert!(!token.is_empty(), "{id} has lost its token");
    }
});
