//! Two token services that go wrong in the same ways.

use std::time::Duration;

use serde_json::{Value, json};
use tower_token::testkit::{AuthServer, Fault};
use tower_token::{AccessToken, OAuth2, Rotation, TokenResponse};

use crate::oidc::Oidc;
use crate::{BoxError, accepts, http_client};

/// What goes wrong with a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Nobody listens.
    Refused,
    /// 429, with a `Retry-After` of seven seconds.
    TooMany,
    /// 307, to a place that would take the request.
    Redirected,
    /// This status, and the request is not processed.
    Status(u16),
    /// Longer than the time-out, and not processed.
    Hang,
    /// Longer than the time-out, but processed, as is all that follows here.
    HangAfter,
    /// The connection is reset.
    Reset,
    /// This status.
    StatusAfter(u16),
    /// Half an answer.
    Truncated,
    /// An answer that is not JSON.
    Garbage,
    /// An answer of megabytes.
    Oversized,
}

/// A server, with one user whose name is `ada`.
#[derive(Debug)]
pub enum Server<'a> {
    /// oidc-provider: strict.
    Oidc(&'a Oidc),
    /// The testkit's, which was told this rotation.
    Testkit(AuthServer, Rotation),
}

/// What a server saw since the consent.
#[derive(Debug)]
pub struct Counts {
    /// Requests that reached the token endpoint.
    pub requests: u64,
    /// Those whose refresh token was exchanged.
    pub exchanged: u64,
    /// Those that brought a spent one.
    pub reused: u64,
    /// Those that followed a redirect.
    pub followed: u64,
}

impl Server<'_> {
    /// Its URL, without a path.
    pub fn base(&self) -> String {
        match self {
            Self::Oidc(oidc) => oidc.base().to_owned(),
            Self::Testkit(server, _) => server.api(),
        }
    }

    /// The server as provider `p`, reached at `endpoint`.
    pub fn provider(&self, endpoint: String) -> OAuth2 {
        let provider = OAuth2::new("p", endpoint);
        match self {
            Self::Oidc(_) => provider.client_secret_basic("basic", "basic-secret"),
            Self::Testkit(server, rotation) => provider
                .client_secret_basic(server.client_id(), server.client_secret())
                .rotation(*rotation),
        }
    }

    /// What the user's consent brings.
    pub async fn consent(&self) -> Result<TokenResponse, BoxError> {
        match self {
            Self::Oidc(oidc) => {
                oidc.post("/test/reset", &json!({})).await?;
                let minted = oidc.mint("basic", "ada", "opaque").await?;
                Ok(TokenResponse::from_json(minted.to_string().as_bytes())?)
            }
            Self::Testkit(server, _) => Ok(server.connect("ada").into()),
        }
    }

    /// Has this go wrong with the next request. That nobody listens is not in a server's
    /// power: see [`Door`](crate::door::Door).
    pub async fn break_once(&self, wrong: Wrong) -> Result<(), BoxError> {
        match self {
            Self::Oidc(oidc) => {
                let mut faults = oidc_faults(wrong);
                faults["times"] = json!(1);
                oidc.faults(faults).await
            }
            Self::Testkit(server, _) => {
                if let Some(fault) = testkit_fault(wrong) {
                    server.set_fault(fault.times(1));
                }
                Ok(())
            }
        }
    }

    /// Nothing goes wrong from now on.
    pub async fn mend(&self) -> Result<(), BoxError> {
        match self {
            Self::Oidc(oidc) => {
                oidc.faults(json!({})).await?;
                oidc.post("/test/release", &json!({})).await.map(drop)
            }
            Self::Testkit(server, _) => {
                server.clear_fault();
                server.release();
                Ok(())
            }
        }
    }

    /// Whether its API takes this access token now.
    pub async fn accepts(&self, token: &AccessToken) -> Result<bool, BoxError> {
        match self {
            Self::Oidc(oidc) => oidc.accepts(token.expose()).await,
            Self::Testkit(server, _) => {
                accepts(&http_client(), server.api() + "/me", token.expose()).await
            }
        }
    }

    /// What it saw.
    pub async fn counts(&self) -> Result<Counts, BoxError> {
        match self {
            Self::Oidc(oidc) => {
                let counts = oidc.counts().await?;
                let count = |name: &str| counts[name].as_u64().ok_or("no such count");
                Ok(Counts {
                    requests: count("token_requests")?,
                    exchanged: count("refresh_ok")?,
                    reused: count("reuse_detected")?,
                    followed: count("redirects_followed")?,
                })
            }
            Self::Testkit(server, _) => {
                let counts = server.counts();
                Ok(Counts {
                    requests: counts.token_requests,
                    exchanged: counts.refreshes_ok,
                    reused: counts.reuse_detected,
                    followed: counts.redirects_followed,
                })
            }
        }
    }
}

fn oidc_faults(wrong: Wrong) -> Value {
    match wrong {
        Wrong::Refused => json!({}),
        Wrong::TooMany => json!({ "status": 429, "retry_after": "7" }),
        Wrong::Redirected => json!({ "redirect": true }),
        Wrong::Status(code) => json!({ "status": code }),
        Wrong::Hang => json!({ "hold_ms": -1 }),
        Wrong::HangAfter => json!({ "hold_after_ms": -1 }),
        Wrong::Reset => json!({ "reset_after": true }),
        Wrong::StatusAfter(code) => json!({ "status_after": code }),
        Wrong::Truncated => json!({ "truncate": true }),
        Wrong::Garbage => json!({ "garbage": true }),
        Wrong::Oversized => json!({ "oversize": true }),
    }
}

fn testkit_fault(wrong: Wrong) -> Option<Fault> {
    Some(match wrong {
        Wrong::Refused => return None,
        Wrong::TooMany => Fault::status(429).retry_after(Duration::from_secs(7)),
        Wrong::Redirected => Fault::redirect(),
        Wrong::Status(code) => Fault::status(code),
        Wrong::Hang => Fault::hold(),
        Wrong::HangAfter => Fault::hold_after(),
        Wrong::Reset => Fault::lost_answer(),
        Wrong::StatusAfter(code) => Fault::status_after(code),
        Wrong::Truncated => Fault::truncated(),
        Wrong::Garbage => Fault::garbage(),
        Wrong::Oversized => Fault::oversized(),
    })
}
