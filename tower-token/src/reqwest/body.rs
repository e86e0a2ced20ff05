//! Bodies as a second send, and a redirect, need them.

use std::error::Error as StdError;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use ::reqwest::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::layer::{Buffered, Replay, ReplayAgain, ReplayBody};

/// A body of reqwest's. If it is in memory it can be cloned without a copy, which reqwest keeps
/// to itself.
#[derive(Default)]
pub(super) struct Payload {
    body: Body,
    /// The same, if it is in memory.
    bytes: Option<Bytes>,
}

impl From<Body> for Payload {
    fn from(mut body: Body) -> Self {
        if body.as_bytes().is_none() {
            return Self { body, bytes: None };
        }
        // What is in memory is there at the first poll, and comes out as the `Bytes` that it is.
        let collected = pin!((&mut body).collect());
        let bytes = match collected.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(collected)) => collected.to_bytes(),
            Poll::Ready(Err(_)) | Poll::Pending => return Self { body, bytes: None },
        };
        Self::from(bytes)
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self {
            body: Body::from(bytes.clone()),
            bytes: Some(bytes),
        }
    }
}

impl Payload {
    pub(super) fn try_clone(&self) -> Option<Self> {
        self.bytes.clone().map(Self::from)
    }
}

impl HttpBody for Payload {
    type Data = Bytes;
    type Error = ::reqwest::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ::reqwest::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Replays what is in memory for free, and of a stream what can be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplayPayload(Buffered);

impl ReplayPayload {
    /// At most `limit` bytes of a stream.
    pub(super) fn new(limit: usize) -> Self {
        Self(Buffered::new(limit))
    }
}

pub(super) enum Again {
    Bytes(Bytes),
    Stream(ReplayAgain<Body>),
}

impl Replay<Payload> for ReplayPayload {
    // In memory it stays in memory: reqwest's own retries need that.
    type Body = Body;
    type Again = Again;

    fn begin(&self, payload: Payload, retry: bool) -> (Body, Option<Again>) {
        match payload.bytes {
            Some(bytes) => (payload.body, retry.then_some(Again::Bytes(bytes))),
            None if !retry => (payload.body, None),
            None => {
                let (body, again) = self.0.begin(payload.body, retry);
                (body.into(), again.map(Again::Stream))
            }
        }
    }

    fn hold(again: &mut Again) -> bool {
        match again {
            Again::Bytes(_) => true,
            Again::Stream(again) => <Buffered as Replay<Body>>::hold(again),
        }
    }

    fn again(again: Again) -> Option<Body> {
        match again {
            Again::Bytes(bytes) => Some(bytes.into()),
            Again::Stream(again) => Buffered::again(again).map(Body::from),
        }
    }
}

/// For [`TokenLayer::buffered`](crate::TokenLayer::buffered) over a
/// [`ReqwestService`](super::ReqwestService).
impl<B> From<ReplayBody<B>> for Body
where
    B: HttpBody + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    fn from(body: ReplayBody<B>) -> Self {
        Self::wrap(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that does not say how long it is.
    struct Stream(Option<&'static str>);

    impl HttpBody for Stream {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.take().map(|text| Ok(Frame::data(text.into()))))
        }
    }

    fn stream(text: &'static str) -> Body {
        Body::wrap(Stream(Some(text)))
    }

    async fn read(body: Body) -> Bytes {
        body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn what_is_in_memory_is_sent_twice_as_it_is_and_never_copied() {
        let text = Bytes::from(String::from("hello"));
        let payload = Payload::from(Body::from(text.clone()));
        let hop = payload.try_clone().unwrap();
        let (first, again) = ReplayPayload::new(0).begin(payload, true);
        let mut again = again.unwrap();
        assert!(ReplayPayload::hold(&mut again));
        let second = ReplayPayload::again(again).unwrap();
        for body in [first, second, hop.body] {
            // reqwest can clone it as well, for retries of its own.
            assert!(body.as_bytes().is_some());
            let read = read(body).await;
            assert_eq!((read.as_ptr(), read.len()), (text.as_ptr(), text.len()));
        }
    }

    #[tokio::test]
    async fn a_stream_is_sent_twice_up_to_the_limit_and_never_cloned() {
        for (limit, twice) in [(1_024, true), (0, false)] {
            let payload = Payload::from(stream("hello"));
            assert!(payload.try_clone().is_none());
            let (first, again) = ReplayPayload::new(limit).begin(payload, true);
            assert_eq!(read(first).await, "hello");
            let mut again = again.unwrap();
            assert_eq!(ReplayPayload::hold(&mut again), twice);
            if twice {
                let second = ReplayPayload::again(again).unwrap();
                assert_eq!(read(second).await, "hello");
            }
        }
    }

    #[test]
    fn an_empty_body_is_in_memory() {
        let payload = Payload::from(Body::default());
        assert_eq!(payload.size_hint().exact(), Some(0));
        assert_eq!(payload.try_clone().unwrap().body.as_bytes(), Some(&[][..]));
        assert_eq!(Payload::default().body.as_bytes(), Some(&[][..]));
    }

    #[test]
    fn without_a_retry_nothing_is_kept() {
        for payload in [Payload::from(Body::from("a")), Payload::from(stream("a"))] {
            assert!(ReplayPayload::new(64).begin(payload, false).1.is_none());
        }
    }
}
