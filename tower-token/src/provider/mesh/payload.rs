//! What Mesh's SDK hands to the page when a user has connected.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{BROKER_NAME, BROKER_TYPE, CONSENT};
use crate::clock::Timestamp;
use crate::grant::{AccountToken, Grant, TokenResponse, seconds, take_text};
use crate::secret::Secret;

/// The SDK's `LinkPayload`: what its `onIntegrationConnected` is called with.
///
/// It comes from a browser, so it is bounded and checked; optional fields that are odd are left
/// out. It is for the user who is signed in, and says nothing of who that is.
///
/// ```
/// use tower_token::MeshPayload;
///
/// let payload = MeshPayload::from_json(br#"{"accessToken":{
///     "accountTokens":[
///         {"account":{"accountId":"a","accountName":"Savings"},"accessToken":"1","refreshToken":"r"},
///         {"account":{"accountId":"b","accountName":"Trading"},"accessToken":"2","refreshToken":"r"}],
///     "brokerBrandInfo":{},"expiresInSeconds":3600,
///     "brokerType":"coinbase","brokerName":"Coinbase"}}"#)?;
///
/// // Both accounts have the same refresh token, which must not be spent twice.
/// let grants = payload.grants();
/// assert_eq!(grants.len(), 1);
/// assert_eq!(grants[0].account_ids(), ["a", "b"]);
/// # Ok::<(), tower_token::InvalidMeshPayload>(())
/// ```
#[derive(Clone)]
pub struct MeshPayload {
    grants: Vec<MeshGrant>,
}

/// What of a [`MeshPayload`] belongs together: the accounts of one refresh token.
#[derive(Clone)]
pub struct MeshGrant {
    broker_type: String,
    broker_name: String,
    account_ids: Vec<String>,
    accounts: Vec<AccountToken>,
    refresh_token: Option<Secret>,
    expires_in: Option<Duration>,
    refresh_token_expires_in: Option<Duration>,
    obtained_at: Option<Timestamp>,
}

/// Why a payload cannot be taken. Says nothing of what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidMeshPayload(&'static str);

impl fmt::Display for InvalidMeshPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is not what Mesh's SDK hands out: {}", self.0)
    }
}

impl std::error::Error for InvalidMeshPayload {}

/// More accounts than this do not come by one consent.
const MAX_ACCOUNTS: usize = 64;
const MAX_BODY: usize = 1 << 20;
/// No id or name is longer than this, in bytes.
const MAX_TEXT: usize = 256;

