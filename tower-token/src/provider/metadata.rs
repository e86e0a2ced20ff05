//! What token services publish about themselves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body::Body;
use tokio::time::timeout;
use tower_service::Service;

use super::transport::{MAX_BODY, ServiceTransport, Transport, TransportError, default_transport};
use crate::error::{Error, ErrorKind};
use crate::origin::Origin;
use crate::secret::wiped;

/// How long a document may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Gets public documents of token services, such as their metadata (RFC 8414) and keys. Cheap
/// to clone.
///
/// ```
/// use tower_token::{Error, MetadataClient};
///
/// # #[cfg(feature = "oauth2-http")]
/// # async fn example() -> Result<(), Error> {
/// let client = MetadataClient::new()?;
/// let url = "https://accounts.google.com/.well-known/openid-configuration";
/// let document = client.get(url).await?;
/// # let _ = document;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MetadataClient {
    https: Arc<dyn Transport>,
    loopback: Arc<dyn Transport>,
}

impl MetadataClient {
    /// Over reqwest (feature `oauth2-http`; without it this is an [`ErrorKind::Config`]).
    pub fn new() -> Result<Self, Error> {
        let transport = |loopback| {
            let instead = "use MetadataClient::with_transport(service)";
            default_transport("a metadata client", instead, loopback)
        };
        Ok(Self {
            https: transport(false)?,
            loopback: transport(true)?,
        })
    }

    /// Over `service`, with the same rules as for
    /// [`OAuth2::transport`](crate::OAuth2::transport).
    pub fn with_transport<S, B, A>(service: S) -> Self
    where
        S: Service<Request<B>, Response = Response<A>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: From<Bytes> + Send + 'static,
        A: Body + Send + 'static,
        A::Data: Send,
        A::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let transport: Arc<dyn Transport> = Arc::new(ServiceTransport::<S, B>::new(service));
        Self {
            https: Arc::clone(&transport),
            loopback: transport,
        }
    }

    /// Gets the JSON document at `url`: `https`, or `http` on loopback. Only an answer of 200
    /// counts: no redirect is followed. At most 1 MiB, within 30 seconds.
    ///
    /// Any other URL is an [`ErrorKind::Config`], and whatever goes wrong on the way an
    /// [`ErrorKind::TokenService`].
    pub async fn get(&self, url: &str) -> Result<Bytes, Error> {
        let uri = checked(url)?;
        let transport = match uri.scheme_str() {
            Some("https") => &self.https,
            _ => &self.loopback,
        };
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json);
        let answer = match timeout(LIMIT, transport.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(unanswered(error)),
            Err(_) => return Err(problem("the document did not arrive in time")),
        };
        if answer.status == StatusCode::OK {
            return Ok(wiped(answer.body));
        }
        let status = answer.status.as_u16();
        Err(Error::new(
            ErrorKind::TokenService,
            format!("the document was not there: the answer was {status}"),
        ))
    }
}

fn checked(url: &str) -> Result<Uri, Error> {
    let problem = |why: &str| Error::new(ErrorKind::Config, format!("a document's URL: {why}"));
    let uri: Uri = url.parse().map_err(|_| problem("it is not a URL"))?;
    Origin::of(&uri).map_err(problem)?;
    Ok(uri)
}

fn problem(message: &'static str) -> Error {
    Error::new(ErrorKind::TokenService, message)
}

fn unanswered(error: TransportError) -> Error {
    match error {
        TransportError::NotSent(cause) | TransportError::Sent(cause) => Error::with_source(
            ErrorKind::TokenService,
            "the document could not be reached",
            cause,
        ),
        TransportError::TooLarge => Error::new(
            ErrorKind::TokenService,
            format!("the document has more than {MAX_BODY} bytes"),
        ),
    }
}

impl fmt::Debug for MetadataClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataClient").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tower::service_fn;

    use super::super::transport::testing::Never;
    use super::*;

    fn answering(status: u16, body: Vec<u8>) -> MetadataClient {
        let body = Bytes::from(body);
        MetadataClient::with_transport(service_fn(move |request: Request<Full<Bytes>>| {
            assert_eq!(request.headers()[ACCEPT], "application/json");
            let answer = Response::builder().status(status);
            std::future::ready(answer.body(Full::new(body.clone())))
        }))
    }

    const URL: &str = "https://a.example/.well-known/openid-configuration";

    #[tokio::test]
    async fn a_document_is_what_was_answered_with_200() {
        let got = answering(200, b"{}".to_vec()).get(URL).await.unwrap();
        assert_eq!(got, "{}");
        let largest = answering(200, vec![b' '; 1 << 20]).get(URL).await.unwrap();
        assert_eq!(largest.len(), 1 << 20);
        for (status, size) in [(201, 2), (302, 2), (404, 2), (500, 2), (200, (1 << 20) + 1)] {
            let client = answering(status, vec![b' '; size]);
            let error = client.get(URL).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TokenService, "{status} {size}");
        }
    }

    #[tokio::test]
    async fn nothing_is_asked_for_in_clear_but_on_this_machine() {
        let client = answering(200, Vec::new());
        for url in [
            "http://localhost:1/x",
            "http://127.0.0.1/x",
            "http://[::1]/x",
        ] {
            client.get(url).await.unwrap();
        }
        for url in ["", "/x", "http://a.example/x", "ftp://a.example/x"] {
            let error = client.get(url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_does_not_come_is_given_up() {
        let began = tokio::time::Instant::now();
        let client = MetadataClient::with_transport(Never);
        let error = client.get(URL).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenService);
        assert_eq!(began.elapsed(), LIMIT);
    }
}
