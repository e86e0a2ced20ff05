//! Link tokens: what Mesh's SDK opens with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::timeout;

use super::api::{Api, LINK_TOKEN};
use crate::error::{Error, ErrorKind};
use crate::grant::take_text;
use crate::provider::verdict::{RefreshError, Verdict};
use crate::secret::Secret;

/// How long Mesh may take for one.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks Mesh for link tokens (`POST /api/v1/linktoken`). Cheap to clone. From
/// [`Mesh::link`](crate::Mesh::link).
#[derive(Clone)]
pub struct MeshLink {
    api: Arc<Api>,
}

/// What a link token is for.
///
/// ```
/// use tower_token::LinkTokenRequest;
///
/// let request = LinkTokenRequest::new("user-17")
///     .option("restrictMultipleAccounts", "true")
///     .option("transferOptions", r#"{"amountInFiat":10}"#);
/// # let _ = request;
/// ```
#[derive(Clone)]
pub struct LinkTokenRequest {
    user_id: String,
    options: Vec<(String, String)>,
}

impl LinkTokenRequest {
    /// For this user of yours. Mesh wants an id that is no personal data, of at most 300
    /// characters.
    pub fn new(user_id: impl Into<String>) -> Self {
        Self {
            user_id: user_id.into(),
            options: Vec::new(),
        }
    }

    /// One of Mesh's own options by its name, in JSON.
    #[must_use]
    pub fn option(mut self, name: impl Into<String>, json: impl Into<String>) -> Self {
        self.options.push((name.into(), json.into()));
        self
    }

    fn body(self) -> Result<Map<String, Value>, Error> {
        let problem = |problem: String| Error::new(ErrorKind::Config, problem);
        if self.user_id.is_empty() || self.user_id.chars().count() > 300 {
            let message = "a link token is for a user id of 1 to 300 characters";
            return Err(problem(message.into()));
        }
        let mut body = Map::new();
        for (name, json) in self.options {
            let value = serde_json::from_str(&json)
                .map_err(|_| problem(format!("the link token option {name:?} is no JSON")))?;
            body.insert(name, value);
        }
        body.insert("userId".into(), Value::String(self.user_id));
        Ok(body)
    }
}

impl fmt::Debug for LinkTokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkTokenRequest").finish_non_exhaustive()
    }
}

impl MeshLink {
    pub(super) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }

    /// A link token: short-lived, good once, and meant for the user's own page.
    pub async fn link_token(&self, request: LinkTokenRequest) -> Result<Secret, Error> {
        let body = request.body()?;
        let asked = async {
            let reply = self.api.send(&LINK_TOKEN, &body).await?;
            let mut content = reply.into_content()?;
            let token = take_text(&mut content, "linkToken");
            token
                .map(Secret::from)
                .ok_or_else(|| RefreshError::new(Verdict::Ambiguous, "Mesh answered no link token"))
        };
        match timeout(LIMIT, asked).await {
            Ok(asked) => asked.map_err(told),
            Err(_) => Err(Error::new(
                ErrorKind::TokenService,
                "Mesh did not answer in time",
            )),
        }
    }
}

fn told(error: RefreshError) -> Error {
    let (kind, message) = match error.verdict() {
        Verdict::Misconfigured => (
            ErrorKind::ClientRefused,
            "Mesh refused this client: check its id, its secret and what it may do",
        ),
        _ => (ErrorKind::TokenService, "Mesh gave no link token"),
    };
    Error::with_source(kind, message, error)
}

impl fmt::Debug for MeshLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshLink").finish_non_exhaustive()
    }
}
