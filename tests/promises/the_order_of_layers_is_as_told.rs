//! What the chapter on the order of layers says of each order, the wrong ones included.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::header::LOCATION;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use tests::BoxError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::load_shed::error::Overloaded;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tower_http_06::follow_redirect::FollowRedirectLayer as FollowRedirectLayer06;
use tower_token::{ErrorKind, TokenHeader, TokenLayer, TokenRequest, TokenServiceError};
use tracing_subscriber::filter::LevelFilter;

use crate::support::{API, Api, Rig};

type Reply = Response<Full<Bytes>>;
type Client<E> = BoxCloneService<Request<Full<Bytes>>, Reply, E>;

const SECOND: Duration = Duration::from_secs(1);
/// Nothing may hang.
const DEADLINE: Duration = Duration::from_secs(60);

fn request(rig: &Rig) -> Request<Full<Bytes>> {
    let wanted = TokenRequest::new(rig.key.clone());
    let request = Request::get(API).extension(wanted);
    request.body(Full::default()).unwrap()
}

fn reply(status: StatusCode) -> Reply {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// As often as this, whatever a 503 says of it.
#[derive(Clone)]
struct Tries(usize);

impl<E> Policy<Request<Full<Bytes>>, Reply, E> for Tries {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request<Full<Bytes>>,
        result: &mut Result<Reply, E>,
    ) -> Option<Ready<()>> {
        self.0 = self.0.checked_sub(1)?;
        let failed = |response: &Reply| response.status().is_server_error();
        result.as_ref().is_ok_and(failed).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_retry_outside_takes_a_token_each_time_and_one_inside_repeats_it() {
    for (outside, tokens) in [(true, ["a0", "a1"]), (false, ["a0", "a0"])] {
        let (rig, api) = (Rig::connected().await, Api::default());
        let (clock, asked) = (rig.clock.clone(), api.clone());
        // An answer that takes until the token has expired, and is a 503.
        let slow = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (clock, api) = (clock.clone(), asked.clone());
            async move {
                let answer = api.service().oneshot(request).await?;
                if api.tokens().len() > 1 {
                    return Ok::<_, Infallible>(answer);
                }
                clock.advance(crate::support::HOUR);
                Ok(reply(StatusCode::SERVICE_UNAVAILABLE))
            }
        });
        let (tokens_of, retry) = (TokenLayer::new(&rig.manager), RetryLayer::new(Tries(1)));
        let answer = match outside {
            true => {
                retry
                    .layer(tokens_of.layer(slow))
                    .oneshot(request(&rig))
                    .await
            }
            false => {
                tokens_of
                    .layer(retry.layer(slow))
                    .oneshot(request(&rig))
                    .await
            }
        };
        assert_eq!(answer.unwrap().status(), StatusCode::OK);
        assert_eq!(api.tokens(), tokens);
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_outside_bounds_the_wait_for_a_token_and_loses_none() {
    let (rig, api) = (Rig::connected().await, Api::default());
    rig.until_expired();
    rig.fake.hold();
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(SECOND))
        .map_err(TokenServiceError::into_boxed)
        .layer(TokenLayer::new(&rig.manager))
        .service(api.service());
    let error = client.oneshot(request(&rig)).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error}");
    rig.fake.release(1);
    assert_eq!(
        (rig.token().await.as_str(), rig.fake.exchanges()),
        ("a1", 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_time_out_inside_bounds_attempts_alone() {
    let (rig, api) = (Rig::connected().await, Api::default());
    rig.until_expired();
    rig.fake.hold();
    let layers = |rig: &Rig| (TokenLayer::new(&rig.manager), TimeoutLayer::new(SECOND));
    let client = layers(&rig).layer(api.service());
    let later = async {
        sleep(5 * SECOND).await;
        rig.fake.release(1);
    };
    let (answer, ()) = tokio::join!(client.oneshot(request(&rig)), later);
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!(api.tokens(), ["a1"]);

    let never = tower::service_fn(|_: Request<Full<Bytes>>| {
        std::future::pending::<Result<Reply, Infallible>>()
    });
    let answer = layers(&rig).layer(never).oneshot(request(&rig)).await;
    match answer.unwrap_err() {
        TokenServiceError::Inner(error) => assert!(error.is::<Elapsed>(), "{error}"),
        TokenServiceError::Token(error) => panic!("{error}"),
    }
}

/// Where a request went, and the token it had there.
type Hops = Arc<Mutex<Vec<(&'static str, Option<String>)>>>;

/// An API that redirects from `/away` to another origin, which redirects within itself; and from
/// `/here` within its own.
fn redirecting() -> (Client<Infallible>, Hops) {
    const HOPS: [(&str, &str); 4] = [
        ("https://api.example.com/away", "https://evil.example.com/1"),
        ("https://evil.example.com/1", "https://evil.example.com/2"),
        ("https://evil.example.com/2", ""),
        ("https://api.example.com/here", "https://api.example.com/2"),
    ];
    let hops = Hops::default();
    let seen = Arc::clone(&hops);
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let uri = request.uri().to_string();
        let hop = HOPS.into_iter().find(|(from, _)| *from == uri);
        let (from, to) = hop.unwrap_or(("https://api.example.com/2", ""));
        let headers = request.headers();
        let token = headers.get("authorization").or(headers.get("x-api-key"));
        let token = token.map(|token| token.to_str().unwrap().to_owned());
        seen.lock().push((from, token));
        let mut response = reply(StatusCode::OK);
        if !to.is_empty() {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(LOCATION, to.parse().unwrap());
        }
        ready(Ok(response))
    });
    (BoxCloneService::new(service), hops)
}

/// Which hops saw a token, with a client that follows redirects inside of ours.
async fn disclosed<P, L, S>(
    rig: &Rig,
    tokens: TokenLayer<tower_token::CloneBody, P>,
    follow: L,
) -> Vec<&'static str>
where
    P: tower_token::Placement<Full<Bytes>> + Clone,
    L: Layer<Client<Infallible>, Service = S>,
    S: Service<Request<Full<Bytes>>, Response = Reply, Error = Infallible> + Clone,
{
    let (api, hops) = redirecting();
    let mut request = request(rig);
    *request.uri_mut() = format!("{API}/away").parse().unwrap();
    let client = tokens.layer(follow.layer(api));
    let answer = client.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let hops = hops.lock();
    assert_eq!(hops.len(), 3);
    let seen = hops.iter().filter(|(_, token)| token.is_some());
    seen.map(|(hop, _)| *hop).collect()
}

#[tokio::test]
async fn redirects_inside_take_the_token_along() {
    let rig = Rig::connected().await;
    let tokens = TokenLayer::new(&rig.manager);
    let [own, first, second] = [
        "https://api.example.com/away",
        "https://evil.example.com/1",
        "https://evil.example.com/2",
    ];
    // Taken out where the origin changes, and back at the hop after that.
    let seen = disclosed(&rig, tokens.clone(), FollowRedirectLayer06::new()).await;
    assert_eq!(seen, [own, second]);
    let seen = disclosed(&rig, tokens.clone(), FollowRedirectLayer::new()).await;
    assert_eq!(seen, [own]);
    // A header that is not known for a credential.
    let tokens = tokens.place(TokenHeader::new(HeaderName::from_static("x-api-key")));
    let seen = disclosed(&rig, tokens.clone(), FollowRedirectLayer06::new()).await;
    assert_eq!(seen, [own, first, second]);
    let seen = disclosed(&rig, tokens, FollowRedirectLayer::new()).await;
    assert_eq!(seen, [own, first, second]);
}

/// What comes of a redirect that is followed outside, and how many hops saw a token.
async fn outside<L, S>(follow: L, path: &str, bound: bool) -> (Result<StatusCode, ErrorKind>, usize)
where
    L: Layer<tower_token::TokenService<Client<Infallible>>, Service = S>,
    S: Service<Request<Full<Bytes>>, Response = Reply, Error = TokenServiceError<Infallible>>
        + Clone,
{
    let rig = Rig::connected().await;
    let (api, hops) = redirecting();
    let client = TokenLayer::new(&rig.manager).layer(api);
    let client = if bound {
        client.for_key(rig.key.clone())
    } else {
        client
    };
    let mut request = request(&rig);
    *request.uri_mut() = format!("{API}{path}").parse().unwrap();
    let answer = follow.layer(client).oneshot(request).await;
    let answer = answer.map(|response| response.status());
    let hops = hops.lock();
    assert!(
        hops.iter()
            .all(|(hop, token)| hop.starts_with(API) && token.is_some())
    );
    let answer = answer.map_err(|error| match error {
        TokenServiceError::Token(error) => error.kind(),
        TokenServiceError::Inner(error) => match error {},
    });
    (answer, hops.len())
}

#[tokio::test]
async fn redirects_outside_are_checked_and_want_a_client_that_is_bound() {
    let ok = Ok(StatusCode::OK);
    let (old, new) = (FollowRedirectLayer06::new, FollowRedirectLayer::new);
    assert_eq!(outside(old(), "/here", true).await, (ok, 2));
    assert_eq!(outside(new(), "/here", true).await, (ok, 2));
    let foreign = (Err(ErrorKind::ForeignOrigin), 1);
    assert_eq!(outside(old(), "/away", true).await, foreign);
    assert_eq!(outside(new(), "/away", true).await, foreign);
    // Who it is for stands in the request's extensions.
    let missing = (Err(ErrorKind::MissingKey), 1);
    assert_eq!(outside(old(), "/here", false).await, missing);
    assert_eq!(outside(new(), "/here", false).await, (ok, 2));
    assert_eq!(outside(old(), "/away", false).await, missing);
    assert_eq!(outside(new(), "/away", false).await, missing);
}

/// Its own is taken out at the hop that leaves its origin, and then it has none.
#[tokio::test]
async fn a_request_with_a_token_of_its_own_is_like_any_other_after_a_hop() {
    let rig = Rig::connected().await;
    let api = Api::default();
    let client = {
        let api = api.clone();
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let api = api.clone();
            async move {
                if request.uri().host() != Some("partner.example.com") {
                    return api.service().oneshot(request).await;
                }
                assert_eq!(request.headers()["authorization"], "Bearer its-own");
                let mut response = reply(StatusCode::FOUND);
                response
                    .headers_mut()
                    .insert(LOCATION, API.parse().unwrap());
                Ok(response)
            }
        })
    };
    for (bound, taken) in [(true, "a0"), (false, "-")] {
        let mut tokens = TokenLayer::new(&rig.manager).pass_without_key();
        if bound {
            tokens = tokens.for_key(rig.key.clone());
        }
        let client = FollowRedirectLayer::new().layer(tokens.layer(client.clone()));
        let request = Request::get("https://partner.example.com/")
            .header("authorization", "Bearer its-own")
            .body(Full::default())
            .unwrap();
        client.oneshot(request).await.unwrap();
        assert_eq!(api.tokens().last().unwrap(), taken);
    }
}

