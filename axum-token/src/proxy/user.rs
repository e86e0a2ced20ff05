//! `GET /user`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use axum_core::body::Body;
use axum_core::extract::FromRef;
use axum_core::response::Response;
use http::HeaderValue;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use serde_json::{Value, json};
use tower_token::{ErrorKind, GrantState, TokenManager};

use crate::layers::NoStoreLayer;
use crate::rejection::TokenRejection;
use crate::sign_ins::SignIns;
use crate::state::TokenState;
use crate::visitor::CurrentSubject;

/// What a page may know of its user (feature `proxy`):
///
/// | route | answer |
/// |---|---|
/// | `GET /user` | 200 `{"signed_in": true, "subject": "..", "connections": [{"provider", "connection", "state", "connect"}]}`, or `{"signed_in": false}` |
///
/// `state` is `active`, `needs_reauth`, `not_connected`, or `unknown` where what is stored cannot
/// be read. `connection` is there if the grant is one of several, `connect` if the
/// [`TokenState`] knows the page where the user connects that provider. Providers that users can
/// connect, by [`TokenState::connect_at`] or [`provider`](Self::provider), are listed in any case,
/// others if the user has a grant there.
///
/// Nobody is a 200 as well: it was asked whether somebody is signed in, and the answer is no. No
/// refusal has to be caught by every page that begins with this question.
///
/// It tells no token and nothing that came with one. It asks for no `x-csrf`: nothing changes, and
/// another site's page can neither read it (it answers no CORS) nor, with a `SameSite` cookie,
/// ask it as the user. 503 if the store cannot be reached.
///
/// ```
/// use axum::{Router, http::Uri};
/// use axum_token::{TokenState, UserRoutes};
///
/// # fn f(manager: tower_token::TokenManager) {
/// let state = TokenState::new(&manager)
///     .connect_at("google", Uri::from_static("/auth/google"));
/// // Inside of a SessionTokenLayer.
/// let app: Router = Router::new().merge(UserRoutes::new().router()).with_state(state);
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct UserRoutes {
    providers: Vec<Arc<str>>,
}

impl UserRoutes {
    /// Lists providers that have a page of their own in the [`TokenState`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists this one, too.
    #[must_use]
    pub fn provider(mut self, name: impl Into<Arc<str>>) -> Self {
        self.providers.push(name.into());
        self
    }

    /// The route.
    pub fn router<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
        TokenState: FromRef<S>,
    {
        let routes = Arc::new(self);
        let user =
            async move |user, State(state): State<TokenState>| routes.user(user, &state).await;
        Router::new().route("/user", get(user)).layer(NoStoreLayer)
    }

    async fn user(
        &self,
        user: Option<CurrentSubject>,
        state: &TokenState,
    ) -> Result<Response, TokenRejection> {
        let Some(user) = user else {
            return Ok(answer(&json!({ "signed_in": false })));
        };
        let connections: Vec<Value> = self
            .connections(&user, state)
            .await?
            .into_iter()
            .map(|((provider, connection), grant)| {
                let mut shown = json!({ "provider": provider, "state": grant });
                if let Some(connection) = connection {
                    shown["connection"] = connection.into();
                }
                if let Some(page) = state.connect_page(&provider) {
                    shown["connect"] = page.to_string().into();
                }
                shown
            })
            .collect();
        Ok(answer(&json!({
            "signed_in": true,
            "subject": user.as_str(),
            "connections": connections,
        })))
    }

    /// What the user has, and what they could have, by provider and connection.
    async fn connections(
        &self,
        user: &CurrentSubject,
        state: &TokenState,
    ) -> Result<BTreeMap<(String, Option<String>), &'static str>, TokenRejection> {
        let manager = state.manager();
        let mut found = BTreeMap::new();
        for grant in manager.grants(user.as_str()).await? {
            let key = grant.key();
            if key.provider() == SignIns::PROVIDER {
                continue;
            }
            let name = key.provider().to_owned();
            let connection = key.connection().map(str::to_owned);
            found.insert((name, connection), named(grant.state()));
        }
        let unreadable = manager.unreadable_grants(user.as_str()).await? > 0;
        let listed = self.providers.iter().map(|name| &**name);
        for name in listed.chain(state.connect_providers()) {
            let has = found.keys().any(|(provider, _)| provider == name);
            if !has && name != SignIns::PROVIDER {
                let state = match unreadable {
                    true => looked_at(manager, user, name).await,
                    false => "not_connected",
                };
                found.insert((name.to_owned(), None), state);
            }
        }
        Ok(found)
    }
}

fn named(state: GrantState) -> &'static str {
    match state {
        GrantState::Active => "active",
        _ => "needs_reauth",
    }
}

/// Of a grant that is not among those that can be read: whether there is one.
async fn looked_at(manager: &TokenManager, user: &CurrentSubject, provider: &str) -> &'static str {
    match manager.token(&user.grant_key(provider)).await {
        // Connected just now.
        Ok(_) => "active",
        Err(error) if error.kind() == ErrorKind::NotConnected => "not_connected",
        Err(_) => "unknown",
    }
}

fn answer(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    let kind = HeaderValue::from_static("application/json");
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
