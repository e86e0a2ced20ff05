//! What a token service answers (RFC 6749 section 5.1), read leniently.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::AccountToken;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// The tokens of a successful answer, from any OAuth client or code of yours.
///
/// ```
/// use std::time::Duration;
/// use tower_token::TokenResponse;
///
/// let built = TokenResponse::new("access")
///     .refresh_token("refresh")
///     .expires_in(Duration::from_secs(3_600));
///
/// let parsed = TokenResponse::from_json(
///     br#"{"access_token":"access","token_type":"bearer","expires_in":"3600"}"#,
/// );
/// assert!(parsed.is_ok());
/// # let _ = built;
/// ```
#[derive(Clone)]
pub struct TokenResponse {
    pub(crate) access_token: Option<Secret>,
    pub(crate) accounts: Vec<AccountToken>,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) id_token: Option<Secret>,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) refresh_token_expires_in: Option<Duration>,
    pub(crate) scope: Option<String>,
    pub(crate) obtained_at: Option<Timestamp>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, Secret>,
}

/// The answer is not JSON with an `access_token`. Says nothing of what was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidTokenResponse(());

impl fmt::Display for InvalidTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the token response is not a JSON object with an access_token")
    }
}

impl std::error::Error for InvalidTokenResponse {}

impl TokenResponse {
    /// An answer with this access token and nothing else.
    pub fn new(access_token: impl Into<Secret>) -> Self {
        Self {
            access_token: Some(access_token.into()),
            ..Self::empty()
        }
    }

    /// An answer that brings a token for each of several accounts.
    pub fn for_accounts(accounts: impl IntoIterator<Item = AccountToken>) -> Self {
        Self {
            accounts: accounts.into_iter().collect(),
            ..Self::empty()
        }
    }

    /// A consent that brought a refresh token and no access token yet: the first is asked for
    /// when it is needed. As the answer to a refresh this is a failure, but the new refresh
    /// token is kept.
    pub fn refresh_token_only(refresh_token: impl Into<Secret>) -> Self {
        Self::empty().refresh_token(refresh_token)
    }

    fn empty() -> Self {
        Self {
            access_token: None,
            accounts: Vec::new(),
            refresh_token: None,
            id_token: None,
            expires_in: None,
            refresh_token_expires_in: None,
            scope: None,
            obtained_at: None,
            metadata: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// Adds an account that the grant gives access to, with its token.
    #[must_use]
    pub fn account(mut self, account: AccountToken) -> Self {
        self.accounts.push(account);
        self
    }

    /// The refresh token. Without one the grant lasts as long as its access token.
    #[must_use]
    pub fn refresh_token(mut self, token: impl Into<Secret>) -> Self {
        self.refresh_token = Some(token.into());
        self
    }

    /// The id token (OpenID Connect Core section 3.1.3.3). It is kept, not checked.
    #[must_use]
    pub fn id_token(mut self, token: impl Into<Secret>) -> Self {
        self.id_token = Some(token.into());
        self
    }

    /// How long the access token is good for, from the moment it was asked for.
    #[must_use]
    pub fn expires_in(mut self, life: Duration) -> Self {
        self.expires_in = Some(life);
        self
    }

    /// How long the refresh token is good for.
    #[must_use]
    pub fn refresh_token_expires_in(mut self, life: Duration) -> Self {
        self.refresh_token_expires_in = Some(life);
        self
    }

    /// The scope that was granted.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// When the tokens were asked for, if that was a while ago. It can only shorten
    /// their lives: a moment in the future counts as now.
    #[must_use]
    pub fn obtained_at(mut self, at: Timestamp) -> Self {
        self.obtained_at = Some(at);
        self
    }

    /// Adds something to keep with the grant, sealed like the tokens.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// Adds something secret to keep with the grant, such as a further token that its service
    /// wants back. It is wiped when the grant ends.
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// The id token that it brought, to be checked before anybody is let in by it.
    pub fn issued_id_token(&self) -> Option<&Secret> {
        self.id_token.as_ref()
    }

    /// The refresh token that it brought.
    pub fn issued_refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
    }

    /// The access token that it brought.
    pub fn issued_access_token(&self) -> Option<&Secret> {
        self.access_token.as_ref()
    }

    /// How many bytes there are to keep.
    pub(crate) fn len(&self) -> usize {
        let secrets = [
            self.access_token.as_ref(),
            self.refresh_token.as_ref(),
            self.id_token.as_ref(),
        ];
        let secrets = secrets
            .into_iter()
            .flatten()
            .map(|secret| secret.as_bytes().len());
        let scope = self.scope.as_ref().map_or(0, String::len);
        let metadata = self
            .metadata
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let accounts = self.accounts.iter().map(AccountToken::len);
        let more = self.secrets.iter();
        let more = more.map(|(name, secret)| name.len() + secret.as_bytes().len());
        secrets.sum::<usize>()
            + scope
            + metadata.sum::<usize>()
            + accounts.sum::<usize>()
            + more.sum::<usize>()
    }

    /// Reads the JSON of a token endpoint.
    ///
    /// Only `access_token` has to be there. Whatever else is missing or odd is left
    /// out rather than failed on: by the time of an answer the old refresh token may
    /// be spent, so the new one must not be lost over an optional field.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidTokenResponse> {
        // The parser's error could quote the body, so it goes no further.
        let mut body: Value = serde_json::from_slice(body).map_err(|_| InvalidTokenResponse(()))?;
        let access_token = take_text(&mut body, "access_token").ok_or(InvalidTokenResponse(()))?;
        let mut response = Self::new(access_token);
        response.refresh_token = take_text(&mut body, "refresh_token").map(Secret::from);
        response.id_token = take_text(&mut body, "id_token").map(Secret::from);
        response.scope = take_text(&mut body, "scope");
        response.expires_in = seconds(&body, &["expires_in"]);
        response.refresh_token_expires_in =
            seconds(&body, &["refresh_token_expires_in", "refresh_expires_in"]);
        Ok(response)
    }
}

