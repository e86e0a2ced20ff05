//! APIs that refuse a token by something else than a 401, and those that want it in a header
//! of their own.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _};
use tower_token::{
    BodyRefusalLayer, RefusalLayer, TokenHeader, TokenLayer, TokenRefused, TokenRequest,
};

use crate::support::{API, Rig};

type Reply = Response<Full<Bytes>>;

/// An API that answers `refusal` to the token `a0`, and `answer` to all others.
#[derive(Clone)]
struct Odd {
    refusal: Reply,
    answer: Reply,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Odd {
    fn new(refusal: Reply) -> Self {
        Self {
            refusal,
            answer: Response::new(Full::from("welcome")),
            seen: Arc::default(),
        }
    }

    fn service(
        &self,
    ) -> impl Service<Request<Full<Bytes>>, Response = Reply, Error = Infallible, Future: Send>
    + Clone
    + use<> {
        let odd = self.clone();
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let odd = odd.clone();
            async move {
                let headers = request.headers();
                let token = headers.get("authorization").or(headers.get("x-api-key"));
                let token = token.unwrap().to_str().unwrap().to_owned();
                let refused = token.ends_with("a0");
                odd.seen.lock().push(token);
                Ok(if refused { odd.refusal } else { odd.answer })
            }
        })
    }
}

fn request(rig: &Rig) -> Request<Full<Bytes>> {
    let request = Request::get(API).extension(TokenRequest::new(rig.key.clone()));
    request.body(Full::default()).unwrap()
}

fn json(body: &'static str) -> Reply {
    let response = Response::builder().header("content-type", "application/json; charset=utf-8");
    response.body(Full::from(body)).unwrap()
}

/// What comes through `layer` from an API that refuses by `refusal`, and how often it was asked.
async fn through<L, A>(layer: L, refusal: Reply) -> (StatusCode, String, usize)
where
    L: Layer<tower::util::BoxCloneService<Request<Full<Bytes>>, Reply, Infallible>>,
    L::Service: Service<Request<Full<Bytes>>, Response = Response<A>, Error = Infallible> + Clone,
    A: http_body::Body<Data = Bytes, Error = Infallible>,
{
    let (rig, odd) = (Rig::connected().await, Odd::new(refusal));
    let api = tower::util::BoxCloneService::new(odd.service());
    let client = TokenLayer::new(&rig.manager).layer(layer.layer(api));
    let response = client.oneshot(request(&rig)).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let asked = odd.seen.lock().len();
    (status, String::from_utf8(body.to_vec()).unwrap(), asked)
}

#[tokio::test]
async fn a_bare_403_is_healed_where_that_was_chosen_and_only_there() {
    let forbidden = || {
        let response = Response::builder().status(403);
        response.body(Full::default()).unwrap()
    };
    let layer = RefusalLayer::new(|status, _| status == StatusCode::FORBIDDEN);
    let healed = through(layer, forbidden()).await;
    assert_eq!(healed, (StatusCode::OK, "welcome".into(), 2));
    let untouched = through(tower::layer::util::Identity::new(), forbidden()).await;
    assert_eq!(untouched, (StatusCode::FORBIDDEN, String::new(), 1));
}

#[tokio::test]
async fn a_403_that_says_that_the_scope_is_too_narrow_is_not_healed() {
    let response = Response::builder().status(403);
    let narrow = response
        .header("www-authenticate", "Bearer error=\"insufficient_scope\"")
        .body(Full::default())
        .unwrap();
    let layer = RefusalLayer::new(|status, _| status == StatusCode::FORBIDDEN);
    assert_eq!(through(layer, narrow).await.2, 1);
}

#[tokio::test]
async fn unauthenticated_is_healed_in_grpc() {
    for (status, asked) in [("16", 2), ("7", 1)] {
        let response = Response::builder().header("grpc-status", status);
        let refusal = response.body(Full::default()).unwrap();
        assert_eq!(through(RefusalLayer::grpc(), refusal).await.2, asked);
    }
}

#[tokio::test]
async fn not_authorized_inside_of_a_200_is_healed() {
    let layer = |limit| BodyRefusalLayer::new(limit, |body: &[u8]| body == b"{\"error\":1}");
    let healed = through(layer(64), json("{\"error\":1}")).await;
    assert_eq!(healed, (StatusCode::OK, "welcome".into(), 2));
    // Anything else comes as it is: another answer, one that is longer, one that is no JSON.
    for (limit, other) in [
        (64, json("{\"error\":2}")),
        (10, json("{\"error\":1}")),
        (64, Response::new(Full::from("{\"error\":1}"))),
        (64, json("")),
    ] {
        let whole = other
            .clone()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        let whole = String::from_utf8(whole.to_vec()).unwrap();
        let came = through(layer(limit), other).await;
        assert_eq!(came, (StatusCode::OK, whole, 1), "{limit}");
    }
}

#[tokio::test]
async fn a_layer_of_ones_own_can_say_so_too() {
    let (rig, odd) = (Rig::connected().await, Odd::new(Response::default()));
    let client = ServiceBuilder::new()
        .layer(TokenLayer::new(&rig.manager))
        .map_response(|mut response: Reply| {
            if http_body::Body::is_end_stream(response.body()) {
                response.extensions_mut().insert(TokenRefused);
            }
            response
        })
        .service(odd.service());
    client.oneshot(request(&rig)).await.unwrap();
    assert_eq!(*odd.seen.lock(), ["Bearer a0", "Bearer a1"]);
}

#[tokio::test]
async fn a_token_goes_into_a_header_of_the_apis_own() {
    let refusal = || {
        let response = Response::builder().status(401);
        response.body(Full::default()).unwrap()
    };
    let (rig, odd) = (Rig::connected().await, Odd::new(refusal()));
    let key = TokenHeader::new(HeaderName::from_static("x-api-key"));
    let layer = TokenLayer::new(&rig.manager).place(key);
    let client = layer.layer(odd.service());
    client.clone().oneshot(request(&rig)).await.unwrap();
    assert_eq!(*odd.seen.lock(), ["a0", "a1"]);
    // One that is there already is the caller's own.
    let mut preset = request(&rig);
    preset
        .headers_mut()
        .insert("x-api-key", "mine".parse().unwrap());
    client.oneshot(preset).await.unwrap();
    assert_eq!(odd.seen.lock().last().unwrap(), "mine");

    let (rig, odd) = (Rig::connected().await, Odd::new(refusal()));
    let scheme = TokenHeader::new(http::header::AUTHORIZATION).scheme("token");
    let client = TokenLayer::new(&rig.manager)
        .place(scheme)
        .layer(odd.service());
    client.oneshot(request(&rig)).await.unwrap();
    assert_eq!(*odd.seen.lock(), ["token a0", "token a1"]);
}
