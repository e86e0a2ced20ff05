//! What a refresh at Mesh brings, matched to the accounts of its grant: pure.

use serde_json::Value;

use super::api::is_dead;
use crate::grant::{Account, AccountToken, TokenResponse, seconds, take_text};
use crate::provider::verdict::{RefreshError, Verdict};
use crate::secret::Secret;

/// Reads the content of an answer to a refresh with `sent`, for a grant of these accounts.
/// `with_code`: the request brought a code of the user's along.
pub(super) fn read(
    mut content: Value,
    accounts: &[Account],
    sent: &Secret,
    with_code: bool,
) -> Result<TokenResponse, RefreshError> {
    let Tokens { mut entries, older } = Tokens::take(&mut content);
    let refresh_token = successor(&entries, &older, accounts, sent);
    let rotated = refresh_token.as_ref().is_some_and(|token| token != sent);
    let status = content.get("status").and_then(Value::as_str);
    let is = |name: &str| status.is_some_and(|status| status.eq_ignore_ascii_case(name));
    if is("mfaRequired") && !rotated {
        let message = "Mesh wants a second factor of the user";
        let error = RefreshError::new(Verdict::UserAction, message);
        let mut tokens = entries.iter_mut().map(|entry| entry.access_token.take());
        return Err(
            match tokens.find_map(|token| token).or(older.access_token) {
                Some(token) => error.continuation(token),
                None => error,
            },
        );
    }
    // A new refresh token is kept, whatever is said along with it.
    if is("failed") && !rotated {
        let message = content.get("errorMessage").and_then(Value::as_str);
        let (verdict, message) = match message {
            Some(message) if is_dead(message) => (
                Verdict::Dead,
                "Mesh says that the refresh token is no good any more",
            ),
            // They may have mistyped it.
            _ if with_code => (Verdict::UserAction, "Mesh did not take the user's code"),
            _ => (
                Verdict::Transient { retry_after: None },
                "Mesh could not refresh the token",
            ),
        };
        // One broker's trouble is not that of all others behind Mesh.
        return Err(RefreshError::new(verdict, message).of_this_grant());
    }
    if entries.is_empty() && (older.access_token.is_some() || rotated) {
        entries.push(older);
    }
    let mut response = match matched(entries, accounts) {
        Matched::Accounts(tokens) => TokenResponse::for_accounts(tokens),
        Matched::Plain(token) => TokenResponse::new(token),
        Matched::Nothing => match refresh_token.clone() {
            // What can be kept is kept: the old one may be spent.
            Some(token) => TokenResponse::refresh_token_only(token),
            None => {
                let message = "Mesh answered no token that could be told whose it is";
                return Err(RefreshError::new(Verdict::Ambiguous, message));
            }
        },
    };
    if let Some(token) = refresh_token {
        response = response.refresh_token(token);
    }
    if let Some(life) = seconds(&content, &["expiresInSeconds"]) {
        response = response.expires_in(life);
    }
    if let Some(life) = seconds(&content, &["refreshTokenExpiresInSeconds"]) {
        response = response.refresh_token_expires_in(life);
    }
    Ok(response)
}

/// Every access token of an answer, whoever's it is, and the refresh token that it brings.
pub(super) fn all(mut content: Value) -> Result<(Vec<Secret>, Option<Secret>), RefreshError> {
    let Tokens { entries, older } = Tokens::take(&mut content);
    let refresh = entries.iter().chain([&older]);
    let refresh = refresh
        .filter_map(|entry| entry.refresh_token.clone())
        .next();
    let access = entries.into_iter().chain([older]);
    let access: Vec<_> = access.filter_map(|entry| entry.access_token).collect();
    if access.is_empty() {
        let message = "Mesh answered no token to remove the connection by";
        return Err(RefreshError::new(Verdict::Ambiguous, message));
    }
    Ok((access, refresh))
}

/// The tokens of an answer, all of them taken out: what is not used is wiped.
struct Tokens {
    entries: Vec<Entry>,
    /// What older answers have in place of the list, and newer ones beside it.
    older: Entry,
}

impl Tokens {
    fn take(content: &mut Value) -> Self {
        let list = content.get_mut("brokerAccountTokens");
        let list = list.and_then(Value::as_array_mut);
        Self {
            entries: list.into_iter().flatten().map(Entry::take).collect(),
            older: Entry::take(content),
        }
    }
}

/// One account in an answer.
struct Entry {
    account_id: Option<String>,
    account_name: Option<String>,
    token_id: Option<String>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
}

