//! A small OpenID provider on loopback, so that the example needs no other. It is scenery: what
//! a service does is in `app.rs`.
//!
//! It signs people in by a name, asks them, and signs id tokens. Access and refresh tokens are
//! those of the testkit's token service behind it, which rotates them strictly.

mod authorize;
mod codes;
mod keys;
mod pages;
mod sessions;
mod token;

use std::error::Error;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use openidconnect::CsrfToken;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_token::testkit::AuthServer;
use tower_token::{Clock as _, SystemClock};

use self::codes::Codes;
use self::keys::Keys;
use self::sessions::Sessions;
use crate::options::Settings;

/// What the one client has registered.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) redirect_uri: String,
    pub(crate) post_logout_redirect_uri: String,
    pub(crate) backchannel_logout_uri: String,
}

/// The provider, which answers while its task runs.
#[derive(Clone)]
pub(crate) struct Provider(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) issuer: String,
    /// Issues the tokens, and has the API that takes them.
    pub(crate) tokens: AuthServer,
    client: Registration,
    keys: Keys,
    codes: Codes,
    sessions: Sessions,
    http: reqwest::Client,
    clock: SystemClock,
}

impl Provider {
    /// Starts it on a free port of loopback, in a task of its own.
    pub(crate) async fn start(
        client: Registration,
        access_ttl: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(5));
        let provider = Self(Arc::new(Parts {
            issuer: format!("http://{}", listener.local_addr()?),
            tokens: AuthServer::builder().access_ttl(access_ttl).start()?,
            client,
            keys: Keys::generate()?,
            codes: Codes::default(),
            sessions: Sessions::default(),
            http: http.build()?,
            clock: SystemClock::new(),
        }));
        let routes = provider.clone().routes();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(provider)
    }

    /// What the one client is set up by.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            issuer: self.issuer.clone(),
            client_id: self.tokens.client_id().to_owned(),
            client_secret: self.tokens.client_secret().into(),
            api: Some(format!("{}/me", self.tokens.api())),
        }
    }

    fn routes(self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize::ask).post(authorize::decide))
            .route("/token", post(token::token))
            .route("/revoke", post(token::revoke))
            .route("/end-session", get(sessions::end_session))
            .route("/sign-out", post(sessions::sign_out))
            .route("/", get(sessions::home))
            .with_state(self)
    }

    /// Seconds since 1970, as JWTs count them.
    fn now(&self) -> u64 {
        self.clock.now().as_unix_millis() / 1_000
    }
}

impl Deref for Provider {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// 256 random bits as text.
fn random() -> String {
    CsrfToken::new_random_len(32).into_secret()
}

/// OpenID Connect Discovery 1.0 section 3, and what the logouts and RFC 9207 add to it.
async fn discovery(State(provider): State<Provider>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "end_session_endpoint": format!("{issuer}/end-session"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [keys::ALGORITHM],
        "scopes_supported": ["openid", "offline_access"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    }))
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    Json(provider.keys.public())
}
