//! The service: who signs in by OAuth, and what their page may call. All of it is here.

use std::error::Error;

use axum::{Router, middleware};
use axum_token::{
    ConnectProvider, NoStoreLayer, OAuthRoutes, OpenId, PrivateCookies, ProxyRoutes, PublicOrigin,
    SessionTokenLayer, SignIns, TokenState, Upstream, UserRoutes,
};
use examples::headers;
use http::{Method, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower_token::{SealedStore, SledStore, TokenManager};

use crate::api::Api;
use crate::folder::Folder;
use crate::options::Settings;
use crate::page;

/// What grants call the provider, and URLs, too.
const OP: &str = "op";

/// Where users sign in, and connect it again.
const SIGN_IN: &str = "/auth/op?next=/";

/// Asks the provider what it is, opens what is kept in `folder`, and says how requests are
/// answered.
pub(crate) async fn start(
    settings: &Settings,
    scope: &str,
    folder: &Folder,
    origin: &PublicOrigin,
) -> Result<(Router, TokenManager), Box<dyn Error>> {
    let openid = OpenId::discover(&settings.issuer).await?;
    let api = Api::find(settings.api.as_deref(), &settings.issuer).await?;

    // Its client, and where its users' tokens may go.
    let provider = openid
        .provider(OP)
        .client_secret_basic(&settings.client_id, settings.client_secret.clone())
        .allow_origin(&api.origin);
    let op = ConnectProvider::openid(&openid, provider.code_exchange()?)
        .scope("offline_access")
        .scope(scope)
        .signs_in();

    let store = SledStore::open(folder.grants()).await?;
    let manager = TokenManager::builder()
        .store(SealedStore::open(store, folder.key_ring()?).await?)
        .provider(provider)
        .provider(SignIns::provider())
        .build()
        .await?;
    let sign_ins = SignIns::new(&manager);
    let state = TokenState::new(&manager)
        .login_at(Uri::from_static(SIGN_IN))
        .connect_at(OP, Uri::from_static(SIGN_IN));

    // Who is signed in is in a cookie that only the service can read.
    let key = folder.cookie_key()?;
    let users = PrivateCookies::new(key.clone(), origin);
    let auth = OAuthRoutes::new(origin, "/auth", key, users.clone())
        .sign_ins(&sign_ins)
        .provider(op);

    let connector = HttpsConnectorBuilder::new()
        .try_with_platform_verifier()?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut upstream = Upstream::new(OP, OP, &api.origin).methods([Method::GET]);
    if api.path != "/" {
        upstream = upstream.path_prefix(&api.path);
    }
    let proxy = ProxyRoutes::new(&manager, client).upstream(upstream);

    let app = Router::new()
        .merge(auth.router()?)
        .merge(UserRoutes::new().router())
        .nest("/api", proxy.router(origin)?)
        .layer(SessionTokenLayer::new(users).sign_ins(&sign_ins))
        .with_state(state)
        .merge(page::routes(&format!("/api/{OP}{}", api.path))?)
        .layer(middleware::from_fn(headers::only_localhost))
        .layer(NoStoreLayer);
    Ok((app, manager))
}