/// What a layer logs that logs all headers, of a call that is healed.
async fn logged(outside: bool) -> String {
    let (rig, api) = (Rig::connected().await, Api::default());
    api.refuse("a0");
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || Log(Arc::clone(&writer)))
        .finish();
    let trace = TraceLayer::new_for_http();
    let trace = trace.make_span_with(DefaultMakeSpan::new().include_headers(true));
    let tokens = TokenLayer::new(&rig.manager);
    let _guard = tracing::subscriber::set_default(subscriber);
    let status = match outside {
        true => {
            let client = trace.layer(tokens.layer(api.service()));
            client.oneshot(request(&rig)).await.unwrap().status()
        }
        false => {
            let client = tokens.layer(trace.layer(api.service()));
            client.oneshot(request(&rig)).await.unwrap().status()
        }
    };
    assert_eq!(status, StatusCode::OK);
    String::from_utf8(log.lock().clone()).unwrap()
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tracing_sees_calls_outside_and_attempts_inside_and_a_token_nowhere() {
    let outside = logged(true).await;
    assert!(
        outside.contains("status=200") && !outside.contains("status=401"),
        "{outside}"
    );
    assert!(!outside.contains("authorization"), "{outside}");
    let inside = logged(false).await;
    assert!(
        inside.contains("status=200") && inside.contains("status=401"),
        "{inside}"
    );
    assert!(inside.contains("\"authorization\": Sensitive"), "{inside}");
    assert!(!inside.contains("Bearer"), "{inside}");
}