impl MeshPayload {
    /// Reads the JSON of a `LinkPayload`: an object with `accessToken`, or `delayedAuth`.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidMeshPayload> {
        if json.len() > MAX_BODY {
            return Err(InvalidMeshPayload("it is larger than 1 MiB"));
        }
        // The parser's error could quote it, so it goes no further.
        let mut payload: Value =
            serde_json::from_slice(json).map_err(|_| InvalidMeshPayload("it is no JSON"))?;
        let (access, delayed) = (
            take(&mut payload, "accessToken"),
            take(&mut payload, "delayedAuth"),
        );
        match (access, delayed) {
            (Value::Object(access), Value::Null) => Self::of_accounts(Value::Object(access)),
            (Value::Null, Value::Object(delayed)) => Self::delayed(Value::Object(delayed)),
            _ => Err(InvalidMeshPayload(
                "it needs one of accessToken and delayedAuth",
            )),
        }
    }

    fn of_accounts(mut payload: Value) -> Result<Self, InvalidMeshPayload> {
        let common = MeshGrant::common(&mut payload)?;
        let Value::Array(entries) = take(&mut payload, "accountTokens") else {
            return Err(InvalidMeshPayload("accountTokens is no list"));
        };
        if entries.is_empty() || entries.len() > MAX_ACCOUNTS {
            return Err(InvalidMeshPayload("accountTokens has 1 to 64 entries"));
        }
        let mut grants: Vec<MeshGrant> = Vec::new();
        let mut seen = BTreeSet::new();
        for mut entry in entries {
            let account = entry.get_mut("account");
            let account = account.ok_or(InvalidMeshPayload("an entry has no account"))?;
            let id = text(account, "accountId")?;
            if !seen.insert(id.clone()) {
                return Err(InvalidMeshPayload("two entries are of one account"));
            }
            let name = optional_text(account, "accountName");
            let token = take_text(&mut entry, "accessToken");
            // One that a header cannot carry is no token (RFC 6749 appendix A.12).
            let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
            let token = token.ok_or(InvalidMeshPayload("an entry has no accessToken"))?;
            let mut token = AccountToken::new(id.clone(), token);
            if let Some(name) = name {
                token = token.name(name);
            }
            if let Some(id) = optional_text(&mut entry, "tokenId") {
                token = token.token_id(id);
            }
            let refresh_token = take_text(&mut entry, "refreshToken").map(Secret::from);
            let shared = grants
                .iter_mut()
                .find(|grant| refresh_token.is_some() && grant.refresh_token == refresh_token);
            match shared {
                Some(grant) => {
                    grant.account_ids.push(id);
                    grant.accounts.push(token);
                }
                None => grants.push(MeshGrant {
                    account_ids: vec![id],
                    accounts: vec![token],
                    refresh_token,
                    ..common.clone()
                }),
            }
        }
        Ok(Self { grants })
    }

    fn delayed(mut payload: Value) -> Result<Self, InvalidMeshPayload> {
        let common = MeshGrant::common(&mut payload)?;
        let token = take_text(&mut payload, "refreshToken");
        let token = token.ok_or(InvalidMeshPayload("there is no refreshToken"))?;
        let grant = MeshGrant {
            refresh_token: Some(Secret::from(token)),
            // What is not there does not expire.
            expires_in: None,
            ..common
        };
        Ok(Self {
            grants: vec![grant],
        })
    }

    /// When the page says that it got this. It can only shorten the tokens' lives: a moment
    /// in the future counts as now.
    #[must_use]
    pub fn obtained_at(mut self, at: Timestamp) -> Self {
        for grant in &mut self.grants {
            grant.obtained_at = Some(at);
        }
        self
    }

    /// What is to be connected, each under a key of its own.
    pub fn grants(&self) -> &[MeshGrant] {
        &self.grants
    }
}

impl MeshGrant {
    fn common(payload: &mut Value) -> Result<Self, InvalidMeshPayload> {
        Ok(Self {
            broker_type: text(payload, "brokerType")?,
            broker_name: text(payload, "brokerName")?,
            account_ids: Vec::new(),
            accounts: Vec::new(),
            refresh_token: None,
            expires_in: seconds(payload, &["expiresInSeconds"]),
            refresh_token_expires_in: seconds(payload, &["refreshTokenExpiresInSeconds"]),
            obtained_at: None,
        })
    }

    /// What kind of broker it is of, such as `coinbase`.
    pub fn broker_type(&self) -> &str {
        &self.broker_type
    }

    /// What the broker is called.
    pub fn broker_name(&self) -> &str {
        &self.broker_name
    }

    /// The accounts. None are known yet if the broker confirms them later.
    pub fn account_ids(&self) -> Vec<&str> {
        self.account_ids.iter().map(String::as_str).collect()
    }

    /// A name for the connection: the broker, and the first of its accounts in the order of
    /// their ids, whatever the order in which they came. Before there are any it is a hash of
    /// the refresh token.
    pub fn connection(&self) -> String {
        let first = match self.account_ids.iter().min() {
            Some(first) => first.clone(),
            None => self.consent().unwrap_or_default(),
        };
        format!("{}:{first}", self.broker_type)
    }

    /// Whether `grant` is of the same broker and has no other accounts than these: connecting
    /// this replaces it.
    pub fn replaces(&self, grant: &Grant) -> bool {
        let accounts = grant.accounts();
        grant.metadata().get(BROKER_TYPE) == Some(&self.broker_type)
            && !accounts.is_empty()
            && accounts.iter().all(|account| self.has(account.id()))
    }

