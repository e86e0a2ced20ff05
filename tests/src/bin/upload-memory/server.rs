//! The API that is uploaded to, in a process of its own.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tests::BoxError;
use tests::upload::received;
use tokio::net::TcpListener;

/// What it answers, in words, if all of so many bytes came as they should be.
pub(crate) fn taken(len: usize) -> String {
    format!("{len} bytes, all as they should be")
}

/// A running one. It ends with this.
pub(crate) struct Server {
    address: String,
    // Its end of this pipe tells it when to end.
    child: Child,
}

impl Server {
    pub(crate) fn start() -> Result<Self, BoxError> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--server")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        BufReader::new(stdout).read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Self { address, child })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves until stdin ends.
#[tokio::main]
pub(crate) async fn run() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                // A connection that breaks is the client's to tell.
                let _ = server
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await??;
    Ok(())
}

/// Refuses the token `a0`: at once on `/early`, after the whole body on `/late`.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let first = request.headers()["authorization"] == "Bearer a0";
    if first && path == "/early" {
        return Ok(refusal(String::new()));
    }
    let Ok((len, sound)) = received(request.into_body()).await else {
        return Ok(refusal(String::from("cut off")));
    };
    let said = match sound {
        true => taken(len),
        false => format!("{len} bytes, and not as they should be"),
    };
    Ok(match first && path == "/late" {
        true => refusal(said),
        false => Response::new(said.into()),
    })
}

fn refusal(body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