/// Moves a string out, so that its one buffer becomes the secret's.
pub(crate) fn take_text(body: &mut Value, name: &str) -> Option<String> {
    match body.get_mut(name)?.take() {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// A lifetime in seconds, as a number or as text. Zero and less say nothing: some
/// services answer 0 for a token that does not expire.
pub(crate) fn seconds(body: &Value, names: &[&str]) -> Option<Duration> {
    let value = names.iter().find_map(|name| body.get(name))?;
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    let life = (seconds.is_finite() && seconds > 0.0)
        .then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    life.filter(|life| !life.is_zero())
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("access_token", &self.access_token)
            .field("accounts", &self.accounts)
            .field("refresh_token", &self.refresh_token)
            .field("id_token", &self.id_token)
            .field("expires_in", &self.expires_in)
            .field("refresh_token_expires_in", &self.refresh_token_expires_in)
            .field("obtained_at", &self.obtained_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expires_in(json: &str) -> Option<Duration> {
        let body = format!(r#"{{"access_token":"t","expires_in":{json}}}"#);
        TokenResponse::from_json(body.as_bytes())
            .unwrap()
            .expires_in
    }

    #[test]
    fn expires_in_is_read_in_every_form_seen() {
        let secs = |n| Some(Duration::from_secs(n));
        assert_eq!(expires_in("3600"), secs(3_600));
        assert_eq!(expires_in("\"3600\""), secs(3_600));
        assert_eq!(expires_in("3600.0"), secs(3_600));
        assert_eq!(expires_in("1e300"), Some(Duration::MAX));
        for odd in [
            "0", "1e-10", "-1", "null", "\"\"", "\"soon\"", "\"NaN\"", "{}", "[1]", "true",
        ] {
            assert_eq!(expires_in(odd), None, "{odd}");
        }
    }

    #[test]
    fn odd_optional_fields_never_lose_a_rotated_token() {
        let body = br#"{"access_token":"a","refresh_token":"r","token_type":7,"scope":["x"],
            "expires_in":{},"id_token":null,"refresh_expires_in":"900","more":[[[]]]}"#;
        let response = TokenResponse::from_json(body).unwrap();
        assert_eq!(response.refresh_token, Some(Secret::from("r")));
        assert_eq!(response.scope, None);
        assert_eq!(
            response.refresh_token_expires_in,
            Some(Duration::from_secs(900))
        );
    }

    #[test]
    fn without_an_access_token_it_is_no_answer() {
        for body in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"access_token":""}"#,
            r#"{"access_token":1}"#,
        ] {
            assert!(TokenResponse::from_json(body.as_bytes()).is_err(), "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(body: Vec<u8>) {
            let _ = TokenResponse::from_json(&body);
        }
    }
}