impl Entry {
    fn take(value: &mut Value) -> Self {
        let of_account = |value: &mut Value, name| take_text(value.get_mut("account")?, name);
        Self {
            account_id: of_account(value, "accountId"),
            account_name: of_account(value, "accountName"),
            token_id: take_text(value, "tokenId"),
            access_token: take_text(value, "accessToken").map(Secret::from),
            refresh_token: take_text(value, "refreshToken").map(Secret::from),
        }
    }

    /// Whose it is, by what it says of itself. `alone`: nothing else it could be.
    fn account<'a>(&self, accounts: &'a [Account], alone: bool) -> Option<&'a Account> {
        let by_id = self.account_id.as_deref();
        let by_id = by_id.and_then(|id| accounts.iter().find(|account| account.id() == id));
        if self.account_id.is_some() {
            return by_id;
        }
        // An id that several have says of none which it is.
        let by_token = || {
            let id = self.token_id.as_deref()?;
            let mut of_token = accounts.iter().filter(|known| known.token_id() == Some(id));
            of_token.next().filter(|_| of_token.next().is_none())
        };
        let unnamed = |known: &&Account| self.token_id.is_none() || known.token_id().is_none();
        let only = || accounts.first().filter(|_| alone).filter(unnamed);
        by_token().or_else(only)
    }
}

/// What access tokens there are.
enum Matched {
    Accounts(Vec<AccountToken>),
    /// The only one, of a grant whose accounts nobody has named.
    Plain(Secret),
    Nothing,
}

/// The token of each account that the answer names, and never by position.
fn matched(mut entries: Vec<Entry>, accounts: &[Account]) -> Matched {
    if let [entry] = &mut entries[..]
        && accounts.is_empty()
        && entry.account_id.is_none()
    {
        let token = entry.access_token.take();
        return token.map_or(Matched::Nothing, Matched::Plain);
    }
    let alone = entries.len() == 1 && accounts.len() == 1;
    let token = |entry: Entry| {
        let known = entry.account(accounts, alone).map(Account::id);
        let known = known.map(str::to_owned);
        let token = AccountToken::new(known.or(entry.account_id)?, entry.access_token?);
        let token = match entry.account_name {
            Some(name) => token.name(name),
            None => token,
        };
        Some(match entry.token_id {
            Some(id) => token.token_id(id),
            None => token,
        })
    };
    let tokens: Vec<_> = entries.into_iter().filter_map(token).collect();
    match tokens.is_empty() {
        true => Matched::Nothing,
        false => Matched::Accounts(tokens),
    }
}

