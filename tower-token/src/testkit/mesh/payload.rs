//! What a page gets for its user's consent, as `@meshconnect/web-link-sdk` types it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::broker::MeshBroker;
use super::ledger::{Issued, Terms};

/// `AccessTokenPayload`.
pub(super) fn access_token_payload(broker: MeshBroker, issued: &Issued) -> Value {
    let tokens = issued.accounts.iter().map(|(account, access)| {
        json!({
            "account": {
                "accountId": account.id,
                "accountName": account.name,
                "fund": account.fund,
                "cash": account.cash,
                "isReconnected": account.reconnected,
            },
            "accessToken": access,
            "refreshToken": issued.refresh,
            "tokenId": account.token_id,
        })
    });
    json!({
        "accountTokens": tokens.collect::<Vec<_>>(),
        "brokerBrandInfo": brand(),
        "expiresInSeconds": issued.expires_in.as_secs(),
        "refreshTokenExpiresInSeconds": issued.refresh_expires_in.as_secs(),
        "brokerType": broker.broker_type(),
        "brokerName": broker.name(),
    })
}

/// `DelayedAuthPayload`.
pub(super) fn delayed_payload(broker: MeshBroker, refresh: &str, terms: &Terms) -> Value {
    json!({
        "refreshTokenExpiresInSeconds": terms.refresh_ttl.as_secs(),
        "brokerType": broker.broker_type(),
        "refreshToken": refresh,
        "brokerName": broker.name(),
        "brokerBrandInfo": brand(),
    })
}

/// `BrandInfo`: a disc.
fn brand() -> Value {
    let logo = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'>\
                <circle cx='4' cy='4' r='4' fill='#365'/></svg>";
    json!({ "brokerLogo": BASE64_STANDARD.encode(logo) })
}
