//! gRPC by tonic: a call that is refused before it begins is healed, and all else comes out as
//! tonic would have it. Over a real channel to a real server.

use std::convert::Infallible;
use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use tests::BoxError;
use tests::fake::Fake;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, service_fn};
use tower_token::testkit::ManualClock;
use tower_token::{
    ErrorKind, GrantKey, KeyRing, MemoryStore, Provider, Recovery, RefusalLayer, ReplayBody,
    TokenLayer, TokenManager, TokenRequest, TokenServiceError,
};

use crate::support::{HOUR, manager_of};

const LIMIT: usize = 64 << 10;

/// An API that answers `code` to the tokens `a0` to the number of `refused`.
#[derive(Clone)]
struct Api {
    code: Code,
    refused: usize,
    /// How many calls it refused.
    refusals: Arc<watch::Sender<usize>>,
    uploads: Arc<Mutex<Vec<Vec<String>>>>,
}

impl NamedService for Api {
    const NAME: &'static str = "test.Api";
}

impl Api {
    fn check(&self, headers: &http::HeaderMap) -> Result<(), Status> {
        let token = headers["authorization"].to_str().unwrap();
        let number = token.strip_prefix("Bearer a").unwrap().parse::<usize>();
        if number.unwrap() >= self.refused {
            return Ok(());
        }
        self.refusals.send_modify(|refusals| *refusals += 1);
        let details = Bytes::from_static(b"details");
        Err(Status::with_details(self.code, "not this token", details))
    }

    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let checked = self.check(request.headers());
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
        if request.uri().path() == "/test.Api/Begins" {
            // Refused where its first message would be, so in trailers.
            let mut first = Some(checked.map(|()| String::from("welcome")));
            let begins = |_: Request<String>| {
                let items = stream::iter(first.take());
                async { Ok::<_, Status>(Response::new(items)) }
            };
            return grpc.server_streaming(service_fn(begins), request).await;
        }
        if let Err(status) = checked {
            return status.into_http();
        }
        match request.uri().path() {
            "/test.Api/Unary" => {
                let echo = |request: Request<String>| async {
                    Ok::<_, Status>(Response::new(request.into_inner()))
                };
                grpc.unary(service_fn(echo), request).await
            }
            "/test.Api/Watch" => {
                let watch = |_: Request<String>| async {
                    let items = ["one", "two"].map(|item| Ok(String::from(item)));
                    Ok::<_, Status>(Response::new(stream::iter(items)))
                };
                grpc.server_streaming(service_fn(watch), request).await
            }
            _ => {
                let upload = |request: Request<Streaming<String>>| {
                    let uploads = Arc::clone(&self.uploads);
                    async move {
                        let items: Vec<_> = request.into_inner().collect().await;
                        let items: Result<Vec<_>, _> = items.into_iter().collect();
                        uploads.lock().push(items?);
                        Ok::<_, Status>(Response::new(String::from("taken")))
                    }
                };
                grpc.client_streaming(service_fn(upload), request).await
            }
        }
    }
}

impl Service<http::Request<Body>> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async { Ok(answer.await) })
    }
}

type TokenChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, BoxError>;

/// A client of an API, in the layer.
struct Rig {
    api: Api,
    fake: Fake,
    manager: TokenManager,
    key: GrantKey,
    channel: TokenChannel,
    client: tonic::client::Grpc<TokenChannel>,
}

