//! Tower's contract: a service is called only after it was polled ready, and what it fails
//! with comes out as it is.

use std::error::Error as _;
use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{Layer as _, Service, ServiceExt as _};
use tower_token::{TokenLayer, TokenRequest, TokenServiceError};

use crate::support::{API, Rig};

/// Insists on being polled ready before each call, and so does each clone of it.
struct Strict {
    ready: bool,
    answer: fn(&str) -> Result<u16, io::Error>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self {
            ready: false,
            answer: self.answer,
        }
    }
}

impl Service<Request<Full<Bytes>>> for Strict {
    type Response = Response<()>;
    type Error = io::Error;
    type Future = Ready<Result<Response<()>, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called before it was ready"
        );
        let token = request.headers()[AUTHORIZATION]
            .to_str()
            .unwrap()
            .to_owned();
        ready((self.answer)(&token).map(|status| {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response
        }))
    }
}

fn request(rig: &Rig) -> Request<Full<Bytes>> {
    let wanted = TokenRequest::new(rig.key.clone());
    Request::get(API)
        .extension(wanted)
        .body(Full::default())
        .unwrap()
}

#[tokio::test]
async fn the_inner_service_is_ready_whenever_it_is_called() {
    let rig = Rig::connected().await;
    let answer = |token: &str| Ok(if token == "Bearer a0" { 401 } else { 200 });
    let mut client = TokenLayer::new(&rig.manager).layer(Strict {
        ready: false,
        answer,
    });
    // Healed after a 401, then fresh, then waited for.
    for step in 0..3 {
        if step == 2 {
            rig.until_expired();
        }
        let response = client
            .ready()
            .await
            .unwrap()
            .call(request(&rig))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    assert_eq!(rig.fake.exchanges(), 2);
}

#[tokio::test]
async fn an_inner_error_comes_out_with_its_sources() {
    let rig = Rig::connected().await;
    let answer = |_: &str| Err(io::Error::other(io::Error::from(io::ErrorKind::BrokenPipe)));
    let client = TokenLayer::new(&rig.manager).layer(Strict {
        ready: false,
        answer,
    });
    let error = client.oneshot(request(&rig)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        io::Error::from(io::ErrorKind::BrokenPipe).to_string()
    );
    match &error {
        TokenServiceError::Inner(inner) => assert_eq!(inner.kind(), io::ErrorKind::Other),
        TokenServiceError::Token(error) => panic!("{error:?}"),
    }
    let _ = error.source();
}
