//! A disconnect at Mesh: `DELETE /api/v1/account`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::BROKER_TYPE;
use super::answer;
use super::api::{Api, REFRESH, REMOVE};
use super::refresh::Body;
use crate::grant::Grant;
use crate::provider::Revoker;
use crate::provider::verdict::{RefreshError, Verdict};
use crate::secret::Secret;

pub(super) struct RemoveConnection {
    api: Arc<Api>,
}

/// What is kept of an account until it is removed. It takes an access token, which may expire
/// before that; the refresh token brings another.
#[derive(Serialize, Deserialize)]
struct Left {
    r#type: String,
    access: Option<Zeroizing<String>>,
    refresh: Option<Zeroizing<String>>,
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

    async fn remove(&self, r#type: &str, auth_token: &str) -> Result<(), RefreshError> {
        let removal = Removal { auth_token, r#type };
        self.api.send(&REMOVE, &removal).await?.check()
    }

    /// New access tokens, for the last time. Some institutions want the old one for it.
    async fn renew(
        &self,
        r#type: &str,
        access: Option<&str>,
        refresh: &str,
    ) -> Result<Vec<Secret>, RefreshError> {
        let body = Body {
            r#type,
            refresh_token: refresh,
            create_new_refresh_token: None,
            access_token: access,
            trade_token: None,
            mfa_code: None,
            metadata: BTreeMap::new(),
        };
        let content = self.api.send(&REFRESH, &body).await?.into_content()?;
        let response = answer::read(content, &[], &Secret::from(refresh.to_owned()), false)?;
        Ok(response.access_tokens())
    }
}

impl Revoker for RemoveConnection {
    async fn revoke(&self, token: &Secret) -> Result<(), RefreshError> {
        let misread = |_| RefreshError::new(Verdict::Dead, "nothing is left to remove it by");
        let left: Left = serde_json::from_slice(token.as_bytes()).map_err(misread)?;
        let removed = match &left.access {
            Some(access) => self.remove(&left.r#type, access).await,
            None => Err(RefreshError::new(Verdict::Dead, "there is no access token")),
        };
        match (removed, &left.refresh) {
            (Err(error), Some(refresh)) if error.verdict() == Verdict::Dead => {
                let access = left.access.as_ref().map(|text| text.as_str());
                for access in self.renew(&left.r#type, access, refresh).await? {
                    self.remove(&left.r#type, access.expose()).await?;
                }
                Ok(())
            }
            (removed, _) => removed,
        }
    }

    /// One for each account; the refresh token, which they share, goes with the last.
    fn revocable(&self, grant: &Grant) -> Vec<Secret> {
        let Some(r#type) = grant.metadata().get(BROKER_TYPE) else {
            return Vec::new();
        };
        let accounts = grant.accounts().iter();
        let mut tokens: Vec<_> = accounts
            .filter_map(|account| account.access_token())
            .map(|token| token.expose())
            .collect();
        if tokens.is_empty() {
            tokens.extend(grant.access_token().map(|token| token.expose()));
        }
        let text = |text: &str| Zeroizing::new(text.to_owned());
        let mut left: Vec<_> = tokens
            .into_iter()
            .map(|token| Left {
                r#type: r#type.clone(),
                access: Some(text(token)),
                refresh: None,
            })
            .collect();
        let refresh = grant.refresh_token().map(|token| text(token.expose()));
        match (left.last_mut(), refresh) {
            (Some(last), refresh) => last.refresh = refresh,
            (None, Some(refresh)) => left.push(Left {
                r#type: r#type.clone(),
                access: None,
                refresh: Some(refresh),
            }),
            (None, None) => {}
        }
        let sealed = left.iter().filter_map(|left| Secret::of_json(left).ok());
        sealed.collect()
    }
}