impl Rig {
    /// The API refuses `refused` tokens by `code`; the client knows gRPC's refusals, or not.
    async fn new(code: Code, refused: usize, classifier: bool) -> Self {
        let api = Api {
            code,
            refused,
            refusals: Arc::default(),
            uploads: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder().add_service(api.clone());
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

        let (fake, clock) = (Fake::new(HOUR), ManualClock::new());
        let store = MemoryStore::with_clock(clock.clone());
        let provider = Provider::new("fake", fake.clone()).allow_origin(origin.clone());
        let ring = KeyRing::generate().unwrap();
        let manager = manager_of(store, &ring, provider, &clock).await;
        let key = GrantKey::new("fake", "ada");
        manager.connect(&key, fake.consent()).await.unwrap();

        let channel = Channel::from_shared(origin.clone()).unwrap();
        let service = ServiceBuilder::new()
            .map_err(TokenServiceError::into_boxed)
            .layer(TokenLayer::new(&manager).buffered(LIMIT))
            .option_layer(classifier.then(RefusalLayer::grpc))
            .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
            .service(channel.connect_lazy());
        let service = BoxCloneSyncService::new(service);
        Self {
            api,
            fake,
            manager,
            key,
            client: tonic::client::Grpc::with_origin(service.clone(), origin.parse().unwrap()),
            channel: service,
        }
    }

    /// As generated code does it.
    async fn ready<T>(&mut self, message: T) -> Request<T> {
        self.client.ready().await.unwrap();
        let mut request = Request::new(message);
        let wanted = TokenRequest::new(self.key.clone());
        request.extensions_mut().insert(wanted);
        request
    }

    async fn unary(&mut self) -> Result<String, Status> {
        let request = self.ready(String::from("hello")).await;
        let path = PathAndQuery::from_static("/test.Api/Unary");
        let answer = self.client.unary(request, path, ProstCodec::default());
        answer.await.map(Response::into_inner)
    }

    async fn watch(&mut self, path: &'static str) -> Result<Streaming<String>, Status> {
        let request = self.ready(String::new()).await;
        let path = PathAndQuery::from_static(path);
        let answer = self
            .client
            .server_streaming(request, path, ProstCodec::default());
        answer.await.map(Response::into_inner)
    }

    async fn upload(
        &mut self,
        items: impl Stream<Item = String> + Send + 'static,
    ) -> Result<String, Status> {
        let request = self.ready(items).await;
        let path = PathAndQuery::from_static("/test.Api/Upload");
        let answer = self
            .client
            .client_streaming(request, path, ProstCodec::default());
        answer.await.map(Response::into_inner)
    }

    /// How many calls were refused, and how many tokens were exchanged for it.
    fn counts(&self) -> (usize, usize) {
        (*self.api.refusals.borrow(), self.fake.exchanges())
    }
}

#[tokio::test]
async fn a_call_is_healed() {
    let mut rig = Rig::new(Code::Unauthenticated, 1, true).await;
    assert_eq!(rig.unary().await.unwrap(), "hello");
    assert_eq!(rig.counts(), (1, 1));
    assert_eq!(rig.unary().await.unwrap(), "hello");
    assert_eq!(rig.counts(), (1, 1));
}

#[tokio::test]
async fn a_stream_is_healed_before_it_begins() {
    let mut rig = Rig::new(Code::Unauthenticated, 1, true).await;
    let items = rig.watch("/test.Api/Watch").await.unwrap();
    let items: Vec<_> = items.map(Result::unwrap).collect().await;
    assert_eq!(items, ["one", "two"]);
    assert_eq!(rig.counts(), (1, 1));
}

/// A stream may begin long before its first message: waiting for that would hold it back.
#[tokio::test]
async fn a_stream_that_has_begun_is_not_held_back_to_be_healed() {
    let mut rig = Rig::new(Code::Unauthenticated, 1, true).await;
    let mut items = rig.watch("/test.Api/Begins").await.unwrap();
    let status = items.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(rig.fake.exchanges(), 0);
}

#[tokio::test]
async fn messages_are_sent_again_and_in_order() {
    let mut rig = Rig::new(Code::Unauthenticated, 1, true).await;
    let items = ["one", "two", "three"].map(String::from);
    // The first goes out, and the others only once the call was refused.
    let mut refusals = rig.api.refusals.subscribe();
    let refused = async move {
        let _ = refusals.wait_for(|refusals| *refusals > 0).await;
        stream::iter(["two", "three"].map(String::from))
    };
    let first = stream::iter([String::from("one")]);
    let upload = first.chain(stream::once(refused).flatten());
    assert_eq!(rig.upload(upload).await.unwrap(), "taken");
    assert_eq!(*rig.api.uploads.lock(), [items.to_vec()]);
    assert_eq!(rig.counts(), (1, 1));
}

#[tokio::test]
async fn a_second_refusal_comes_out_as_it_is() {
    let mut rig = Rig::new(Code::Unauthenticated, 9, true).await;
    let unary = rig.unary().await.unwrap_err();
    assert_eq!(rig.counts(), (2, 1));
    let mut rig = Rig::new(Code::Unauthenticated, 9, true).await;
    let stream = rig.watch("/test.Api/Watch").await.unwrap_err();
    assert_eq!(rig.counts(), (2, 1));
    for status in [unary, stream] {
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.message(), "not this token");
        assert_eq!(status.details(), b"details");
    }
}

#[tokio::test]
async fn what_is_no_refusal_of_the_token_is_not_healed() {
    for (code, classifier) in [
        (Code::PermissionDenied, true),
        (Code::Unavailable, true),
        (Code::Unauthenticated, false),
    ] {
        let mut rig = Rig::new(code, 1, classifier).await;
        let status = rig.unary().await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "not this token"));
        assert_eq!(rig.counts(), (1, 0));
    }
}

#[tokio::test]
async fn an_error_of_ours_is_the_source_of_the_status() {
    let mut rig = Rig::new(Code::Unauthenticated, 0, true).await;
    rig.manager.disconnect(&rig.key).await.unwrap();
    let status = rig.unary().await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    let error: &tower_token::Error = status.source().unwrap().downcast_ref().unwrap();
    assert_eq!(error.recovery(), Recovery::Reauthenticate);
    assert_eq!(status.message(), error.to_string());
}

/// The path alone says nothing of where a call goes: it is the channel that adds the rest.
#[tokio::test]
async fn a_client_without_its_origin_sends_nothing() {
    let mut rig = Rig::new(Code::Unauthenticated, 0, true).await;
    rig.client = tonic::client::Grpc::new(rig.channel.clone());
    let status = rig.unary().await.unwrap_err();
    let error: &tower_token::Error = status.source().unwrap().downcast_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::ForeignOrigin);
}
