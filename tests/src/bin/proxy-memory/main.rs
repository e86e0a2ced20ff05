//! How much memory a body takes that goes through `axum_token::ProxyRoutes`, at its peak.
//!
//! ```text
//! cargo run --release -p tests --bin proxy-memory
//! cargo run --release -p tests --bin proxy-memory -- --mib 100
//! ```
//!
//! The service with the routes is a process of its own for each body; the page and the API are in
//! this one, and compare what they get with what it should be, to the last byte. Measured is the
//! peak of the service's resident set over its level before. It takes a /proc that tells it: without
//! one it says so and ends with 2.

#![allow(clippy::print_stdout, clippy::exit)]

mod api;
mod service;

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tests::upload::{Upload, received};
use tests::{BoxError, resident};
use tokio::time::timeout;

use self::service::{ORIGIN, Service, USER};

/// What there may be, in KiB, whatever the length: 64 KiB for a body that may have to be sent
/// again, and four times hyper's buffer for one direction of a connection, which is about 400
/// KiB. The rest is for what an allocator wastes.
const ALLOWED: usize = 4 << 10;

/// So that a body that was kept would show.
const LEAST_MIB: usize = 32;

/// Nothing may hang.
const DEADLINE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["--service", api] => service::run(api).map(|()| ExitCode::SUCCESS),
        ["--mib", mib] => mib.parse().map_err(BoxError::from).and_then(compare),
        [] => compare(1_024),
        _ => Err("usage: proxy-memory [--mib N]".into()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures both ways, and ends well if both stayed within what is allowed.
#[tokio::main]
async fn compare(mib: usize) -> Result<ExitCode, BoxError> {
    if mib < LEAST_MIB {
        return Err(format!("a body has to have at least {LEAST_MIB} MiB").into());
    }
    if !resident::is_known() {
        println!("not measured: there is no resident set in /proc here");
        return Ok(ExitCode::from(2));
    }
    let api = api::serve().await?;
    let mut within = true;
    for (name, way) in [("up", Way::Up), ("down", Way::Down)] {
        let mut service = Service::start(&api)?;
        // Connections that stand belong to the level before.
        send(service.address(), way, 1).await?;
        let base = service.level("begin")?;
        send(service.address(), way, mib << 20).await?;
        let peak = service.level("end")? - base;
        println!("way {name} body_mib {mib} peak_over_base_kib {peak} allowed_kib {ALLOWED}");
        within &= peak <= ALLOWED;
    }
    Ok(match within {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// As a script of the page does.
async fn send(service: &str, way: Way, len: usize) -> Result<(), BoxError> {
    let client: Client<_, UnsyncBoxBody<Bytes, BoxError>> =
        Client::builder(TokioExecutor::new()).build_http();
    let (method, path, body) = match way {
        Way::Up => ("POST", "up".to_owned(), Upload::new(len)),
        Way::Down => ("GET", format!("down/{len}"), Upload::new(0)),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{service}/api/files/{path}"))
        .header("origin", ORIGIN)
        .header("x-csrf", "1")
        .header(USER, "ada")
        .body(body.map_err(BoxError::from).boxed_unsync())?;
    let transfer = async {
        let response = client.request(request).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
        }
        match way {
            // The API has looked at it.
            Way::Up => response
                .into_body()
                .collect()
                .await
                .map(drop)
                .map_err(BoxError::from),
            Way::Down if received(response.into_body()).await? == (len, true) => Ok(()),
            Way::Down => Err("not what the API sent".into()),
        }
    };
    timeout(DEADLINE, transfer).await?
}
