//! The server over HTTP/1.1: connections and routes.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time;

use super::answer::{Answer, dated, not_allowed, status};
use super::{App, api, revoke, token};

pub(super) const TOKEN: &str = "/token";
pub(super) const REVOKE: &str = "/revoke";
/// Where a redirect points: the token endpoint without its fault.
pub(super) const MOVED: &str = "/token/moved";
const ME: &str = "/me";
const ECHO: &str = "/echo";

/// Why there is no answer: the connection is to be reset, or is broken.
#[derive(Debug)]
pub(super) struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl StdError for HangUp {}

/// Serves every connection to the listener, until dropped.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&app)))),
            // Out of descriptors, or the client is gone already: neither is for ever.
            Err(_) => time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, app: Arc<App>) {
    // Without it the answers still arrive, only later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        Box::pin(async move {
            let answer = route(&app, request).await?;
            Ok::<_, HangUp>(dated(answer, app.clock.now()))
        })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    // Any other error is a client that went away.
    if let Err(error) = ended
        && error.source().is_some_and(|cause| cause.is::<HangUp>())
    {
        reset(&connection.into_parts().io.into_inner());
    }
}

/// Makes the end of the connection a TCP RST.
fn reset(stream: &TcpStream) {
    // `set_zero_linger` is younger than the oldest tokio we take. That this one may block is
    // said of other spans than zero.
    #[allow(deprecated)]
    let _ = stream.set_linger(Some(Duration::ZERO));
}

async fn route(app: &App, request: Request<Incoming>) -> Result<Response<Answer>, HangUp> {
    let (head, body) = request.into_parts();
    match (head.uri.path(), &head.method) {
        (TOKEN, &Method::POST) => token::token(app, &head.headers, body).await,
        (MOVED, &Method::POST) => Ok(token::moved(app, &head.headers, body).await),
        (REVOKE, &Method::POST) => Ok(revoke::revoke(app, &head.headers, body).await),
        (ME, &Method::GET) => Ok(api::me(app, &head.headers)),
        (ECHO, &Method::POST) => api::echo(app, &head.headers, body).await,
        (TOKEN | MOVED | REVOKE | ECHO, _) => Ok(not_allowed("POST")),
        (ME, _) => Ok(not_allowed("GET")),
        _ => Ok(status(StatusCode::NOT_FOUND)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use http::header::{ALLOW, DATE};

    use super::*;
    use crate::clock::Timestamp;
    use crate::testkit::server::test_client::TestClient;
    use crate::testkit::{AuthServer, ManualClock};

    #[tokio::test]
    async fn other_methods_and_places_are_turned_away() {
        let server = AuthServer::start().unwrap();
        let http = TestClient::new();
        let get = |to: String| http.send(Request::get(to), Vec::new());
        let reply = get(server.token_endpoint()).await.unwrap();
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(reply.header(ALLOW), "POST");
        let reply = get(server.api() + "/x").await.unwrap();
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn answers_are_dated_by_the_servers_time() {
        let server = AuthServer::builder()
            .clock(ManualClock::at(Timestamp::from_unix_millis(0)))
            .clock_ahead(Duration::from_secs(90))
            .start()
            .unwrap();
        let http = TestClient::new();
        for (by, date) in [
            (Duration::ZERO, "Thu, 01 Jan 1970 00:01:30 GMT"),
            (Duration::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            server.advance(by);
            assert_eq!(http.me(&server, "").await.header(DATE), date);
        }
    }
}