#[tokio::test]
async fn a_limit_of_one_inside_does_not_block_the_second_attempt() {
    let (rig, api) = (Rig::connected().await, Api::default());
    api.refuse("a0");
    let layers = (TokenLayer::new(&rig.manager), ConcurrencyLimitLayer::new(1));
    let client = layers.layer(api.service());
    let calls = (0..16).map(|_| client.clone().oneshot(request(&rig)));
    let answers = timeout(DEADLINE, join_all(calls)).await.expect("blocked");
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.unwrap().status() == StatusCode::OK)
    );
    assert_eq!(rig.fake.exchanges(), 1);
}

/// As where a connection is in use until the whole answer was read.
#[tokio::test]
async fn nor_does_one_that_lasts_as_long_as_the_answer() {
    let rig = Rig::connected().await;
    let limit = Arc::new(Semaphore::new(1));
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let limit = Arc::clone(&limit);
        async move {
            let permit: OwnedSemaphorePermit = limit.acquire_owned().await?;
            let mut response = Response::new(permit);
            if request.headers()["authorization"] == "Bearer a0" {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            Ok::<_, BoxError>(response)
        }
    });
    let client = TokenLayer::new(&rig.manager).layer(service);
    let answer = timeout(DEADLINE, client.oneshot(request(&rig)));
    let answer = answer.await.expect("blocked").unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// How many permits are left of one while a call waits for a refresh.
