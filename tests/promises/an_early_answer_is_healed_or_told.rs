//! HTTP/1.1 servers that answer before they have read: with and without `100 Continue` (RFC 9110
//! section 10.1.1), closing or not. What goes out is never a part that looks like a whole.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
    DuplexStream, ReadBuf,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _};
use tower_token::testkit::ManualClock;
use tower_token::{
    GrantKey, KeyRing, MemoryStore, Provider, ReplayBody, TokenLayer, TokenManager, TokenRequest,
    TokenServiceError,
};

use tests::fake::Fake;

use crate::support::{HOUR, manager_of};

const LIMIT: usize = 64 << 10;
const CHUNK: usize = 8 << 10;

/// What a server does with the token `a0`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Refuses it once it has read the head, and closes.
    Close,
    /// The same, and reads what comes until the client closes.
    ReadOn,
    /// Says `100 Continue`, reads, and refuses then.
    Continue,
}

/// A server on loopback that was written by hand.
#[derive(Clone)]
struct Api {
    manner: Manner,
    /// What was sent of each body: all of it, or not.
    bodies: Arc<watch::Sender<Vec<(String, Body)>>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Whole(Vec<u8>),
    Part,
}

impl Api {
    async fn start(manner: Manner) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bodies = Arc::default();
        let api = Self { manner, bodies };
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                // What ends early is what is tested.
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        (api, address)
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if stream.read_line(&mut head).await? == 0 {
                    return Ok(());
                }
            }
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            let token = field(&head, "authorization: Bearer ").unwrap();
            let refused = token == "a0";
            let early = refused && self.manner != Manner::Continue;
            if early {
                let keep = match self.manner {
                    Manner::Close => "close",
                    _ => "keep-alive",
                };
                let refusal = format!(
                    "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: {keep}\r\n\r\n"
                );
                stream.write_all(refusal.as_bytes()).await?;
                if self.manner == Manner::Close {
                    return Ok(());
                }
            } else {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let read = match field(&head, "content-length: ") {
                Some(len) => sized(&mut stream, len.parse().unwrap()).await,
                None => chunked(&mut stream).await,
            };
            let body = read.map_or(Body::Part, Body::Whole);
            self.bodies.send_modify(|bodies| bodies.push((token, body)));
            if early {
                return Ok(());
            }
            let answer: &[u8] = match refused {
                true => b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
                false => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            };
            stream.write_all(answer).await?;
        }
    }

    /// What was sent of each body, once there are so many.
    async fn bodies(&self, count: usize) -> Vec<(String, Body)> {
        let mut bodies = self.bodies.subscribe();
        let bodies = bodies.wait_for(|bodies| bodies.len() >= count);
        let bodies = timeout(DEADLINE, bodies).await.expect("no body").unwrap();
        bodies.clone()
    }
}

/// What follows `name` in a line of the head.
fn field(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
}

async fn sized<S: AsyncRead + Unpin>(stream: &mut S, len: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn chunked<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let len = usize::from_str_radix(line.trim_end(), 16);
        let len = len.map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let mut chunk = sized(stream, len + 2).await?;
        if len == 0 {
            return Ok(body);
        }
        chunk.truncate(len);
        body.extend(chunk);
    }
}

const DEADLINE: Duration = Duration::from_secs(60);

fn content(len: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..251).collect();
    let mut content = period.repeat(len / period.len() + 1);
    content.truncate(len);
    content
}

type Stream = UnsyncBoxBody<Bytes, io::Error>;

/// A body that can be sent once, and begins when it may.
fn stream(len: usize, begin: impl Future<Output = ()> + Send + 'static) -> Stream {
    let content = Bytes::from(content(len));
    let chunks = stream::once(begin).flat_map(move |()| {
        let content = content.clone();
        let chunk = move |at| Ok(Frame::data(content.slice(at..len.min(at + CHUNK))));
        stream::iter((0..len).step_by(CHUNK).map(chunk))
    });
    StreamBody::new(chunks).boxed_unsync()
}

async fn manager(address: SocketAddr) -> (TokenManager, Fake, GrantKey) {
    let (fake, clock) = (Fake::new(HOUR), ManualClock::new());
    let provider = Provider::new("fake", fake.clone()).allow_origin(format!("http://{address}"));
    let store = MemoryStore::with_clock(clock.clone());
    let ring = KeyRing::generate().unwrap();
    let manager = manager_of(store, &ring, provider, &clock).await;
    let key = GrantKey::new("fake", "ada");
    manager.connect(&key, fake.consent()).await.unwrap();
    (manager, fake, key)
}

/// A body of `len` bytes to `url`, which says how long it is, or not.
fn upload(url: &str, key: &GrantKey, len: usize, sized: bool, body: Stream) -> Request<Stream> {
    let mut request = Request::post(url)
        .header(EXPECT, "100-continue")
        .extension(TokenRequest::new(key.clone()));
    if sized {
        request = request.header(CONTENT_LENGTH, len);
    }
    request.body(body).unwrap()
}