/// The refresh token that follows the one that was `sent`: of an account that is known, if it
/// brings one, and rather another than the same.
fn successor(
    entries: &[Entry],
    older: &Entry,
    accounts: &[Account],
    sent: &Secret,
) -> Option<Secret> {
    let alone = entries.len() == 1 && accounts.len() == 1;
    let of_entries = entries
        .iter()
        .map(|entry| (entry, entry.account(accounts, alone).is_some()));
    // What stands beside the list is that of all.
    of_entries
        .chain([(older, true)])
        .filter_map(|(entry, known)| Some((entry.refresh_token.as_ref()?, known)))
        .min_by_key(|(token, known)| (!known, *token == sent))
        .map(|(token, _)| token.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::Grant;
    use crate::key::GrantKey;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);

    /// Accounts `a`, known by the token id `t-a` as well, and `b`.
    fn grant() -> Grant {
        let tokens = [
            AccountToken::new("a", "a1").token_id("t-a"),
            AccountToken::new("b", "b1"),
        ];
        let response = TokenResponse::for_accounts(tokens).refresh_token("r1");
        Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap()
    }

    fn one() -> Grant {
        let response = TokenResponse::for_accounts([AccountToken::new("a", "a1")]);
        let response = response.refresh_token("r1");
        Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap()
    }

    fn answer(grant: &Grant, content: Value) -> Result<TokenResponse, RefreshError> {
        read(content, grant.accounts(), &Secret::from("r1"), false)
    }

    /// The tokens of the accounts and the refresh token after an answer of these entries.
    fn after(mut grant: Grant, entries: &Value) -> (Vec<String>, String) {
        let content = json!({ "status": "succeeded", "brokerAccountTokens": entries });
        let response = answer(&grant, content).unwrap();
        let _ = grant.apply(response, NOW, None);
        let token = |account: &Account| account.access_token().unwrap().expose().to_owned();
        let refresh_token = grant.refresh_token().unwrap().expose().to_owned();
        (grant.accounts().iter().map(token).collect(), refresh_token)
    }

    fn entry(account: Option<&str>, token: Option<&str>, access: &str, refresh: &str) -> Value {
        let mut entry = json!({ "accessToken": access, "refreshToken": refresh });
        if let Some(id) = account {
            entry["account"] = json!({ "accountId": id, "accountName": id });
        }
        if let Some(id) = token {
            entry["tokenId"] = json!(id);
        }
        entry
    }

    #[test]
    fn tokens_are_matched_by_what_they_say_of_themselves_and_never_by_position() {
        let both = json!([
            entry(Some("b"), None, "b2", "r2"),
            entry(None, Some("t-a"), "a2", "r2")
        ]);
        assert_eq!(
            after(grant(), &both),
            (vec!["a2".into(), "b2".into()], "r2".into())
        );
        // The id of the account counts more than that of a token.
        let crossed = json!([entry(Some("b"), Some("t-a"), "b2", "r2")]);
        assert_eq!(
            after(grant(), &crossed),
            (vec!["a1".into(), "b2".into()], "r2".into())
        );
        // Nor does an id that several have say which of them is meant.
        let shared = || {
            let tokens = [
                AccountToken::new("a", "a1").token_id("t"),
                AccountToken::new("b", "b1").token_id("t"),
            ];
            let response = TokenResponse::for_accounts(tokens).refresh_token("r1");
            Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap()
        };
        let three = json!([
            entry(Some("c"), Some("t"), "c2", "r2"),
            entry(None, Some("t"), "x2", "r2"),
            entry(Some("b"), Some("t"), "b2", "r2"),
        ]);
        assert_eq!(after(shared(), &three).0, ["a1", "b2", "c2"]);
        // The only one there is, though its token has got an id since.
        let first_id = json!([entry(None, Some("t-new"), "a2", "r2")]);
        assert_eq!(after(one(), &first_id).0, ["a2"]);
        // One that nobody knows stands for no other, but what it rotated is kept.
        let strangers = json!([
            entry(None, Some("t-x"), "x2", "r2"),
            entry(None, None, "y2", "")
        ]);
        assert_eq!(
            after(grant(), &strangers),
            (vec!["a1".into(), "b1".into()], "r2".into())
        );
        let nameless = json!([entry(None, None, "x2", "r2")]);
        assert_eq!(after(grant(), &nameless).0, ["a1", "b1"]);
        assert_eq!(after(one(), &nameless), (vec!["x2".into()], "r2".into()));
        // An account that was opened since joins.
        let new = json!([entry(Some("c"), None, "c2", "r2")]);
        assert_eq!(after(grant(), &new).0, ["a1", "b1", "c2"]);
    }

    #[test]
    fn the_refresh_token_that_is_new_is_kept() {
        let entries = json!([
            entry(Some("a"), None, "a2", "r1"),
            entry(Some("c"), None, "c2", "r3"),
            entry(Some("b"), None, "b2", "r2"),
        ]);
        assert_eq!(after(grant(), &entries).1, "r2");
        let unchanged = json!([entry(Some("a"), None, "a2", "")]);
        assert_eq!(after(grant(), &unchanged).1, "r1");
        let no_access = json!([{ "account": { "accountId": "a" }, "refreshToken": "r2" }]);
        assert_eq!(
            after(grant(), &no_access),
            (vec!["a1".into(), "b1".into()], "r2".into())
        );
    }

    #[test]
    fn a_new_refresh_token_is_found_wherever_it_stands() {
        let kept = |content: Value| {
            let mut grant = grant();
            let response = answer(&grant, content).unwrap();
            let _ = grant.apply(response, NOW, None);
            grant.refresh_token().unwrap().expose().to_owned()
        };
        let bare = json!([{ "account": { "accountId": "a" }, "accessToken": "a2" }]);
        let same = json!([entry(Some("a"), None, "a2", "r1")]);
        let new = json!([entry(Some("a"), None, "a2", "r2")]);
        for (status, entries, beside, expected) in [
            (json!("succeeded"), &bare, json!("r2"), "r2"),
            (json!("succeeded"), &same, json!("r2"), "r2"),
            (json!("succeeded"), &new, json!("r3"), "r2"),
            (json!("succeeded"), &json!(null), json!("r2"), "r2"),
            (json!("SUCCEEDED"), &new, json!(null), "r2"),
            (json!("something new"), &new, json!(null), "r2"),
            (json!(7), &new, json!(null), "r2"),
            (json!("failed"), &new, json!(null), "r2"),
            (json!("failed"), &json!([]), json!("r2"), "r2"),
        ] {
            let content = json!({
                "status": status, "refreshToken": beside, "brokerAccountTokens": entries
            });
            assert_eq!(kept(content.clone()), expected, "{content}");
        }
    }

    #[test]
    fn one_token_is_that_of_a_grant_without_accounts() {
        let response = TokenResponse::refresh_token_only("r1");
        let mut grant = Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap();
        let two = json!([entry(None, None, "x", ""), entry(None, None, "y", "")]);
        let content = json!({ "brokerAccountTokens": two });
        assert!(answer(&grant, content).is_err(), "whose would they be?");
        let one = json!({ "brokerAccountTokens": [entry(None, None, "x", "r2")] });
        grant
            .apply(answer(&grant, one).unwrap(), NOW, None)
            .unwrap();
        assert_eq!(grant.access_token().unwrap().expose(), "x");
        assert!(grant.accounts().is_empty());
        let named = json!({ "brokerAccountTokens": [entry(Some("a"), None, "a2", "r2")] });
        grant
            .apply(answer(&grant, named).unwrap(), NOW, None)
            .unwrap();
        assert_eq!(grant.accounts()[0].id(), "a");
    }

    #[test]
    fn a_code_that_was_not_taken_is_asked_for_again() {
        let failed = json!({ "status": "failed", "errorMessage": "wrong code" });
        let sent = Secret::from("r1");
        let error = read(failed, grant().accounts(), &sent, true).unwrap_err();
        assert_eq!(error.verdict(), Verdict::UserAction);
        let dead = json!({ "status": "failed", "errorMessage": "Unauthorized token" });
        let error = read(dead, grant().accounts(), &sent, true).unwrap_err();
        assert_eq!(error.verdict(), Verdict::Dead);
    }

    #[test]
    fn what_older_answers_say_is_read() {
        let old = json!({
            "status": "succeeded", "account": { "accountId": "a" }, "accessToken": "a2",
            "refreshToken": "r2", "expiresInSeconds": "60", "refreshTokenExpiresInSeconds": 900
        });
        let response = answer(&grant(), old).unwrap();
        assert_eq!(response.expires_in, Some(Duration::from_secs(60)));
        assert_eq!(
            response.refresh_token_expires_in,
            Some(Duration::from_secs(900))
        );
        assert_eq!(response.refresh_token, Some(Secret::from("r2")));
    }

    #[test]
    fn what_is_no_token_has_its_verdict() {
        let verdict = |content| answer(&grant(), content).unwrap_err().verdict();
        let transient = Verdict::Transient { retry_after: None };
        assert_eq!(verdict(json!({ "status": "failed" })), transient);
        assert_eq!(
            verdict(json!({ "status": "failed", "errorMessage": "Unauthorized token" })),
            Verdict::Dead
        );
        assert_eq!(
            verdict(json!({ "status": "succeeded" })),
            Verdict::Ambiguous
        );
        assert_eq!(verdict(json!(null)), Verdict::Ambiguous);
        assert_eq!(
            verdict(json!({ "status": "something new" })),
            Verdict::Ambiguous
        );
        let mfa =
            json!({ "status": "mfaRequired", "brokerAccountTokens": [{ "accessToken": "half" }] });
        let mut error = answer(&grant(), mfa).unwrap_err();
        assert_eq!(error.verdict(), Verdict::UserAction);
        assert_eq!(error.take_continuation(), Some(Secret::from("half")));
    }

    proptest::proptest! {
        /// Whatever the order of the answer, a token ends at the account that it names.
        #[test]
        fn no_account_ever_gets_anothers_token(
            answered in proptest::collection::vec(proptest::option::of(0u8..6), 0..8)
        ) {
            let ids: Vec<String> = (0..4).map(|n| format!("acc-{n}")).collect();
            let tokens = ids.iter().map(|id| AccountToken::new(id, format!("{id}.old")));
            let response = TokenResponse::for_accounts(tokens).refresh_token("r1");
            let mut grant =
                Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap();
            let entries: Vec<Value> = answered.iter().map(|n| match n {
                Some(n) => entry(Some(&format!("acc-{n}")), None, &format!("acc-{n}.new"), "r2"),
                None => entry(None, None, "stray", "r2"),
            }).collect();
            let content = json!({ "brokerAccountTokens": entries });
            if let Ok(response) = answer(&grant, content) {
                let _ = grant.apply(response, NOW, None);
            }
            for account in grant.accounts() {
                let token = account.access_token().unwrap().expose();
                proptest::prop_assert_eq!(token.split('.').next(), Some(account.id()));
            }
            for id in &ids {
                proptest::prop_assert!(grant.accounts().iter().any(|account| account.id() == id));
            }
        }
    }
}