async fn left(limit_outside: bool, expired: bool) -> usize {
    let (rig, api) = (Rig::connected().await, Api::default());
    api.refuse("a0");
    rig.fake.hold();
    if expired {
        rig.until_expired();
    }
    let permits = Arc::new(Semaphore::new(1));
    let limit = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&permits));
    let tokens = TokenLayer::new(&rig.manager);
    let mut call = match limit_outside {
        true => limit
            .layer(tokens.layer(api.service()))
            .oneshot(request(&rig))
            .boxed(),
        false => tokens
            .layer(limit.layer(api.service()))
            .oneshot(request(&rig))
            .boxed(),
    };
    tokio::select! {
        _ = &mut call => panic!("it did not wait"),
        () = rig.fake.begun(1) => {}
    }
    let left = permits.available_permits();
    rig.fake.release(1);
    assert_eq!(call.await.unwrap().status(), StatusCode::OK);
    left
}

#[tokio::test]
async fn a_permit_inside_is_given_back_before_a_refusal_is_healed() {
    assert_eq!(left(false, false).await, 1);
    assert_eq!(left(true, false).await, 0);
    // A call that has not been made yet was let in for it, in either order.
    assert_eq!(left(false, true).await, 0);
    assert_eq!(left(true, true).await, 0);
}

/// The tokens of two calls to an API that takes one at a time, whose token expires while the
/// second waits for the first.
async fn queued<L, S>(layer: L) -> Vec<String>
where
    L: FnOnce(&Rig, Client<Infallible>) -> S,
    S: Service<Request<Full<Bytes>>, Response = Reply, Future: Send> + Clone + Send + 'static,
    S::Error: std::fmt::Debug + Send,
{
    let (rig, api) = (Rig::connected().await, Api::default());
    let (arrived, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let service = {
        let (api, arrived, gate) = (api.clone(), Arc::clone(&arrived), Arc::clone(&gate));
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (api, arrived, gate) = (api.clone(), Arc::clone(&arrived), Arc::clone(&gate));
            async move {
                let answer = api.service().oneshot(request).await;
                if api.tokens().len() == 1 {
                    arrived.notify_one();
                    gate.notified().await;
                }
                answer
            }
        })
    };
    let client = layer(&rig, BoxCloneService::new(service));
    let first = tokio::spawn(client.clone().oneshot(request(&rig)));
    arrived.notified().await;
    let mut second = client.oneshot(request(&rig)).boxed();
    assert!((&mut second).now_or_never().is_none());
    rig.until_expired();
    gate.notify_one();
    timeout(DEADLINE, first)
        .await
        .expect("blocked")
        .unwrap()
        .unwrap();
    timeout(DEADLINE, second).await.expect("blocked").unwrap();
    api.tokens()
}

#[tokio::test]
async fn a_limit_is_waited_for_before_the_token_and_a_buffer_after_it() {
    let limited = queued(|rig, service| {
        ServiceBuilder::new()
            .layer(TokenLayer::new(&rig.manager))
            .concurrency_limit(1)
            .service(service)
    });
    assert_eq!(limited.await, ["a0", "a1"]);
    let buffered = queued(|rig, service| {
        ServiceBuilder::new()
            .layer(TokenLayer::new(&rig.manager))
            .buffer(8)
            .concurrency_limit(1)
            .service(service)
    });
    assert_eq!(buffered.await, ["a0", "a0"]);
    let around = queued(|rig, service| {
        ServiceBuilder::new()
            .buffer(8)
            .concurrency_limit(1)
            .layer(TokenLayer::new(&rig.manager))
            .service(service)
    });
    assert_eq!(around.await, ["a0", "a1"]);
}

#[tokio::test]
async fn load_that_is_shed_inside_may_be_the_second_attempt() {
    let (rig, api) = (Rig::connected().await, Api::default());
    api.refuse("a0");
    rig.fake.hold();
    let permits = Arc::new(Semaphore::new(1));
    let client = ServiceBuilder::new()
        .layer(TokenLayer::new(&rig.manager))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(
            &permits,
        )))
        .service(api.service());
    let mut call = client.oneshot(request(&rig)).boxed();
    tokio::select! {
        _ = &mut call => panic!("it did not wait"),
        () = rig.fake.begun(1) => {}
    }
    let _busy = permits.acquire().await.unwrap();
    rig.fake.release(1);
    match call.await.unwrap_err() {
        TokenServiceError::Inner(error) => assert!(error.is::<Overloaded>(), "{error}"),
        TokenServiceError::Token(error) => panic!("{error}"),
    }
}
