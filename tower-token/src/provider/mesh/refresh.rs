//! The refresh at Mesh, with every field that it documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::BROKER_TYPE;
use super::answer;
use super::api::{Api, REFRESH};
use crate::grant::{AccessToken, Grant, TokenResponse};
use crate::provider::verdict::{RefreshError, Verdict};
use crate::provider::{RefreshRequest, Refresher};
use crate::secret::Secret;

pub(super) struct RefreshAccounts {
    api: Arc<Api>,
}

/// The body of `POST /api/v1/token/refresh`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    pub(super) r#type: &'a str,
    pub(super) refresh_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) create_new_refresh_token: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trade_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mfa_code: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<&'a str, &'a str>,
}

impl RefreshAccounts {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }
}

impl Refresher for RefreshAccounts {
    async fn refresh(&self, request: RefreshRequest<'_>) -> Result<TokenResponse, RefreshError> {
        let body = body(&request)?;
        let content = self.api.send(&REFRESH, &body).await?.into_content()?;
        let accounts = request.grant().accounts();
        let with_code = request.user_code().is_some();
        answer::read(content, accounts, request.refresh_token(), with_code)
    }
}

fn body<'a>(request: &RefreshRequest<'a>) -> Result<Body<'a>, RefreshError> {
    let (grant, metadata) = (request.grant(), request.grant().metadata());
    let Some(broker_type) = metadata.get(BROKER_TYPE) else {
        // Not a fault of the client's, which would close the way for all.
        let message = "the grant does not say what type of broker it is of: connect it anew";
        return Err(RefreshError::new(Verdict::UserAction, message).of_this_grant());
    };
    // A second factor goes with the token of the answer that asked for it.
    let continued = request.user_code().and(request.continuation());
    let access_token = continued
        .map(Secret::expose)
        .or_else(|| grant.access_token().map(AccessToken::expose));
    Ok(Body {
        r#type: broker_type,
        refresh_token: request.refresh_token().expose(),
        create_new_refresh_token: request.renew_refresh_token().then_some(true),
        access_token,
        trade_token: trade_token(grant),
        mfa_code: request.user_code().map(Secret::expose),
        metadata: extras(metadata),
    })
}

pub(super) fn trade_token(grant: &Grant) -> Option<&str> {
    grant.secret("tradeToken").map(Secret::expose)
}

/// What a grant's metadata has for the field `metadata`.
pub(super) fn extras(metadata: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let extra = metadata.iter();
    let extra = extra.filter_map(|(name, value)| Some((name.strip_prefix("metadata.")?, value)));
    extra.map(|(name, value)| (name, value.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::{AccountToken, Grant};
    use crate::key::GrantKey;

    fn grant(response: TokenResponse) -> Grant {
        let now = Timestamp::from_unix_millis(0);
        Grant::connected(GrantKey::new("mesh", "ada"), 1, response, now, None).unwrap()
    }

    fn sent(grant: &Grant, renew: bool, code: Option<&Secret>) -> Value {
        let request = RefreshRequest {
            grant,
            refresh_token: grant.refresh_token().unwrap(),
            renew_refresh_token: renew,
            user_code: code,
        };
        serde_json::to_value(body(&request).unwrap()).unwrap()
    }

    #[test]
    fn every_field_goes_only_when_there_is_something_to_say() {
        let response = TokenResponse::for_accounts([AccountToken::new("a", "at")])
            .refresh_token("rt")
            .metadata("brokerType", "weBull");
        let mut full = grant(response.clone());
        let plain = json!({ "type": "weBull", "refreshToken": "rt", "accessToken": "at" });
        assert_eq!(sent(&full, false, None), plain);

        let code = Secret::from("123456");
        full = grant(
            response
                .secret("tradeToken", "tt")
                .metadata("metadata.region", "eu"),
        );
        full.continuation = Some(Secret::from("half"));
        assert_eq!(
            sent(&full, true, Some(&code)),
            json!({
                "type": "weBull", "refreshToken": "rt", "createNewRefreshToken": true,
                "accessToken": "half", "tradeToken": "tt", "mfaCode": "123456",
                "metadata": { "region": "eu" }
            })
        );
        // Without a code it is a first request again.
        assert_eq!(sent(&full, false, None)["accessToken"], "at");

        let delayed = TokenResponse::refresh_token_only("rt").metadata("brokerType", "new");
        let delayed = sent(&grant(delayed), false, None);
        assert_eq!(delayed, json!({ "type": "new", "refreshToken": "rt" }));
    }

    #[test]
    fn a_grant_of_no_type_closes_the_way_for_nobody_else() {
        let grant = grant(TokenResponse::new("at").refresh_token("rt"));
        let request = RefreshRequest {
            grant: &grant,
            refresh_token: grant.refresh_token().unwrap(),
            renew_refresh_token: false,
            user_code: None,
        };
        let error = body(&request).err().unwrap();
        assert_eq!(error.verdict(), Verdict::UserAction);
    }
}
