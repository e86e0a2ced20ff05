//! The routes of the stand-in.

use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::App;
use super::api::{self, ACCOUNT, HOLDINGS, LINK_TOKEN, MOVED, REFRESH};
use super::link::{self, CONNECT, PAGE, SCRIPT, STYLE, VERIFY};
use crate::clock::Timestamp;
use crate::testkit::wire::{Answer, HangUp, Site, not_allowed};

impl Site for App {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Response<Answer>, HangUp> {
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        Ok(match (head.uri.path(), &head.method) {
            (LINK_TOKEN, &Method::POST) => api::link_token(self, headers, body).await,
            (REFRESH, &Method::POST) => return api::refresh(self, headers, body).await,
            (MOVED, &Method::POST) => api::moved(self, headers, body).await,
            (ACCOUNT, &Method::DELETE) => api::remove(self, headers, body).await,
            (HOLDINGS, &Method::POST) => api::holdings(self, headers, body).await,
            (CONNECT, &Method::POST) => link::connect(self, headers, body).await,
            (VERIFY, &Method::POST) => link::verify(self, headers, body).await,
            (STYLE, &Method::GET) => link::style(),
            (SCRIPT, &Method::GET) => link::script(),
            (LINK_TOKEN | REFRESH | MOVED | HOLDINGS | CONNECT | VERIFY, _) => not_allowed("POST"),
            (ACCOUNT, _) => not_allowed("DELETE"),
            (path, &Method::GET) => match path.strip_prefix(PAGE) {
                Some(id) => link::page(self, id),
                None => api::not_found(),
            },
            _ => api::not_found(),
        })
    }
}
