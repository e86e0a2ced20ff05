//! A body that is measured on its way: made as it is sent, and of no memory but its present chunk.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;

use crate::BoxError;

const CHUNK: usize = 16 << 10;

/// How much goes out before the rest waits for [`Upload::rest`].
const BEFORE: usize = 2 * CHUNK;

/// What repeats itself in a body. A prime, so that no buffer's size is a multiple of it.
const PERIOD: usize = 251;

static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD + CHUNK).map(|at| (at % PERIOD) as u8).collect());

/// What a body has from this place on, up to a chunk of it.
fn content(at: usize) -> &'static [u8] {
    let at = at % PERIOD;
    &PATTERN[at..at + CHUNK]
}

/// How many bytes came, and whether all are as they should be.
pub async fn received<B>(mut body: B) -> Result<(usize, bool), BoxError>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let (mut len, mut sound) = (0, true);
    while let Some(frame) = body.frame().await {
        let mut data = frame.map_err(Into::into)?.into_data().unwrap_or_default();
        while data.has_remaining() {
            let content = content(len);
            let count = data.len().min(content.len());
            sound &= data[..count] == content[..count];
            data.advance(count);
            len += count;
        }
    }
    Ok((len, sound))
}

/// So many bytes of no declared length.
pub struct Upload {
    sent: usize,
    len: usize,
    rest: Option<Rest>,
}

type Rest = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Upload {
    /// One that goes out as fast as it is taken.
    pub fn new(len: usize) -> Self {
        let (sent, rest) = (0, None);
        Self { sent, len, rest }
    }

    /// Stands still after its beginning until `ready`.
    pub fn rest(mut self, ready: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        self.rest = Some(Box::pin(ready));
        self
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
        if self.sent >= BEFORE
            && let Some(rest) = &mut self.rest
        {
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        let content = content(self.sent);
        let content = &content[..content.len().min(self.len - self.sent)];
        self.sent += content.len();
        // A copy: what is kept of a body is to take memory.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(content)))))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
