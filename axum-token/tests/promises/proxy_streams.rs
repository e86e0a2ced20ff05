//! Bodies go by at the pace of whoever receives them, and end with whoever leaves.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum_token::{ProxyRoutes, PublicOrigin};
use bytes::Bytes;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tower::{ServiceExt as _, service_fn};
use tower_token::ReplayBody;

use crate::proxy_rig::{DEADLINE, PAGE, ProxyRig, answered, connection, serve};
use crate::support::{Browser, ORIGIN};

const PIECE: usize = 16 << 10;

/// Gives 100 MiB to whoever asks, and counts.
#[derive(Clone, Default)]
struct Source(Arc<AtomicUsize>);

impl Source {
    const LEN: usize = 100 << 20;

    fn given(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl http_body::Body for Source {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.given() >= Self::LEN {
            return Poll::Ready(None);
        }
        self.0.fetch_add(PIECE, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; PIECE])))))
    }
}

fn request(browser: &Browser, method: &str, path: &str, body: Body) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .unwrap();
    for (name, value) in PAGE {
        request
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let cookies = HeaderValue::from_str(&cookies(browser)).unwrap();
    request.headers_mut().insert(COOKIE, cookies);
    request
}

fn cookies(browser: &Browser) -> String {
    let pairs = browser
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("; ")
}

/// A service whose API is this function, and Ada's browser.
async fn with_api<F, A>(rig: &ProxyRig, api: F) -> Browser
where
    F: Fn(Request<ReplayBody<Body>>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    rig.connect("demo", "ada").await;
    let origin: PublicOrigin = ORIGIN.parse().unwrap();
    let routes = ProxyRoutes::new(&rig.manager, service_fn(api));
    let router: Router = rig.router(
        routes
            .upstream(rig.upstream("calendar"))
            .router(&origin)
            .unwrap(),
    );
    let mut browser = Browser::new(router);
    browser.sign_in("ada").await;
    browser
}

#[tokio::test]
async fn an_api_that_reads_nothing_is_sent_no_more_than_fits_on_the_way() {
    let rig = ProxyRig::new().await;
    let ada = rig.user("ada").await;
    let source = Source::default();
    let upload = request(&ada, "POST", "/api/hasty/deaf", Body::new(source.clone()));
    let response = ada.router.clone().oneshot(upload);
    // Told when nothing has moved for a while.
    let response = tokio::time::timeout(DEADLINE, response)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(response.status(), 504);
    // What sockets of the loopback hold.
    let given = source.given();
    assert!((PIECE..32 << 20).contains(&given), "{given}");
    // Its connection waits for the API to read on. The page's body does not.
    assert_eq!(Arc::strong_count(&source.0), 1);
}

#[tokio::test]
async fn nobody_is_asked_for_more_than_is_taken() {
    let rig = ProxyRig::new().await;
    let (up, down) = (Source::default(), Source::default());
    let answer = down.clone();
    let ada = with_api(&rig, move |request: Request<ReplayBody<Body>>| {
        let down = answer.clone();
        async move {
            let mut body = request.into_body();
            for _ in 0..3 {
                body.frame().await.unwrap().unwrap();
            }
            drop(body);
            Ok(Response::new(Body::new(down)))
        }
    })
    .await;
    let upload = request(&ada, "POST", "/api/calendar/x", Body::new(up.clone()));
    let response = ada.router.clone().oneshot(upload).await.unwrap();
    assert_eq!(up.given(), 3 * PIECE);
    assert_eq!(down.given(), 0);
    let mut body = response.into_body();
    for taken in 1..=3 {
        body.frame().await.unwrap().unwrap();
        assert_eq!(down.given(), taken * PIECE);
    }
}

#[tokio::test]
async fn a_hundred_mebibytes_go_both_ways() {
    let rig = ProxyRig::new().await;
    let ada = with_api(&rig, async |request: Request<ReplayBody<Body>>| {
        Ok(Response::new(Body::new(request.into_body())))
    })
    .await;
    let source = Source::default();
    let both = request(&ada, "POST", "/api/calendar/x", Body::new(source));
    let mut body = ada.router.clone().oneshot(both).await.unwrap().into_body();
    let mut len = 0;
    while let Some(frame) = body.frame().await {
        len += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(len, Source::LEN);
}

#[tokio::test]
async fn trailers_do_not_go_on() {
    let rig = ProxyRig::new().await;
    let trailed = || {
        let trailers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("a=b"))]);
        let body = http_body_util::Full::new(Bytes::from("x"));
        Body::new(body.with_trailers(std::future::ready(Some(Ok(trailers)))))
    };
    let ada = with_api(&rig, move |request: Request<ReplayBody<Body>>| async move {
        let sent = request.into_body().collect().await.unwrap();
        assert!(sent.trailers().is_none());
        Ok(Response::new(trailed()))
    })
    .await;
    let request = request(&ada, "POST", "/api/calendar/x", trailed());
    let response = ada.router.clone().oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert!(body.trailers().is_none());
    assert_eq!(body.to_bytes(), "x");
}

#[tokio::test]
async fn an_answer_to_head_says_no_length_that_the_api_did_not() {
    let rig = ProxyRig::new().await;
    let ada = with_api(&rig, async |_| Ok(Response::new(Body::empty()))).await;
    for (method, length) in [("HEAD", false), ("GET", true)] {
        let request = request(&ada, method, "/api/calendar/x", Body::empty());
        let response = ada.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers().contains_key("content-length"), length);
    }
}