    /// Whether `grant` began with this very consent: a page can hand out a payload again, such
    /// as when it is loaded anew. Its refresh token may have been spent since, so it must not
    /// be connected again over the one that followed.
    pub fn is_known_to(&self, grant: &Grant) -> bool {
        let consent = self.consent();
        consent.is_some() && grant.metadata().get(CONSENT) == consent.as_ref()
    }

    /// What is to be connected in place of `grant`, which began with this very consent, so that
    /// it has these accounts as well: they share a refresh token, which only one grant may
    /// spend. Nothing if it has them, or has a successor of that refresh token by now; the next
    /// refresh then brings all that the service tells of.
    pub fn joined_with(&self, grant: &Grant) -> Option<TokenResponse> {
        let new = |id: &&String| !grant.accounts().iter().any(|account| account.id() == *id);
        self.account_ids.iter().find(new)?;
        if self.refresh_token.as_ref() != grant.refresh_token() {
            return None;
        }
        let mut response = self.response();
        let others = grant
            .accounts()
            .iter()
            .filter(|account| !self.has(account.id()));
        for (account, token) in others.filter_map(|other| Some((other, other.access_token()?))) {
            let mut joined = AccountToken::new(account.id(), Secret::from(token.expose()));
            if let Some(name) = account.name() {
                joined = joined.name(name);
            }
            if let Some(id) = account.token_id() {
                joined = joined.token_id(id);
            }
            response = response.account(joined);
        }
        // All of them live as long as the one that ends first: sooner is safe.
        let Some(token) = grant.access_token() else {
            return Some(response);
        };
        let began = self
            .obtained_at
            .map_or(token.started(), |at| at.min(token.started()));
        let held = token.expires_at().map(|end| end.since(token.started()));
        Some(
            match (held, self.expires_in) {
                (Some(held), life) => response.expires_in(life.map_or(held, |life| life.min(held))),
                (None, _) => response,
            }
            .obtained_at(began),
        )
    }

    fn has(&self, id: &str) -> bool {
        self.account_ids.iter().any(|ours| ours == id)
    }

    fn consent(&self) -> Option<String> {
        let token = self.refresh_token.as_ref()?;
        let hash = Sha256::digest(token.as_bytes());
        Some(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// What [`TokenManager::connect`](crate::TokenManager::connect) takes.
    pub fn response(&self) -> TokenResponse {
        let mut response = TokenResponse::for_accounts(self.accounts.clone())
            .metadata(BROKER_TYPE, &self.broker_type)
            .metadata(BROKER_NAME, &self.broker_name);
        if let Some(token) = &self.refresh_token {
            response = response.refresh_token(token.clone());
        }
        if let Some(consent) = self.consent() {
            response = response.metadata(CONSENT, consent);
        }
        if let Some(life) = self.expires_in {
            response = response.expires_in(life);
        }
        if let Some(life) = self.refresh_token_expires_in {
            response = response.refresh_token_expires_in(life);
        }
        match self.obtained_at {
            Some(at) => response.obtained_at(at),
            None => response,
        }
    }
}

fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

/// A text that has to be there.
fn text(value: &mut Value, name: &'static str) -> Result<String, InvalidMeshPayload> {
    optional_text(value, name).ok_or(InvalidMeshPayload(match name {
        "accountId" => "an account has no accountId of 1 to 256 bytes",
        "brokerType" => "it has no brokerType of 1 to 256 bytes",
        _ => "it has no brokerName of 1 to 256 bytes",
    }))
}

fn optional_text(value: &mut Value, name: &str) -> Option<String> {
    take_text(value, name).filter(|text| text.len() <= MAX_TEXT)
}

impl fmt::Debug for MeshPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshPayload")
            .field("grants", &self.grants)
            .finish()
    }
}

