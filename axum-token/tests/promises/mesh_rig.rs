//! A service whose users connect accounts at Mesh.

use std::time::Duration;

use axum::body::Body;
use axum::routing::post;
use axum::{Router, extract::Path};
use axum_token::{MeshRoutes, PublicOrigin, SessionTokenLayer, TokenState, sessions};
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tower::ServiceBuilder;
use tower_sessions::Session;
use tower_token::testkit::{ManualClock, MeshBroker, MeshServer};
use tower_token::{ByteStore as _, KeyRing, MemoryStore, SealedStore, TokenManager};

use crate::support::{Answer, Browser, CountingStore, ORIGIN};

/// How long an access token lasts.
pub const LIFE: Duration = Duration::from_secs(600);

pub struct MeshRig {
    pub server: MeshServer,
    pub manager: TokenManager,
    pub clock: ManualClock,
    pub grants: MemoryStore,
    pub sessions: CountingStore,
}

impl MeshRig {
    pub async fn new() -> Self {
        let clock = ManualClock::new();
        let server = MeshServer::builder()
            .clock(clock.clone())
            .access_ttl(LIFE)
            .start()
            .unwrap();
        let grants = MemoryStore::with_clock(clock.clone());
        let store = SealedStore::open(grants.clone(), KeyRing::generate().unwrap());
        let manager = TokenManager::builder()
            .store(store.await.unwrap())
            .provider(server.provider("mesh"))
            .provider(server.provider("other"))
            .clock(clock.clone())
            .build()
            .await
            .unwrap();
        Self {
            server,
            manager,
            clock,
            grants,
            sessions: CountingStore::default(),
        }
    }

    pub fn browser(&self) -> Browser {
        let origin: PublicOrigin = ORIGIN.parse().unwrap();
        let link = self.server.provider("mesh").link().unwrap();
        let routes = MeshRoutes::new("mesh", link);
        let login = async |session: Session, Path(user): Path<String>| {
            sessions::sign_in(&session, user).await
        };
        let router = Router::new()
            .route("/login/{user}", post(login))
            .nest("/mesh", routes.router(&origin))
            .layer(
                ServiceBuilder::new()
                    .layer(sessions::layer(&origin, self.sessions.clone()))
                    .layer(SessionTokenLayer::new(sessions::Sessions)),
            )
            .with_state(TokenState::new(&self.manager));
        Browser::new(router)
    }

    pub async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = self.browser();
        browser.sign_in(user).await;
        browser
    }

    /// What the SDK hands to the page when `user` has logged in at their broker.
    pub fn consent(&self, user: &str, broker: MeshBroker) -> Value {
        serde_json::from_str(self.server.connect(user, broker).expose()).unwrap()
    }

    /// Every row of a grant there is.
    pub async fn stored(&self) -> Vec<(Vec<u8>, u64, Bytes)> {
        let rows = self.grants.scan(None, 10_000).await.unwrap();
        rows.into_iter()
            .map(|(key, row)| (key.as_bytes().to_vec(), row.version.0, row.bytes))
            .collect()
    }
}

pub async fn send(browser: &mut Browser, path: &str, payload: &Value) -> Answer {
    let headers = [
        ("sec-fetch-site", "same-origin"),
        ("x-csrf", "1"),
        ("content-type", "application/json"),
    ];
    let body = Body::from(payload.to_string());
    browser.send_body(Method::POST, path, &headers, body).await
}

pub async fn delete(browser: &mut Browser, id: &str) -> Answer {
    let headers = [("sec-fetch-site", "same-origin"), ("x-csrf", "1")];
    let path = format!("/mesh/connections/{id}");
    browser.send(Method::DELETE, &path, &headers).await
}

pub async fn connections(browser: &mut Browser) -> Vec<Value> {
    let answer = browser.get("/mesh/connections").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()["connections"].as_array().unwrap().clone()
}
