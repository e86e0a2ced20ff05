//! The back channel: how a request reaches a token service.

use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use parking_lot::Mutex;
use tower_service::Service;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;
pub(crate) type SendFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Answer, TransportError>> + Send + 'a>>;

/// A token service's answer is small; id tokens can make it large.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Sends one request and reads the whole answer. Does not follow redirects.
pub(crate) trait Transport: Send + Sync {
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_>;
}

/// An answer, its body in a buffer that is wiped.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
pub(crate) enum TransportError {
    /// Nothing left this machine that the service could have acted on.
    NotSent(BoxError),
    /// The service may have seen the request.
    Sent(BoxError),
    /// The service answered more than [`MAX_BODY`] bytes.
    TooLarge,
}

/// Wrap your transport's error in this where the request certainly did not reach the
/// token service (name look-up, connect, TLS handshake): the refresh token is then
/// known to be unspent, and the exchange is tried again.
///
/// Any other error of a transport counts as "sent, outcome unknown".
///
/// ```
/// use tower_token::NotSent;
///
/// let error = NotSent::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
/// assert_eq!(error.to_string(), "the request was not sent");
/// ```
#[derive(Debug)]
pub struct NotSent(BoxError);

impl NotSent {
    /// Marks `error` as having happened before anything was sent.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was not sent")
    }
}

impl StdError for NotSent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

impl From<BoxError> for TransportError {
    fn from(error: BoxError) -> Self {
        let mut link: Option<&(dyn StdError + 'static)> = Some(&*error);
        while let Some(cause) = link {
            if cause.is::<NotSent>() {
                return Self::NotSent(error);
            }
            link = cause.source();
        }
        Self::Sent(error)
    }
}

/// Any Tower service over `http` types as a back channel.
pub(crate) struct ServiceTransport<S, B> {
    /// Cloned per request; the lock only makes a service that is not `Sync` shareable.
    service: Mutex<S>,
    body: PhantomData<fn() -> B>,
}

impl<S, B> ServiceTransport<S, B> {
    pub(crate) fn new(service: S) -> Self {
        Self {
            service: Mutex::new(service),
            body: PhantomData,
        }
    }
}

impl<S, B, A> Transport for ServiceTransport<S, B>
where
    S: Service<Request<B>, Response = Response<A>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: From<Bytes> + Send + 'static,
    A: Body + Send,
    A::Data: Send,
    A::Error: Into<BoxError>,
{
    fn send(&self, request: Request<Bytes>) -> SendFuture<'_> {
        let mut service = self.service.lock().clone();
        Box::pin(async move {
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(|error| TransportError::NotSent(error.into()))?;
            let answer = service
                .call(request.map(B::from))
                .await
                .map_err(Into::into)?;
            let (head, body) = answer.into_parts();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: collect(body).await?,
            })
        })
    }
}

/// Reqwest, for a service on this machine if it is `loopback`.
#[cfg(feature = "oauth2-http")]
pub(super) fn default_transport(
    whose: &str,
    _instead: &str,
    loopback: bool,
) -> Result<Arc<dyn Transport>, Error> {
    match super::reqwest::ReqwestTransport::new(loopback) {
        Ok(transport) => Ok(Arc::new(transport)),
        Err(error) => Err(Error::with_source(
            ErrorKind::Config,
            format!("{whose}: the back channel could not be set up"),
            error,
        )),
    }
}

/// There is none; `instead` says what to do.
#[cfg(not(feature = "oauth2-http"))]
pub(super) fn default_transport(
    whose: &str,
    instead: &str,
    _loopback: bool,
) -> Result<Arc<dyn Transport>, Error> {
    Err(Error::new(
        ErrorKind::Config,
        format!("{whose} has no back channel: {instead}, or enable the feature \"oauth2-http\""),
    ))
}

async fn collect<B>(body: B) -> Result<Zeroizing<Vec<u8>>, TransportError>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = pin!(body);
    let mut collected = Collected::default();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        // An answer that breaks off was on its way: the request was sent.
        let frame = frame.map_err(|error| TransportError::Sent(error.into()))?;
        if let Ok(mut data) = frame.into_data() {
            while data.has_remaining() {
                let chunk = data.chunk();
                collected.push(chunk)?;
                let taken = chunk.len();
                data.advance(taken);
            }
        }
    }
    Ok(collected.0)
}

/// A bounded buffer that leaves no copy behind when it grows.
#[derive(Default)]
pub(super) struct Collected(pub(super) Zeroizing<Vec<u8>>);

impl Collected {
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), TransportError> {
        let len = self.0.len() + chunk.len();
        if len > MAX_BODY {
            return Err(TransportError::TooLarge);
        }
        if len > self.0.capacity() {
            // Not `reserve`: it would free the old buffer without wiping it.
            let mut larger = Vec::with_capacity(len.next_power_of_two());
            larger.extend_from_slice(&self.0);
            self.0 = Zeroizing::new(larger);
        }
        self.0.extend_from_slice(chunk);
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod testing {
    use std::future::Pending;
    use std::task::{Context, Poll};

    use super::*;

    /// A transport that never answers.
    #[derive(Clone)]
    pub(in crate::provider) struct Never;

    impl Service<Request<Bytes>> for Never {
        type Response = Response<http_body_util::Empty<Bytes>>;
        type Error = BoxError;
        type Future = Pending<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Bytes>) -> Self::Future {
            std::future::pending()
        }
    }
}
