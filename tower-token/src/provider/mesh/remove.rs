//! A disconnect at Mesh: `DELETE /api/v1/account`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::BROKER_TYPE;
use super::answer;
use super::api::{Api, REFRESH, REMOVE};
use super::refresh::{Body, extras, trade_token};
use crate::grant::Grant;
use crate::provider::Revoker;
use crate::provider::verdict::{RefreshError, Verdict};
use crate::secret::Secret;

/// How long one try takes: within it what was reached is noted, which nobody could do for a try
/// that was cut off.
const LIMIT: Duration = Duration::from_secs(9);

pub(super) struct RemoveConnection {
    api: Arc<Api>,
}

type Text = Zeroizing<String>;

/// What is left to remove of a grant: an access token for each account, and what brings others
/// if these have expired.
#[derive(Serialize, Deserialize)]
struct Left {
    r#type: String,
    access: Vec<Text>,
    refresh: Option<Text>,
    trade: Option<Text>,
    metadata: BTreeMap<String, String>,
}

/// The body of `DELETE /api/v1/account`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Removal<'a> {
    auth_token: &'a str,
    r#type: &'a str,
}

impl RemoveConnection {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }

    /// Removes what `left` has. What is done is no longer in it, also after an error.
    async fn remove(&self, left: &mut Left) -> Result<(), RefreshError> {
        let had_access = !left.access.is_empty();
        let expired = self.remove_each(left).await?;
        if had_access && expired.is_none() {
            return Ok(());
        }
        let Some(refresh) = left.refresh.clone() else {
            return Ok(());
        };
        // Some institutions want the old one as well.
        match self.renew(left, expired.as_ref(), &refresh).await {
            Ok((access, refresh)) => (left.access, left.refresh) = (access, refresh),
            Err(error) => {
                left.access.extend(expired);
                return Err(error);
            }
        }
        self.remove_each(left).await?;
        Ok(())
    }

    /// Removes the account of each access token; one that was no good any more, if any was.
    async fn remove_each(&self, left: &mut Left) -> Result<Option<Text>, RefreshError> {
        let mut expired = None;
        while let Some(access) = left.access.last() {
            let removal = Removal {
                auth_token: access,
                r#type: &left.r#type,
            };
            let removed = self.api.send(&REMOVE, &removal).await?.check();
            match removed {
                Ok(()) => drop(left.access.pop()),
                Err(error) if error.verdict() == Verdict::Dead => expired = left.access.pop(),
                Err(error) => return Err(error),
            }
        }
        Ok(expired)
    }

    /// New access tokens for all accounts, whoever's they are, and the refresh token that they
    /// came with.
    async fn renew(
        &self,
        left: &Left,
        access: Option<&Text>,
        refresh: &Text,
    ) -> Result<(Vec<Text>, Option<Text>), RefreshError> {
        let body = Body {
            r#type: &left.r#type,
            refresh_token: refresh,
            create_new_refresh_token: None,
            access_token: access.map(|access| access.as_str()),
            trade_token: left.trade.as_ref().map(|trade| trade.as_str()),
            mfa_code: None,
            metadata: extras(&left.metadata),
        };
        let content = self.api.send(&REFRESH, &body).await?.into_content()?;
        let (access, next) = answer::all(content)?;
        let text = |token: &Secret| Zeroizing::new(token.expose().to_owned());
        let next = next.as_ref().map(text);
        let access = access.iter().map(text).collect();
        Ok((access, next.or_else(|| Some(refresh.clone()))))
    }
}

impl Revoker for RemoveConnection {
    async fn revoke(&self, token: &Secret) -> Result<(), RefreshError> {
        let misread = |_| RefreshError::new(Verdict::Dead, "nothing is left to remove it by");
        let mut left: Left = serde_json::from_slice(token.as_bytes()).map_err(misread)?;
        let removed = timeout(LIMIT, self.remove(&mut left)).await;
        let removed = removed.unwrap_or_else(|_| {
            let message = "Mesh did not remove the connection in time";
            Err(RefreshError::new(Verdict::Ambiguous, message))
        });
        match removed {
            // Nothing of it is good any more.
            Err(error) if error.verdict() == Verdict::Dead => Err(error),
            Err(error) => Err(match Secret::of_json(&left) {
                Ok(left) => error.continuation(left),
                Err(_) => error,
            }),
            Ok(()) => Ok(()),
        }
    }

    fn revocable(&self, grant: &Grant) -> Vec<Secret> {
        let Some(r#type) = grant.metadata().get(BROKER_TYPE) else {
            return Vec::new();
        };
        let text = |text: &str| Zeroizing::new(text.to_owned());
        let accounts = grant.accounts().iter();
        let mut access: Vec<_> = accounts
            .filter_map(|account| account.access_token())
            .map(|token| text(token.expose()))
            .collect();
        if access.is_empty() {
            access.extend(grant.access_token().map(|token| text(token.expose())));
        }
        let refresh = grant.refresh_token().map(|token| text(token.expose()));
        if access.is_empty() && refresh.is_none() {
            return Vec::new();
        }
        let left = Left {
            r#type: r#type.clone(),
            access,
            refresh,
            trade: trade_token(grant).map(text),
            metadata: grant.metadata().clone(),
        };
        Secret::of_json(&left).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::{AccountToken, TokenResponse};
    use crate::key::GrantKey;
    use crate::provider::transport::ServiceTransport;

    const OK: (u16, &str) = (200, r#"{"status":"ok"}"#);
    const DEAD: (u16, &str) = (400, r#"{"message":"Unauthorized token"}"#);
    const DOWN: (u16, &str) = (503, "");
    const NEW: (u16, &str) = (
        200,
        r#"{"status":"ok","content":{"status":"succeeded","brokerAccountTokens":[
            {"accessToken":"a2","refreshToken":"r2"},{"accessToken":"b2"}]}}"#,
    );

