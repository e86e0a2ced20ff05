//! A body that is made as it is sent, and cannot be cloned.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

pub const KIB: usize = 1 << 10;

/// How much of it comes at once.
pub const CHUNK: usize = 8 * KIB;

/// What byte stands at this place.
pub fn at(place: usize) -> u8 {
    (place % 251) as u8
}

/// It can stand still in the middle until something has happened.
pub struct Upload {
    sent: usize,
    len: usize,
    stand_still: Option<Gate>,
}

/// At which place, and until when.
type Gate = (usize, Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Upload {
    pub fn new(len: usize) -> Self {
        Self {
            sent: 0,
            len,
            stand_still: None,
        }
    }

    pub fn empty() -> Self {
        Self::new(0)
    }

    /// Sends no more than so much before `until` is over.
    pub fn stand_still_at(
        mut self,
        place: usize,
        until: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> Self {
        self.stand_still = Some((place, Box::pin(until)));
        self
    }
}

/// As for a redirect that is followed without the body.
impl Default for Upload {
    fn default() -> Self {
        Self::empty()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.sent == self.len {
            return Poll::Ready(None);
        }
        let sent = self.sent;
        if let Some((_, until)) = self
            .stand_still
            .as_mut()
            .filter(|(place, _)| sent >= *place)
        {
            ready!(until.as_mut().poll(cx));
            self.stand_still = None;
        }
        self.sent = self.len.min(sent + CHUNK);
        let chunk: Vec<u8> = (sent..self.sent).map(at).collect();
        Poll::Ready(Some(Ok(Frame::data(chunk.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.len == 0
    }

    /// Only of an empty one: the length of a stream is not known.
    fn size_hint(&self) -> SizeHint {
        match self.len {
            0 => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}