impl fmt::Debug for MeshGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshGrant")
            .field("accounts", &self.accounts)
            .field("refresh_token", &self.refresh_token)
            .field("expires_in", &self.expires_in)
            .field("refresh_token_expires_in", &self.refresh_token_expires_in)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(id: &str, refresh: Option<&str>) -> Value {
        let mut entry = json!({
            "account": { "accountId": id, "accountName": "n", "fund": 1.5, "isReconnected": null },
            "accessToken": format!("at-{id}"),
        });
        if let Some(refresh) = refresh {
            entry["refreshToken"] = json!(refresh);
        }
        entry
    }

    fn payload(entries: &[Value]) -> Value {
        json!({ "accessToken": {
            "accountTokens": entries, "brokerBrandInfo": { "brokerLogo": "x" },
            "expiresInSeconds": 60, "refreshTokenExpiresInSeconds": "900",
            "brokerType": "coinbase", "brokerName": "Coinbase"
        }})
    }

    fn read(payload: &Value) -> Result<MeshPayload, InvalidMeshPayload> {
        MeshPayload::from_json(payload.to_string().as_bytes())
    }

    #[test]
    fn accounts_of_one_refresh_token_are_one_grant_and_others_one_each() {
        let entries = [
            entry("a", Some("r1")),
            entry("b", None),
            entry("c", Some("r1")),
            entry("d", Some("r2")),
            entry("e", None),
        ];
        let read = read(&payload(&entries)).unwrap();
        let ids: Vec<_> = read.grants().iter().map(MeshGrant::account_ids).collect();
        assert_eq!(ids, [vec!["a", "c"], vec!["b"], vec!["d"], vec!["e"]]);
        assert_eq!(read.grants()[0].connection(), "coinbase:a");
        let (back, forth) = (
            self::read(&payload(&[entry("b", Some("r")), entry("a", Some("r"))])),
            self::read(&payload(&[entry("a", Some("r")), entry("b", Some("r"))])),
        );
        let name = |read: Result<MeshPayload, _>| read.unwrap().grants()[0].connection();
        assert_eq!(name(back), name(forth));
        let response = read.grants()[0].response();
        assert_eq!(response.expires_in, Some(Duration::from_secs(60)));
        assert_eq!(
            response.refresh_token_expires_in,
            Some(Duration::from_secs(900))
        );
        assert_eq!(response.refresh_token, Some(Secret::from("r1")));
        assert_eq!(response.metadata[BROKER_TYPE], "coinbase");
        assert_eq!(response.metadata[BROKER_NAME], "Coinbase");
    }

    #[test]
    fn a_delayed_one_is_a_grant_without_an_access_token() {
        let delayed = json!({ "delayedAuth": {
            "refreshToken": "r", "refreshTokenExpiresInSeconds": 900,
            "brokerType": "x", "brokerName": "X", "brokerBrandInfo": {}
        }});
        let read = read(&delayed).unwrap();
        let connection = read.grants()[0].connection();
        assert!(
            connection.starts_with("x:") && connection.len() == 66,
            "{connection}"
        );
        let response = read.grants()[0].response();
        assert!(response.access_token.is_none() && response.accounts.is_empty());
        assert_eq!(response.refresh_token, Some(Secret::from("r")));
    }

    #[test]
    fn what_is_needed_is_asked_for_and_what_is_not_is_left_out() {
        let good = payload(&[entry("a", None)]);
        for (pointer, bad) in [
            ("/accessToken", json!(null)),
            ("/accessToken", json!([])),
            ("/accessToken/brokerType", json!("")),
            ("/accessToken/brokerName", json!(7)),
            ("/accessToken/brokerName", json!("x".repeat(257))),
            ("/accessToken/accountTokens", json!({})),
            ("/accessToken/accountTokens", json!([])),
            (
                "/accessToken/accountTokens",
                json!([entry("a", None), entry("a", None)]),
            ),
            (
                "/accessToken/accountTokens",
                json!(vec![entry("a", None); 65]),
            ),
            ("/accessToken/accountTokens/0", json!("x")),
            ("/accessToken/accountTokens/0/account", json!(null)),
            ("/accessToken/accountTokens/0/account/accountId", json!("")),
            ("/accessToken/accountTokens/0/accessToken", json!("")),
            ("/accessToken/accountTokens/0/accessToken", json!("a\nb")),
        ] {
            let mut broken = good.clone();
            *broken.pointer_mut(pointer).unwrap() = bad;
            assert!(read(&broken).is_err(), "{pointer}");
        }
        for other in [json!(7), json!([]), json!(null), json!("x"), json!({})] {
            assert!(read(&other).is_err(), "{other}");
        }
        for (pointer, odd) in [
            ("/accessToken/expiresInSeconds", json!("soon")),
            ("/accessToken/brokerBrandInfo", json!(null)),
            (
                "/accessToken/accountTokens/0/account/accountName",
                json!(null),
            ),
        ] {
            let mut odd_one = good.clone();
            *odd_one.pointer_mut(pointer).unwrap() = odd;
            assert!(read(&odd_one).is_ok(), "{pointer}");
        }
        let mut both = good;
        both["delayedAuth"] = json!({ "refreshToken": "r", "brokerType": "x", "brokerName": "X" });
        assert!(read(&both).is_err());
    }

    #[test]
    fn what_was_connected_before_is_known_again() {
        let now = Timestamp::from_unix_millis(0);
        let grant = |entries: &[Value]| {
            let read = read(&payload(entries)).unwrap();
            let key = crate::key::GrantKey::new("mesh", "ada");
            Grant::connected(key, 1, read.grants()[0].response(), now, None).unwrap()
        };
        let new = |entries: &[Value]| read(&payload(entries)).unwrap().grants()[0].clone();
        let both = grant(&[entry("a", Some("r1")), entry("b", Some("r1"))]);
        for (entries, known, replaces) in [
            (
                vec![entry("b", Some("r1")), entry("a", Some("r1"))],
                true,
                true,
            ),
            (vec![entry("a", Some("r1"))], true, false),
            (
                vec![entry("a", Some("r2")), entry("b", Some("r2"))],
                false,
                true,
            ),
            (vec![entry("a", Some("r2"))], false, false),
            (vec![entry("a", None)], false, false),
        ] {
            assert_eq!(new(&entries).is_known_to(&both), known, "{entries:?}");
            assert_eq!(new(&entries).replaces(&both), replaces, "{entries:?}");
        }
        // Another account of the same consent joins, as long as nothing was spent.
        let third = new(&[entry("c", Some("r1"))]);
        let joined = third.joined_with(&both).unwrap();
        assert_eq!(joined.accounts.len(), 3);
        let ends = |response| {
            let key = crate::key::GrantKey::new("mesh", "ada");
            let later = now + Duration::from_secs(50);
            let grant = Grant::connected(key, 2, response, later, None).unwrap();
            grant.expires_at().unwrap().since(now)
        };
        assert_eq!(ends(joined), Duration::from_secs(60));
        assert!(new(&[entry("a", Some("r1"))]).joined_with(&both).is_none());
        let mut spent = both;
        let answer = TokenResponse::new("t").refresh_token("r2");
        spent.apply(answer, now, None).unwrap();
        assert!(third.is_known_to(&spent) && third.joined_with(&spent).is_none());
        // Without a refresh token nothing is told.
        let unknown = grant(&[entry("a", None)]);
        assert!(!new(&[entry("a", None)]).is_known_to(&unknown));
    }

    #[test]
    fn neither_errors_nor_debug_show_what_was_in_it() {
        let shown = format!("{:?}", read(&payload(&[entry("acc-1", Some("r-1"))])));
        assert!(
            !shown.contains("acc-1") && !shown.contains("r-1"),
            "{shown}"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(bytes: Vec<u8>, text: String) {
            let _ = MeshPayload::from_json(&bytes);
            let _ = MeshPayload::from_json(text.as_bytes());
        }
    }
}
