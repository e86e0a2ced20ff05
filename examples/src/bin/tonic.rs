//! A gRPC client whose calls carry their user's token, by tonic:
//!
//! ```text
//! cargo run -p examples --bin tonic
//! ```
//!
//! An interceptor of tonic's cannot wait, and so it cannot refresh a token; a layer around the
//! channel can. `grpc.health.v1`, which comes generated with tonic-health, stands in for your
//! API: one call, and one stream. What is printed is asserted; the program fails otherwise.

use std::error::Error;

use examples::health;
use examples::timeline::Timeline;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;
use tower_token::testkit::AuthServer;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, Recovery, RefusalLayer, ReplayBody, SealedStore, TokenLayer,
    TokenManager, TokenRequest, TokenServiceError,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// What a generated client is built over: a channel in layers, by a name that a struct can hold.
type TokenChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;

/// How much of a request is kept to send it twice; a call of one message is mostly smaller.
const REPLAY_LIMIT: usize = 64 * 1024;

fn with_tokens(manager: &TokenManager, channel: Channel) -> TokenChannel {
    let service = ServiceBuilder::new()
        // Without it a refusal of ours would hide behind a type that names the channel's error.
        .map_err(TokenServiceError::into_boxed)
        .layer(TokenLayer::new(manager).buffered(REPLAY_LIMIT))
        .layer(RefusalLayer::grpc())
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    BoxCloneSyncService::new(service)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let timeline = Timeline::new();
    let server = AuthServer::start()?;
    let (api, address) = health::Api::start().await?;
    let origin = format!("http://{address}");
    timeline.part("A channel in the layer");
    timeline.say(format_args!("a gRPC API listens at {origin}"));

    let manager = TokenManager::builder()
        .store(SealedStore::open(MemoryStore::new(), KeyRing::generate()?).await?)
        .provider(server.provider("demo").allow_origin(origin.clone()))
        .build()
        .await?;
    let channel = Channel::from_shared(origin.clone())?.connect().await?;
    // With its origin, or the layer could not know where a call goes.
    let mut client = HealthClient::with_origin(with_tokens(&manager, channel), origin.parse()?);

    timeline.part("UNAUTHENTICATED, healed");
    let ada = GrantKey::new("demo", "ada");
    let tokens = server.connect("ada");
    api.refuse(&tokens.access_token);
    manager.connect(&ada, tokens.into()).await?;
    timeline.say("ada is connected, and the API does not take her access token any more");
    let answer = client.check(of(&ada)).await?.into_inner();
    timeline.check(
        is_serving(&answer) && api.refusals() == 1 && server.counts().refreshes_ok == 1,
        "one refusal, one refresh and one resend later the call has its answer",
    )?;

    timeline.part("A stream begins with a token, too");
    let bob = GrantKey::new("demo", "bob");
    let tokens = server.connect("bob");
    api.refuse(&tokens.access_token);
    manager.connect(&bob, tokens.into()).await?;
    let mut stream = client.watch(of(&bob)).await?.into_inner();
    let first = stream.message().await?.ok_or("the stream is empty")?;
    timeline.check(
        is_serving(&first) && api.refusals() == 2 && server.counts().refreshes_ok == 2,
        "refused before its first message, and begun again for bob",
    )?;

    timeline.part("Without a token nothing is sent");
    manager.disconnect(&ada).await?;
    let Err(status) = client.check(of(&ada)).await else {
        return Err("ada is still connected".into());
    };
    let source = status.source().and_then(|source| source.downcast_ref());
    let error: &tower_token::Error = source.ok_or("not an error of ours")?;
    timeline.check(
        status.code() == Code::Unknown && error.recovery() == Recovery::Reauthenticate,
        format_args!("ada left, and her next call says what to do: {error}"),
    )?;
    Ok(())
}

/// A call in this user's name.
fn of(user: &GrantKey) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest::default());
    let wanted = TokenRequest::new(user.clone());
    request.extensions_mut().insert(wanted);
    request
}

fn is_serving(answer: &HealthCheckResponse) -> bool {
    answer.status() == tonic_health::pb::health_check_response::ServingStatus::Serving
}