fn http() -> Client<HttpConnector, ReplayBody<Stream>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Sends a body that begins once the refusal has arrived, if it comes early.
async fn healed(manner: Manner, len: usize, sized: bool) -> Vec<(String, Body)> {
    let (api, address) = Api::start(manner).await;
    let (manager, fake, key) = manager(address).await;
    let begin = {
        let fake = fake.clone();
        async move {
            if manner != Manner::Continue {
                fake.begun(1).await;
            }
        }
    };
    let client = TokenLayer::new(&manager).buffered(LIMIT).layer(http());
    let url = format!("http://{address}/");
    let request = upload(&url, &key, len, sized, stream(len, begin));
    let answer = timeout(DEADLINE, client.oneshot(request));
    let response = answer.await.expect("no answer").unwrap();
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "{manner:?} {len} {sized}"
    );
    assert_eq!(fake.exchanges(), 1);
    api.bodies(if manner == Manner::Close { 1 } else { 2 })
        .await
}

#[tokio::test]
async fn a_refusal_without_100_continue_is_healed_and_the_body_sent_once() {
    for sized in [false, true] {
        for len in [CHUNK, 10 * LIMIT] {
            let sent = healed(Manner::Close, len, sized).await;
            let whole = Body::Whole(content(len));
            assert_eq!(sent, [(String::from("a1"), whole.clone())]);
            // One that goes on listening hears that there is no more, not that it was all.
            let mut sent = healed(Manner::ReadOn, len, sized).await;
            sent.sort_by(|a, b| a.0.cmp(&b.0));
            let part = (String::from("a0"), Body::Part);
            assert_eq!(sent, [part, (String::from("a1"), whole)]);
        }
    }
}

#[tokio::test]
async fn a_refusal_after_100_continue_is_healed_from_what_was_kept() {
    for sized in [false, true] {
        let len = LIMIT / 2;
        let whole = Body::Whole(content(len));
        let sent = healed(Manner::Continue, len, sized).await;
        let both = ["a0", "a1"].map(|token| (String::from(token), whole.clone()));
        assert_eq!(sent, both);
    }
}

/// Whether the client hears the refusal, or only that it cannot write, is a matter of which comes
/// first. Neither makes it hang, and neither makes a part of a body a whole one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_slams_the_door_is_healed_or_told() {
    let lens = [LIMIT / 2, 200 * LIMIT];
    for (len, sized) in lens
        .into_iter()
        .flat_map(|len| [(len, false), (len, true)])
        .cycle()
        .take(16)
    {
        let (api, address) = Api::start(Manner::Close).await;
        let (manager, fake, key) = manager(address).await;
        let client = TokenLayer::new(&manager).buffered(LIMIT).layer(http());
        let url = format!("http://{address}/");
        let request = upload(&url, &key, len, sized, stream(len, async {}));
        let answer = timeout(DEADLINE, client.oneshot(request));
        let answer = answer.await.expect("no answer");
        let sent = api.bodies.borrow().clone();
        match answer.map(|response| response.status()) {
            Ok(StatusCode::OK) => {
                let whole = Body::Whole(content(len));
                assert_eq!(sent, [(String::from("a1"), whole)]);
                assert_eq!(fake.exchanges(), 1);
            }
            // Too much had gone by.
            Ok(status) => {
                assert_eq!((status, sent), (StatusCode::UNAUTHORIZED, vec![]));
                timeout(DEADLINE, fake.begun(1)).await.expect("no refresh");
            }
            Err(TokenServiceError::Inner(_)) => {
                assert_eq!((sent, fake.exchanges()), (vec![], 0));
            }
            Err(TokenServiceError::Token(error)) => panic!("{error}"),
        }
    }
}

/// A connection on which nothing can be read until a write has failed.
struct Deaf {
    stream: DuplexStream,
    failed: bool,
}

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.failed {
            true => Pin::new(&mut self.stream).poll_read(cx, buf),
            false => Poll::Pending,
        }
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.failed |= matches!(written, Poll::Ready(Err(_)));
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for Deaf {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[tokio::test]
async fn a_refusal_behind_a_failed_write_is_that_failure() {
    let (near, far) = tokio::io::duplex(2 * LIMIT);
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let (manager, fake, key) = manager(address).await;
    let api = Api {
        manner: Manner::Close,
        bodies: Arc::default(),
    };
    let (closed, mut is_closed) = watch::channel(false);
    tokio::spawn(async move {
        api.serve(far).await.unwrap();
        closed.send_replace(true);
    });
    let near = Arc::new(Mutex::new(Some(Deaf {
        stream: near,
        failed: false,
    })));
    let connect = tower::service_fn(move |_: http::Uri| {
        let near = near.lock().take().map(TokioIo::new);
        std::future::ready(near.ok_or(io::Error::from(io::ErrorKind::ConnectionRefused)))
    });
    let http = Client::builder(TokioExecutor::new()).build(connect);
    let client = TokenLayer::new(&manager).buffered(LIMIT).layer(http);
    let begin = async move {
        let _ = is_closed.wait_for(|closed| *closed).await;
    };
    let url = format!("http://{address}/");
    let request = upload(&url, &key, CHUNK, false, stream(CHUNK, begin));
    let answer = timeout(DEADLINE, client.oneshot(request));
    let error = answer.await.expect("no answer").unwrap_err();
    let TokenServiceError::Inner(error) = error else {
        panic!("{error}");
    };
    let mut error: &dyn Error = &error;
    while let Some(source) = error.source() {
        error = source;
    }
    let error: &io::Error = error.downcast_ref().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(fake.exchanges(), 0);
}
