//! The parts put together: the store and its manager, the sessions, the routes.

use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, Query, State};
use axum::routing::{delete, get};
use axum::{Json, Router, middleware};
use axum_token::{
    CurrentSubject, HostCookiesLayer, MeshRoutes, NoStoreLayer, PublicOrigin, SameOriginLayer,
    SessionTokenLayer, SignIns, TokenRejection, TokenState, sessions,
};
use examples::headers;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceBuilder;
use tower_sessions::Expiry;
use tower_sessions::cookie::time;
use tower_token::testkit::MeshServer;
use tower_token::{
    Clock as _, Grant, Mesh, SealedStore, SledStore, SystemClock, Timestamp, TokenManager,
};

use crate::activity::Activity;
use crate::balances::{Api, Balances};
use crate::folder::Folder;
use crate::sessions::Sessions;
use crate::{assets, user};

/// How long before its end an access token is refreshed; a third of its life at most.
const MARGIN: Duration = Duration::from_secs(20);

/// How long somebody stays signed in, also when the browser is closed meanwhile.
const KEPT_FOR: Expiry = Expiry::OnInactivity(time::Duration::days(30));

/// What Mesh's grants are kept under.
const MESH: &str = "mesh";

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) manager: TokenManager,
    pub(crate) sign_ins: SignIns,
    pub(crate) clock: SystemClock,
    pub(crate) started_at: Timestamp,
    /// How long before its end a token is refreshed, as tokens live here.
    pub(crate) margin: Duration,
    tokens: TokenState,
    activity: Arc<Activity>,
    balances: Balances,
}

/// Opens what is kept in `folder`, and says how requests are answered.
pub(crate) async fn start(
    folder: &Folder,
    mesh: &MeshServer,
    origin: &PublicOrigin,
    access_ttl: Duration,
) -> Result<(Router, TokenManager), Box<dyn Error>> {
    let store = SealedStore::open(SledStore::open(folder.grants()).await?, folder.key()?).await?;
    let provider = Mesh::new(MESH, mesh.client_id(), mesh.client_secret())
        .base_url(mesh.base_url())
        .margin(MARGIN);
    let margin = MARGIN.min(access_ttl / 3);
    let mesh_routes = MeshRoutes::new(MESH, provider.link()?).min_validity(margin);
    let manager = TokenManager::builder()
        .store(store)
        .provider(provider)
        .provider(SignIns::provider())
        .build()
        .await?;
    let api = Api {
        url: mesh.base_url().to_owned(),
        client_id: mesh.client_id().to_owned(),
        client_secret: mesh.client_secret().to_owned(),
    };
    let clock = SystemClock::new();
    let app = App(Arc::new(Parts {
        sign_ins: SignIns::new(&manager),
        tokens: TokenState::new(&manager),
        activity: Activity::of(&manager, access_ttl - margin),
        balances: Balances::new(&manager, api),
        started_at: clock.now(),
        margin,
        clock,
        manager: manager.clone(),
    }));
    let sessions = Sessions::new(folder.sessions());
    Ok((
        routes(&app, sessions, mesh_routes, mesh.base_url(), origin)?,
        manager,
    ))
}

fn routes(
    app: &App,
    store: Sessions,
    mesh: MeshRoutes,
    mesh_url: &str,
    origin: &PublicOrigin,
) -> Result<Router, Box<dyn Error>> {
    let who = SessionTokenLayer::new(sessions::Sessions).sign_ins(&app.sign_ins);
    let routes = Router::new()
        .route(
            "/session",
            get(user::who).post(user::sign_in).delete(user::sign_out),
        )
        .route("/everything", delete(user::leave))
        .route("/activity", get(activity))
        .route("/balances", get(balances))
        .nest("/mesh", mesh.router(origin))
        // From the outside in: only our own page changes something, who it is, the handler.
        .layer(
            ServiceBuilder::new()
                .layer(SameOriginLayer::new(origin))
                .layer(HostCookiesLayer)
                .layer(sessions::manager(origin, store).with_expiry(KEPT_FOR))
                .layer(who),
        )
        .with_state(app.clone());
    let headers = headers::headers(Some(mesh_url))?;
    Ok(routes
        .merge(assets::assets())
        .layer(middleware::from_fn(headers::only_localhost))
        .layer(middleware::from_fn_with_state(headers, headers::add))
        .layer(NoStoreLayer))
}

#[derive(Deserialize)]
struct After {
    after: u64,
}

/// `GET /activity?after=N`: what happened since line N.
async fn activity(
    State(app): State<App>,
    user: CurrentSubject,
    Query(After { after }): Query<After>,
) -> Result<Json<Value>, TokenRejection> {
    let grants = app.grants(&user).await?;
    let name = |grant: &Grant| app.manager.fingerprint(grant.key());
    Ok(Json(json!({
        "startedAt": app.started_at.as_unix_millis(),
        "events": app.activity.since(after, user.as_str(), &grants, name),
    })))
}

/// `GET /balances`: what the user holds, everywhere.
async fn balances(
    State(app): State<App>,
    user: CurrentSubject,
) -> Result<Json<Value>, TokenRejection> {
    let grants = app.grants(&user).await?;
    let asked = grants.iter().map(|grant| app.balances.of(grant));
    Ok(Json(json!({
        "connections": join_all(asked).await,
        "at": app.clock.now().as_unix_millis(),
    })))
}

impl App {
    /// What the user has connected.
    async fn grants(&self, user: &CurrentSubject) -> Result<Vec<Grant>, TokenRejection> {
        let mut grants = self.manager.grants(user.as_str()).await?;
        grants.retain(|grant| grant.key().provider() == MESH);
        Ok(grants)
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<App> for TokenState {
    fn from_ref(app: &App) -> Self {
        app.tokens.clone()
    }
}