/// As of a client that decodes what it receives.
#[tokio::test]
async fn a_length_that_is_not_the_bodys_is_not_handed_on() {
    let rig = ProxyRig::new().await;
    let ada = with_api(&rig, async |_| {
        let pieces = futures_util::stream::iter(["four", "four"].map(Ok::<_, Infallible>));
        let mut response = Response::new(Body::from_stream(pieces));
        let length = HeaderValue::from_static("4");
        response.headers_mut().insert("content-length", length);
        Ok(response)
    })
    .await;
    let request = request(&ada, "GET", "/api/calendar/x", Body::empty());
    let response = ada.router.clone().oneshot(request).await.unwrap();
    assert!(!response.headers().contains_key("content-length"));
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "fourfour");
}

#[tokio::test]
async fn who_leaves_takes_the_call_along() {
    let rig = ProxyRig::new().await;
    let ada = rig.user("ada").await;
    let address = serve(ada.router.clone()).await;
    let head = |line: &str, rest: &str| {
        let cookies = cookies(&ada);
        format!(
            "{line} HTTP/1.1\r\nHost: app.example.com\r\nX-CSRF: 1\r\nOrigin: {ORIGIN}\r\n\
             Cookie: {cookies}\r\n{rest}"
        )
    };
    // Before there is an answer,
    let page = connection(address, head("GET /api/calendar/hang", "\r\n").as_bytes()).await;
    rig.api.arrived(1).await;
    drop(page);
    rig.api.dropped(1).await;
    // and in the middle of one.
    let mut page = connection(
        address,
        head("GET /api/calendar/endless", "\r\n").as_bytes(),
    )
    .await;
    let mut some = vec![0; 1 << 20];
    page.read_exact(&mut some).await.unwrap();
    drop(page);
    rig.api.dropped(2).await;
    // With half of what it sends.
    let half = head(
        "POST /api/calendar/upload",
        "Content-Length: 10\r\n\r\n0123",
    );
    let page = connection(address, half.as_bytes()).await;
    rig.api.arrived(3).await;
    drop(page);
    rig.api.dropped(3).await;
}

#[tokio::test]
async fn an_answer_streams_as_it_comes() {
    let rig = ProxyRig::new().await;
    let ada = rig.user("ada").await;
    let address = serve(ada.router.clone()).await;
    let cookies = cookies(&ada);
    let head = format!(
        "GET /api/calendar/drip HTTP/1.1\r\nHost: app.example.com\r\nX-CSRF: 1\r\n\
         Cookie: {cookies}\r\nConnection: close\r\n\r\n"
    );
    let mut page = connection(address, head.as_bytes()).await;
    let mut first = Vec::new();
    while !String::from_utf8_lossy(&first).contains("first ") {
        let read = page.read_buf(&mut first);
        assert_ne!(
            tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap(),
            0
        );
    }
    assert!(!String::from_utf8_lossy(&first).contains("second"));
    rig.api.go_on();
    assert!(answered(page).await.contains("second"));
}

#[tokio::test]
async fn a_logout_ends_no_answer_that_is_on_its_way_and_lets_no_other_begin() {
    let rig = ProxyRig::new().await;
    let ada = rig.user("ada").await;
    let drip = || request(&ada, "GET", "/api/calendar/drip", Body::empty());
    let response = ada.router.clone().oneshot(drip()).await.unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first ");
    let key = tower_token::GrantKey::new("demo", "ada");
    rig.manager.disconnect(&key).await.unwrap();
    rig.api.go_on();
    let rest = body.collect().await.unwrap();
    assert_eq!(rest.to_bytes(), "second");
    let response = ada.router.clone().oneshot(drip()).await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(rig.api.seen().len(), 1);
}

/// By the clock of the runtime, which goes on when there is nothing to do.
#[tokio::test(start_paused = true)]
async fn the_time_counts_while_nothing_moves_and_ends_with_the_head() {
    let rig = ProxyRig::new().await;
    let (chunks, mut later) = mpsc::channel::<&'static str>(1);
    let later = Arc::new(parking_lot::Mutex::new(Some({
        Body::from_stream(async_stream(move |cx| later.poll_recv(cx)))
    })));
    let ada = with_api(&rig, move |request: Request<ReplayBody<Body>>| {
        let later = Arc::clone(&later);
        async move {
            if request.uri().path() == "/v3/hang" {
                std::future::pending::<()>().await;
            }
            request.into_body().collect().await.unwrap();
            Ok(Response::new(later.lock().take().unwrap()))
        }
    })
    .await;
    let began = Instant::now();
    let hanging = request(&ada, "GET", "/api/calendar/hang", Body::empty());
    let response = ada.router.clone().oneshot(hanging).await.unwrap();
    assert_eq!(response.status(), 504);
    let waited = began.elapsed();
    assert!((30..32).contains(&waited.as_secs()), "{waited:?}");

    // An upload of two minutes, and an answer that pauses for an hour.
    let pieces = futures_util::stream::unfold(0, async |at| {
        tokio::time::sleep(Duration::from_secs(20)).await;
        (at < 6).then_some((Ok::<_, Infallible>("piece"), at + 1))
    });
    let slow = request(&ada, "POST", "/api/calendar/x", Body::from_stream(pieces));
    let response = ada.router.clone().oneshot(slow).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = tokio::spawn(response.into_body().collect());
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    chunks.send("late").await.unwrap();
    drop(chunks);
    assert_eq!(body.await.unwrap().unwrap().to_bytes(), "late");
}

fn async_stream(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Option<&'static str>> + Send + 'static,
) -> impl futures_util::Stream<Item = Result<&'static str, Infallible>> + Send + 'static {
    futures_util::stream::poll_fn(move |cx| poll(cx).map(|item| item.map(Ok)))
}
