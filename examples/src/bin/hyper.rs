//! hyper's client with each user's token in it:
//!
//! ```text
//! cargo run -p examples --bin hyper
//! ```
//!
//! A token service and an API run in this process, over real HTTP on loopback. What is printed
//! is asserted; the program fails otherwise. An API elsewhere is reached by
//! `TokenClient::builder(&manager).https_only()?.build()`, with the feature `rustls`.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use examples::timeline::Timeline;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{Request, Uri};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_client_token::{Body, ResponseFuture, TokenClient};
use tower_token::testkit::AuthServer;
use tower_token::{GrantKey, KeyRing, MemoryStore, SealedStore, TokenManager};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let timeline = Timeline::new();
    let server = AuthServer::start()?;
    let manager = TokenManager::builder()
        .store(SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?)
        .provider(server.provider("demo"))
        .build()
        .await?;
    let [ada, bob] = ["ada", "bob"].map(|user| GrantKey::new("demo", user));
    for (key, user) in [(&ada, "ada"), (&bob, "bob")] {
        // What an OAuth client of yours gets when the user has consented.
        manager.connect(key, server.connect(user).into()).await?;
    }
    let me: Uri = format!("{}/me", server.api()).parse()?;
    let echo: Uri = format!("{}/echo", server.api()).parse()?;

    timeline.part("One client, two users");
    let client = TokenClient::new(&manager);
    let (ada, bob) = (client.for_key(ada), client.for_key(bob));
    let names = [
        answer(ada.get(me.clone())).await?,
        answer(bob.get(me.clone())).await?,
    ];
    timeline.check(
        names[0]["user"] == "ada" && names[1]["user"] == "bob",
        "GET /me, of each: you are ada, you are bob",
    )?;
    let error = answer(client.get(me))
        .await
        .err()
        .ok_or("nobody was let in")?;
    timeline.check(
        server.counts().api_unauthorized == 0,
        format_args!("a request of nobody is not even sent: {error}"),
    )?;

    timeline.part("A POST, healed");
    server.kill_access("ada");
    timeline.say("the service killed ada's access token, whatever its expiry says");
    let request = Request::post(echo.clone()).body("twelve bytes")?;
    let echoed = answer(ada.request(request)).await?;
    timeline.check(
        echoed["user"] == "ada" && echoed["bytes"] == 12,
        "POST /echo: the API has read all 12 bytes, from ada",
    )?;
    let counts = server.counts();
    timeline.check(
        counts.api_unauthorized == 1 && counts.refreshes_ok == 1,
        "that took a 401, one refresh, and one resend",
    )?;

    timeline.part("A stream, healed");
    let client = TokenClient::builder(&manager)
        .settings(|http| http.pool_idle_timeout(Duration::from_secs(20)))
        .replay_limit(1 << 20)
        .build();
    let bob = client.for_key(GrantKey::new("demo", "bob"));
    server.kill_access("bob");
    timeline.say("the service killed bob's, too");
    let pieces = stream::iter(0..100).map(|_| Ok::<_, io::Error>(Bytes::from(vec![7; 1_000])));
    let body = Body::new(StreamBody::new(pieces.map_ok(Frame::data)));
    let echoed = answer(bob.request(Request::post(echo).body(body)?)).await?;
    timeline.check(
        echoed["user"] == "bob" && echoed["bytes"] == 100_000,
        "POST /echo of a stream that cannot be cloned: 100000 bytes, from bob",
    )?;
    let counts = server.counts();
    timeline.check(
        counts.api_unauthorized == 2 && counts.refreshes_ok == 2 && counts.reuse_detected == 0,
        "what went by had been kept: it was sent twice",
    )?;
    manager.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

/// The JSON that the API answers with.
async fn answer(response: ResponseFuture) -> Result<serde_json::Value, Box<dyn Error>> {
    let body = response.await?.into_body().collect().await?;
    Ok(serde_json::from_slice(&body.to_bytes())?)
}
