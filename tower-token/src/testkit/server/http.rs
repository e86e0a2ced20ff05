//! The routes of the server.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::{App, api, revoke, token};
use crate::clock::Timestamp;
use crate::testkit::wire::{Answer, HangUp, Site, not_allowed, status};

pub(super) const TOKEN: &str = "/token";
pub(super) const REVOKE: &str = "/revoke";
/// Where a redirect points: the token endpoint without its fault.
pub(super) const MOVED: &str = "/token/moved";
const ME: &str = "/me";
const ECHO: &str = "/echo";

impl Site for App {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Answer>, HangUp> {
        let (head, body) = request.into_parts();
        match (head.uri.path(), &head.method) {
            (TOKEN, &Method::POST) => token::token(self, &head.headers, body).await,
            (MOVED, &Method::POST) => Ok(token::moved(self, &head.headers, body).await),
            (REVOKE, &Method::POST) => Ok(revoke::revoke(self, &head.headers, body).await),
            (ME, &Method::GET) => Ok(api::me(self, &head.headers)),
            (ECHO, &Method::POST) => api::echo(self, &head.headers, body).await,
            (TOKEN | MOVED | REVOKE | ECHO, _) => Ok(not_allowed("POST")),
            (ME, _) => Ok(not_allowed("GET")),
            _ => Ok(status(StatusCode::NOT_FOUND)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use http::header::{ALLOW, DATE};

    use super::*;
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
