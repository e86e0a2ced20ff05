//! One type for the bodies of all requests.

use std::error::Error as StdError;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The body of a request: in memory, or a stream.
///
/// What is in memory is made by [`From`], and its length is sent along. Anything else goes in by
/// [`Body::new`].
///
/// ```
/// use bytes::Bytes;
/// use hyper_client_token::Body;
/// use http_body::Body as _;
///
/// assert_eq!(Body::from("a text").size_hint().exact(), Some(6));
/// assert_eq!(Body::from(Bytes::from_static(b"bytes")).size_hint().exact(), Some(5));
/// assert!(Body::from(()).is_end_stream());
/// ```
pub struct Body(Kind);

enum Kind {
    Whole(Bytes),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// Any other body, such as a stream. It is sent as it comes; so that a 401 can be healed, what
    /// went by is kept up to [`replay_limit`](crate::TokenClientBuilder::replay_limit). Its trailers
    /// are sent too, over HTTP/1.1 those that the header `Trailer` names (RFC 9110 section 6.6.2).
    ///
    /// A stream of bytes becomes a body by [`StreamBody`](http_body_util::StreamBody):
    ///
    /// ```
    /// use bytes::Bytes;
    /// use futures_util::{StreamExt as _, stream};
    /// use http_body::Frame;
    /// use http_body_util::StreamBody;
    /// use hyper_client_token::Body;
    ///
    /// let lines = stream::iter(["one\n", "two\n"]).map(Bytes::from);
    /// let body = Body::new(StreamBody::new(lines.map(|line| Ok::<_, std::io::Error>(Frame::data(line)))));
    /// # let _ = body;
    /// ```
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Kind::Stream(body.map_err(Into::into).boxed_unsync()))
    }

    /// The same body once more, if it is in memory: nothing is copied. For layers that send a
    /// request again, such as the policy of one that follows redirects.
    ///
    /// ```
    /// use hyper_client_token::Body;
    /// use http_body_util::Full;
    ///
    /// assert!(Body::from("a text").try_clone().is_some());
    /// assert!(Body::new(Full::<bytes::Bytes>::from("a stream")).try_clone().is_none());
    /// ```
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes.clone().into()),
            Kind::Stream(_) => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Kind::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

/// An empty one.
impl Default for Body {
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from(text).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Empty<Bytes>> for Body {
    fn from(_: Empty<Bytes>) -> Self {
        Self::default()
    }
}

impl From<Full<Bytes>> for Body {
    fn from(mut full: Full<Bytes>) -> Self {
        // It is one frame of data, or none, and never keeps anyone waiting.
        let frame = Pin::new(&mut full).poll_frame(&mut Context::from_waker(Waker::noop()));
        match frame {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default().into(),
            Poll::Ready(None) | Poll::Pending => Self::default(),
        }
    }
}

/// What has arrived at a server of hyper's, to be sent on.
impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self::new(incoming)
    }
}

/// What is in a body is nobody's to print: it may hold a token.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::HeaderMap;
    use http_body_util::StreamBody;

    use super::*;

    fn read(mut body: Body) -> Vec<Frame<Bytes>> {
        let mut context = Context::from_waker(Waker::noop());
        let mut frames = Vec::new();
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut context) {
            frames.push(frame.unwrap());
        }
        frames
    }

    #[test]
    fn what_is_in_memory_comes_in_one_piece_and_says_how_long_it_is() {
        for body in [
            Body::from("text"),
            Body::from(String::from("text")),
            Body::from(b"text".to_vec()),
            Body::from(Bytes::from("text")),
            Body::from(Full::from("text")),
        ] {
            assert_eq!(body.size_hint().exact(), Some(4));
            assert!(!body.is_end_stream());
            let frames = read(body);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].data_ref().unwrap(), "text");
        }
    }

    #[test]
    fn what_is_empty_has_ended() {
        for body in [
            Body::default(),
            Body::from(()),
            Body::from(""),
            Body::from(Empty::new()),
            Body::from(Full::default()),
            Body::from(Full::from("")),
        ] {
            assert_eq!(body.size_hint().exact(), Some(0));
            assert!(body.is_end_stream());
            assert!(read(body).is_empty());
        }
    }

    #[test]
    fn a_stream_keeps_its_length_and_its_trailers() {
        assert_eq!(Body::new(Full::from("text")).size_hint().exact(), Some(4));
        let mut trailers = HeaderMap::new();
        trailers.insert("sum", http::HeaderValue::from_static("1"));
        let frames = [Frame::data(Bytes::from("a")), Frame::trailers(trailers)];
        let stream = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
        let body = Body::new(StreamBody::new(stream));
        assert_eq!(body.size_hint().exact(), None);
        let frames = read(body);
        assert!(frames[0].is_data() && frames[1].is_trailers());
    }
}
