//! A service that uses reqwest, with its users' tokens in each request:
//!
//! ```text
//! cargo run -p examples --bin reqwest
//! ```
//!
//! A token service and an API for notes run in this process, over real HTTP on loopback. What is
//! printed is asserted; the program fails otherwise.

use std::error::Error;

use examples::notes;
use examples::timeline::Timeline;
use http::StatusCode;
use serde_json::{Value, json};
use tower_token::reqwest::{SendWith as _, TokenClient};
use tower_token::testkit::AuthServer;
use tower_token::{
    ErrorKind, GrantKey, KeyRing, MemoryStore, SealedStore, TokenManager, TokenServiceError,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let timeline = Timeline::new();
    let server = AuthServer::start()?;
    let api = notes::serve(&server).await?;

    timeline.part("One client, a handle for each user");
    let store = SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?;
    let manager = TokenManager::builder()
        .store(store)
        .provider(server.provider("demo").allow_origin(&*api))
        .build()
        .await?;
    let [ada, bob] = ["ada", "bob"].map(|user| GrantKey::new("demo", user));
    manager.connect(&ada, server.connect("ada").into()).await?;
    manager.connect(&bob, server.connect("bob").into()).await?;

    let tokens = TokenClient::new(&manager, reqwest::Client::builder().no_proxy())?;
    let (ada, bob) = (tokens.for_key(ada), tokens.for_key(bob));
    let http = tokens.client();

    let url = format!("{api}/notes");
    for (handle, user) in [(&ada, "ada"), (&bob, "bob")] {
        let request = http.post(&url).json(&json!({ "text": "hello" }));
        let note: Value = request.send_with(handle).await?.json().await?;
        let text = format!("POST /notes as {user}: {note}");
        timeline.check(note["by"] == user && note["text"] == "hello", text)?;
    }

    timeline.part("A 401, healed");
    server.kill_access("ada");
    timeline.say("the service killed ada's access token, whatever its expiry says");
    let request = http.post(&url).json(&json!({ "text": "once more" }));
    let note: Value = request.send_with(&ada).await?.json().await?;
    timeline.check(
        note["by"] == "ada" && note["text"] == "once more",
        format_args!("the API said 401; one refresh and one resend later: {note}"),
    )?;
    timeline.check(
        server.counts_of("ada").refreshes_ok == 1 && server.counts_of("bob").refreshes_ok == 0,
        "it was hers alone that was refreshed",
    )?;

    timeline.part("Redirects");
    let old = http
        .post(format!("{api}/old-notes"))
        .json(&json!({ "text": "moved" }));
    let response = old.send_with(&ada).await?;
    let (end, note) = (response.url().clone(), response.json::<Value>().await?);
    timeline.check(
        end.path() == "/notes" && note["by"] == "ada",
        format_args!("followed to {end}, with the token: {note}"),
    )?;
    let error = match http.get(format!("{api}/away")).send_with(&ada).await {
        Err(TokenServiceError::Token(error)) => error,
        other => return Err(format!("it went away: {other:?}").into()),
    };
    timeline.check(
        error.kind() == ErrorKind::ForeignOrigin,
        "one that leads elsewhere is not followed:",
    )?;
    timeline.say(format_args!("  {error}"));

    timeline.part("What passes the token by");
    let status = http.post(&url).json(&json!({})).send().await?.status();
    timeline.check(
        status == StatusCode::UNAUTHORIZED,
        format_args!("send() in place of send_with(..): {status}"),
    )
}
