//! A proxy between the browser and everything: what passes it is kept, and only this
//! machine can be reached.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, SET_COOKIE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tests::{BoxError, HttpClient};
use tokio::net::TcpListener;

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub method: Method,
    pub uri: Uri,
    pub sent_headers: HeaderMap,
    pub sent: Bytes,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Exchange {
    /// Whether it went to `origin`, as `http://localhost:4180`.
    pub fn is_to(&self, origin: &str) -> bool {
        let authority = self.uri.authority().map(Authority::as_str);
        origin.strip_prefix("http://") == authority
    }

    /// Its method and path, as `GET /session`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.uri.path())
    }
}

/// The proxy. Clones record into the same list.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    url: String,
    exchanges: Mutex<Vec<Exchange>>,
    /// What the proxy answers by itself, by path, at whatever origin.
    pages: Vec<(&'static str, &'static str, Bytes)>,
    http: HttpClient,
}

impl Recorder {
    /// Starts it; `pages` are (path, media type, text).
    pub async fn start(pages: Vec<(&'static str, &'static str, Bytes)>) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let recorder = Self(Arc::new(Shared {
            url: format!("http://{}", listener.local_addr()?),
            exchanges: Mutex::default(),
            pages,
            http: tests::http_client(),
        }));
        let serving = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| recorder.pass(request));
                    // A server that was killed is an error here: the browser sees it as one.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(recorder)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// What has passed so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.0.exchanges.lock().clone()
    }

    /// Signs in at `origin` from elsewhere: the cookie of that session.
    pub async fn sign_in(&self, origin: &str, name: &str) -> Result<String, BoxError> {
        let body = serde_json::json!({ "name": name }).to_string();
        let request = Request::post(format!("{origin}/session"))
            .header("origin", origin)
            .header("x-csrf", "1")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))?;
        let answer = self.0.http.request(request).await?;
        let cookie = answer.headers().get(SET_COOKIE).ok_or("no cookie")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default();
        Ok(cookie.to_owned())
    }

    /// Fails unless the session of `cookie` is as it is `expected`.
    pub async fn is_signed_in(
        &self,
        origin: &str,
        cookie: &str,
        expected: bool,
    ) -> Result<(), BoxError> {
        let request = Request::get(format!("{origin}/session"))
            .header("cookie", cookie)
            .body(Full::default())?;
        let who = tests::json(self.0.http.request(request).await?).await?;
        match who["name"].is_string() == expected {
            true => Ok(()),
            false => Err(format!("of a session that is to be {expected}: {who}").into()),
        }
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
        let (parts, body) = request.into_parts();
        if !matches!(parts.uri.host(), Some("localhost" | "127.0.0.1")) {
            // Chromium's own calls home; nothing of ours goes there.
            return Ok(plain(StatusCode::BAD_GATEWAY, "", Bytes::new()));
        }
        let own = self.0.pages.iter().find(|page| page.0 == parts.uri.path());
        if let Some((_, kind, text)) = own {
            return Ok(plain(StatusCode::OK, kind, text.clone()));
        }
        let sent = body.collect().await?.to_bytes();
        let mut onward = Request::new(Full::new(sent.clone()));
        *onward.method_mut() = parts.method.clone();
        *onward.uri_mut() = parts.uri.clone();
        *onward.headers_mut() = parts.headers.clone();
        let onward_headers = onward.headers_mut();
        onward_headers.remove("proxy-connection");
        if let Some(authority) = parts.uri.authority() {
            onward_headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
        }
        let answer = self.0.http.request(onward).await?;
        let (answer, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        self.0.exchanges.lock().push(Exchange {
            method: parts.method,
            uri: parts.uri,
            sent_headers: parts.headers,
            sent,
            status: answer.status,
            headers: answer.headers.clone(),
            body: body.clone(),
        });
        let mut response = Response::from_parts(answer, Full::new(body));
        response
            .headers_mut()
            .remove(http::header::TRANSFER_ENCODING);
        Ok(response)
    }
}

fn plain(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
