//! The API that is asked: a process of its own, so that nothing it does counts as the client's.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use benches::BoxError;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What the program is started with to be the server.
const SERVE: &str = "--serve";

/// What wants an `Authorization`.
const PRIVATE: &str = "/v1/accounts";
/// What wants none, at an address of the same length.
const PUBLIC: &str = "/v1/holidays";

/// Of every answer, in bytes.
pub const BODY: usize = 512;

/// Whether the program is to be the server, and nothing else.
pub fn is_asked_for() -> bool {
    std::env::args().skip(1).eq([SERVE])
}

/// Another process of this program. It ends with this one, however this one ends.
#[derive(Debug)]
pub struct Server {
    process: Child,
    origin: String,
}

impl Server {
    pub fn start() -> Result<Self, BoxError> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = process.stdout.take().ok_or("the server says nothing")?;
        let mut server = Self {
            process,
            origin: String::new(),
        };
        let mut port = String::new();
        BufReader::new(said).read_line(&mut port)?;
        server.origin = format!("http://127.0.0.1:{}", port.trim_end());
        Ok(server)
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Answers 200 to whoever sends an `Authorization`.
    pub fn private(&self) -> String {
        format!("{}{PRIVATE}", self.origin)
    }

    /// Answers 200 to whoever sends none.
    pub fn public(&self) -> String {
        format!("{}{PUBLIC}", self.origin)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until whoever started it is gone.
pub fn serve() -> Result<(), BoxError> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let body = Bytes::from(format!("{:<BODY$}", r#"{"accounts":["example"]}"#));
        loop {
            let (connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            let body = body.clone();
            let answer = move |request: Request<Incoming>| {
                let answer = answer(&request, body.clone());
                async { Ok::<_, Infallible>(answer) }
            };
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service_fn(answer));
            // Whoever hangs up has had enough.
            tokio::spawn(async { drop(serving.await) });
        }
    })
}

fn answer(request: &Request<Incoming>, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let authorized = request.headers().contains_key(AUTHORIZATION);
    if authorized != (request.uri().path() == PRIVATE) {
        *response.status_mut() = StatusCode::BAD_REQUEST;
    }
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
