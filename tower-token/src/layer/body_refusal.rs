//! Refusals that stand in the body of an answer.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::refusal::TokenRefused;

/// Tells a [`TokenLayer`](crate::TokenLayer) outside of it which JSON answers refuse the token,
/// for APIs that say "not authorized" inside of a 200.
///
/// The beginning of each JSON answer is read before it is handed on, which delays it, so this
/// is for APIs whose answers are short and whole: one that goes on for ever, such as a watch, is
/// held back until `limit` bytes of it have come. One of more than `limit` bytes is no refusal,
/// and is handed on as it comes. What decompresses answers belongs inside of this layer.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_token::{BodyRefusalLayer, TokenLayer, TokenManager};
///
/// # fn f<S>(manager: &TokenManager, client: S) {
/// let client = ServiceBuilder::new()
///     .layer(TokenLayer::new(manager))
///     .layer(BodyRefusalLayer::new(4_096, |body: &[u8]| {
///         let body: Result<serde_json::Value, _> = serde_json::from_slice(body);
///         body.is_ok_and(|body| body["error"]["code"] == "token_expired")
///     }))
///     .service(client);
/// # let _ = client;
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct BodyRefusalLayer<F> {
    limit: usize,
    is_refusal: F,
}

impl<F: Fn(&[u8]) -> bool> BodyRefusalLayer<F> {
    /// An answer is a refusal if `is_refusal` says so of its whole body, of `limit` bytes at
    /// most.
    pub fn new(limit: usize, is_refusal: F) -> Self {
        Self { limit, is_refusal }
    }
}

impl<S, F: Clone> Layer<S> for BodyRefusalLayer<F> {
    type Service = BodyRefusalService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyRefusalService {
            inner,
            limit: self.limit,
            is_refusal: self.is_refusal.clone(),
        }
    }
}

/// The service of a [`BodyRefusalLayer`].
#[derive(Clone, Copy)]
pub struct BodyRefusalService<S, F> {
    inner: S,
    limit: usize,
    is_refusal: F,
}

impl<S, F, B, A> Service<Request<B>> for BodyRefusalService<S, F>
where
    S: Service<Request<B>, Response = Response<A>>,
    F: Fn(&[u8]) -> bool + Clone,
    A: Body + Unpin,
{
    type Response = Response<PeekedBody<A>>;
    type Error = S::Error;
    type Future = BodyRefusalFuture<S::Future, A, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        BodyRefusalFuture {
            response: self.inner.call(request),
            reading: None,
            limit: self.limit,
            is_refusal: self.is_refusal.clone(),
        }
    }
}

pin_project! {
    /// The response future of [`BodyRefusalService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct BodyRefusalFuture<T, A: Body, F> {
        #[pin]
        response: T,
        reading: Option<Response<PeekedBody<A>>>,
        limit: usize,
        is_refusal: F,
    }
}

impl<T, A, F, E> Future for BodyRefusalFuture<T, A, F>
where
    T: Future<Output = Result<Response<A>, E>>,
    A: Body + Unpin,
    F: Fn(&[u8]) -> bool,
{
    type Output = Result<Response<PeekedBody<A>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.reading.take() {
            Some(response) => response,
            None => ready!(this.response.poll(cx))?.map(PeekedBody::new),
        };
        if is_json(&response) {
            let whole = match response.body_mut().peek(*this.limit, cx) {
                Poll::Ready(whole) => whole,
                Poll::Pending => {
                    *this.reading = Some(response);
                    return Poll::Pending;
                }
            };
            if whole.is_some_and(|body| (this.is_refusal)(&body)) {
                response.extensions_mut().insert(TokenRefused);
            }
        }
        Poll::Ready(Ok(response))
    }
}

/// `application/json`, or a kind of it (RFC 6839 section 3.1).
fn is_json<A>(response: &Response<A>) -> bool {
    let media_type = response.headers().get(CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| {
        let essence = essence.trim().to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    })
}

/// A response body whose beginning has been read already.
pub struct PeekedBody<A: Body> {
    /// What was read, with the error that ended it.
    read: VecDeque<Result<Frame<Bytes>, A::Error>>,
    len: usize,
    ended: bool,
    rest: A,
}

impl<A: Body + Unpin> PeekedBody<A> {
    fn new(rest: A) -> Self {
        Self {
            read: VecDeque::new(),
            len: 0,
            ended: false,
            rest,
        }
    }

    /// The whole body, if it ends within `limit` bytes.
    fn peek(&mut self, limit: usize, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        if self.rest.size_hint().lower() > limit as u64 {
            return Poll::Ready(None);
        }
        while !self.ended {
            let Some(frame) = ready!(self.next(cx)) else {
                self.ended = true;
                break;
            };
            let data = frame.as_ref().ok().and_then(Frame::data_ref);
            if data.is_some_and(Bytes::is_empty) {
                // It says nothing, and a server can send any number of these.
                continue;
            }
            let (failed, len) = (frame.is_err(), data.map_or(0, Bytes::len));
            self.len += len;
            self.read.push_back(frame);
            if failed || self.len > limit || self.read.len() > limit {
                return Poll::Ready(None);
            }
        }
        let data = self.read.iter().filter_map(|frame| frame.as_ref().ok());
        let data: Vec<&[u8]> = data
            .filter_map(|frame| frame.data_ref().map(Bytes::as_ref))
            .collect();
        Poll::Ready(Some(data.concat()))
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let frame = ready!(Pin::new(&mut self.rest).poll_frame(cx));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|mut data| data.copy_to_bytes(data.remaining())))
        }))
    }
}

impl<A: Body + Unpin> Body for PeekedBody<A>
where
    A::Error: Unpin,
{
    type Data = Bytes;
    type Error = A::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, A::Error>>> {
        let this = self.get_mut();
        match this.read.pop_front() {
            Some(frame) => {
                if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                    this.len -= data.len();
                }
                Poll::Ready(Some(frame))
            }
            None if this.ended => Poll::Ready(None),
            None => this.next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && (self.ended || self.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.len as u64;
        if self.ended {
            return SizeHint::with_exact(read);
        }
        let rest = self.rest.size_hint();
        let mut size = SizeHint::new();
        if let Some(upper) = rest.upper() {
            size.set_upper(upper.saturating_add(read));
        }
        size.set_lower(rest.lower().saturating_add(read));
        size
    }
}

impl<F> fmt::Debug for BodyRefusalLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyRefusalLayer")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for BodyRefusalService<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyRefusalService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<T, A: Body, F> fmt::Debug for BodyRefusalFuture<T, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyRefusalFuture").finish_non_exhaustive()
    }
}

impl<A: Body> fmt::Debug for PeekedBody<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeekedBody").finish_non_exhaustive()
    }
}
