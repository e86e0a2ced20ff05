//! The return user, from the first consent to the disconnect:
//!
//! ```text
//! cargo run -p examples --bin quickstart
//! ```
//!
//! A token service and an API run in this process, over real HTTP on loopback. Access
//! tokens live for four seconds, and each refresh token is good for one refresh: a second
//! use of one would end the user's grant. What is printed is asserted; the program fails
//! otherwise.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use examples::timeline::Timeline;
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_token::testkit::AuthServer;
use tower_token::{
    EventKind, Events, GrantKey, KeyRing, OAuth2, SealedStore, SledStore, TokenLayer, TokenManager,
    TokenRequest, TokenResponse, TokenService, TokenServiceError,
};

type HttpClient = TokenService<Client<HttpConnector, Full<Bytes>>>;

const LIFETIME: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let timeline = Timeline::new();
    let server = AuthServer::builder().access_ttl(LIFETIME).start()?;
    let folder = tempfile::tempdir()?;
    let keys = KeyRing::generate()?;

    timeline.part("Connect once");
    timeline.say(format_args!(
        "a token service and an API listen at {}",
        server.api()
    ));
    let (manager, client) = start(&server, folder.path(), &keys).await?;
    let ada = GrantKey::new("demo", "ada");
    manager.connect(&ada, consent(&server, "ada")).await?;
    timeline.say("ada gave her consent; her tokens are sealed in the store on disk");

    timeline.part("Call, and call again");
    let mut events = manager.events(1_024);
    let name = call(&client, &server, &ada).await?;
    timeline.check(name == "ada", "GET /me answered: you are ada")?;
    sleep(LIFETIME * 3 / 4).await;
    let name = call(&client, &server, &ada).await?;
    timeline.check(
        name == "ada",
        "the token was about to expire, and was served at once",
    )?;
    let nobody_waited = until_refreshed(&mut events).await;
    timeline.check(
        nobody_waited && server.counts().refreshes_ok == 1,
        "it was refreshed behind the call: nobody waited",
    )?;

    timeline.part("A 401, healed");
    server.kill_access("ada");
    timeline.say("the service killed ada's access token, whatever its expiry says");
    let name = call(&client, &server, &ada).await?;
    let counts = server.counts();
    timeline.check(
        name == "ada" && counts.api_unauthorized == 1 && counts.refreshes_ok == 2,
        "the API said 401; one refresh and one resend later: you are ada",
    )?;

    timeline.part("Come back later");
    manager.shutdown(Duration::from_secs(5)).await?;
    drop((manager, client));
    timeline.say("the service shut down, and its store is closed");
    sleep(LIFETIME + Duration::from_millis(100)).await;
    let (manager, client) = start(&server, folder.path(), &keys).await?;
    timeline.say("it started again; meanwhile ada's access token has expired");
    let name = call(&client, &server, &ada).await?;
    timeline.check(name == "ada", "GET /me without a login: you are ada")?;
    timeline.check(
        server.counts().refreshes_ok == 3,
        "that took one refresh, with the refresh token that the last one had rotated in",
    )?;

    timeline.part("Two users, one client");
    let bob = GrantKey::new("demo", "bob");
    manager.connect(&bob, consent(&server, "bob")).await?;
    let mut right = 0;
    for _ in 0..50 {
        let (a, b) = tokio::join!(call(&client, &server, &ada), call(&client, &server, &bob));
        right += u32::from(a? == "ada") + u32::from(b? == "bob");
    }
    timeline.check(
        right == 100,
        "100 interleaved calls, each answered with the right name",
    )?;

    timeline.part("Disconnect");
    manager.disconnect(&ada).await?;
    let before = server.counts();
    let refusal = match call(&client, &server, &ada).await {
        Err(error) => error.to_string(),
        Ok(name) => return Err(format!("{name} is still connected").into()),
    };
    let sent = server.counts().api_ok - before.api_ok;
    timeline.check(
        sent == 0,
        "ada disconnected: her next call is not even sent",
    )?;
    timeline.say(format_args!("  its error: {refusal}"));
    let name = call(&client, &server, &bob).await?;
    timeline.check(name == "bob", "bob does not notice")?;

    timeline.part("What the token service saw");
    let counts = server.counts();
    timeline.check(
        counts.reuse_detected == 0 && counts.refreshes_failed == 0,
        format_args!(
            "{} refreshes for {} calls; no refresh token was ever sent twice",
            counts.refreshes_ok,
            counts.api_ok + counts.api_unauthorized
        ),
    )?;
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// What a service does when it starts: a store, a manager, and its client in the layer.
async fn start(
    server: &AuthServer,
    folder: &Path,
    keys: &KeyRing,
) -> Result<(TokenManager, HttpClient), Box<dyn Error>> {
    let store = SealedStore::open(SledStore::open(folder).await?, keys.clone()).await?;
    let manager = TokenManager::builder()
        .store(store)
        .provider(
            OAuth2::new("demo", server.token_endpoint())
                .client_secret_basic(server.client_id(), server.client_secret())
                .allow_origin(server.api()),
        )
        .build()
        .await?;
    let http = Client::builder(TokioExecutor::new()).build_http();
    let client = ServiceBuilder::new()
        .layer(TokenLayer::new(&manager))
        .service(http);
    Ok((manager, client))
}

/// What an OAuth client of yours gets when the user has consented.
fn consent(server: &AuthServer, user: &str) -> TokenResponse {
    server.connect(user).into()
}

/// `GET /me` as `key`'s user: the name that the API knows the caller by.
async fn call(
    client: &HttpClient,
    server: &AuthServer,
    key: &GrantKey,
) -> Result<String, Box<dyn Error>> {
    let request = Request::get(format!("{}/me", server.api()))
        .extension(TokenRequest::new(key.clone()))
        .body(Full::default())?;
    let response = match client.clone().oneshot(request).await {
        Ok(response) => response,
        Err(TokenServiceError::Token(error)) => return Err(error.into()),
        Err(TokenServiceError::Inner(error)) => return Err(error.into()),
    };
    let body = response.into_body().collect().await?.to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    Ok(answer["user"].as_str().unwrap_or("nobody").to_owned())
}

/// Waits until the manager says that a token was refreshed, and tells whether no caller
/// had to wait for it.
async fn until_refreshed(events: &mut Events) -> bool {
    let mut nobody_waited = true;
    while let Some(event) = events.next().await {
        match event.kind {
            EventKind::Refreshed { .. } => return nobody_waited,
            EventKind::Waited { .. } => nobody_waited = false,
            _ => {}
        }
    }
    false
}