    /// Mesh, answering one after the other, and the token that each request came with.
    fn mesh<const N: usize>(
        answers: [(u16, &'static str); N],
    ) -> (RemoveConnection, Arc<Mutex<Vec<String>>>) {
        let script = Arc::new(Mutex::new(VecDeque::from(answers)));
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&seen);
        let service = tower::service_fn(move |request: Request<Bytes>| {
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            let token = body.get("authToken").or(body.get("refreshToken")).unwrap();
            let text = format!("{} {}", request.method(), token.as_str().unwrap());
            log.lock().push(text);
            let (status, body) = script.lock().pop_front().expect("one request too many");
            let answer = Response::builder().status(status);
            let answer = answer.body(Full::<Bytes>::from(body)).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        let transport = Arc::new(ServiceTransport::<_, Bytes>::new(service));
        let secret = Secret::from("secret");
        let api = Api::new("mesh", "https://mesh.example", "id", &secret, transport).unwrap();
        (RemoveConnection::new(Arc::new(api)), seen)
    }

    fn left(response: TokenResponse) -> Secret {
        let (revoker, _) = mesh([]);
        let response = response.metadata(BROKER_TYPE, "x");
        let now = Timestamp::from_unix_millis(0);
        let key = GrantKey::new("mesh", "ada");
        let grant = Grant::connected(key, 1, response, now, None).unwrap();
        let left = revoker.revocable(&grant);
        assert_eq!(left.len(), 1);
        left[0].clone()
    }

    fn two_accounts() -> TokenResponse {
        let tokens = [AccountToken::new("b", "b1"), AccountToken::new("a", "a1")];
        TokenResponse::for_accounts(tokens).refresh_token("r1")
    }

    /// What each try comes to, the next going on from what is left after the last.
    async fn tries<const N: usize>(
        response: TokenResponse,
        answers: [(u16, &'static str); N],
    ) -> (Vec<Result<(), Verdict>>, Vec<String>) {
        let (revoker, seen) = mesh(answers);
        let (mut left, mut came) = (left(response), Vec::new());
        while came.len() < 4 {
            match revoker.revoke(&left).await {
                Ok(()) => {
                    came.push(Ok(()));
                    break;
                }
                Err(mut error) => {
                    came.push(Err(error.verdict()));
                    match error.take_continuation() {
                        Some(instead) => left = instead,
                        None => break,
                    }
                }
            }
        }
        (came, seen.lock().clone())
    }

    #[tokio::test]
    async fn each_account_is_removed_by_its_token() {
        let (came, seen) = tries(two_accounts(), [OK, OK]).await;
        assert_eq!(came, [Ok(())]);
        assert_eq!(seen, ["DELETE a1", "DELETE b1"]);
    }

    #[tokio::test]
    async fn tokens_that_have_expired_are_refreshed_once_and_never_lost() {
        let ambiguous = Err(Verdict::Ambiguous);
        let (came, seen) = tries(
            two_accounts(),
            [DEAD, DEAD, NEW, OK, DOWN, DOWN, DEAD, NEW, OK, OK],
        )
        .await;
        assert_eq!(came, [ambiguous, ambiguous, Ok(())]);
        assert_eq!(
            seen,
            [
                "DELETE a1",
                "DELETE b1",
                "POST r1",
                "DELETE b2",
                "DELETE a2", // down
                "DELETE a2", // down
                "DELETE a2",
                "POST r2",
                "DELETE b2",
                "DELETE a2"
            ]
        );
    }

    #[tokio::test]
    async fn a_connection_that_is_gone_with_its_first_account_is_gone() {
        let (came, _) = tries(two_accounts(), [OK, DEAD, DEAD]).await;
        assert_eq!(came, [Err(Verdict::Dead)]);
    }

    #[tokio::test]
    async fn a_consent_without_a_token_yet_is_given_one_to_be_removed_by() {
        let delayed = TokenResponse::refresh_token_only("r1");
        let (came, seen) = tries(delayed, [DOWN, NEW, DOWN, OK, OK]).await;
        let ambiguous = Err(Verdict::Ambiguous);
        assert_eq!(came, [ambiguous, ambiguous, Ok(())]);
        let expected = ["POST r1", "POST r1", "DELETE b2", "DELETE b2", "DELETE a2"];
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn an_answer_without_a_token_is_no_removal() {
        let none = (200, r#"{"content":{"status":"succeeded"}}"#);
        let delayed = TokenResponse::refresh_token_only("r1");
        let (came, _) = tries(delayed, [none; 4]).await;
        assert_eq!(came, [Err(Verdict::Ambiguous); 4]);
    }
}
