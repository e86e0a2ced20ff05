//! Bodies on their way, as they come: nothing is kept, and nothing is asked for that nobody wants.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use axum_core::BoxError;
use axum_core::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

/// A page's body, without its trailers: what is taken out of the head must not come at the end.
pub(super) struct Upload(Shared);

/// How far a body has come, for whoever waits for the answer to it. Dropped before there is one,
/// it takes the body away: a connection that waits for the API to read on would keep it, and
/// the page's connection with it, for as long.
pub(super) struct Progress(Shared);

#[derive(Clone)]
struct Shared(Arc<Mutex<State>>);

struct State {
    // Nothing once nobody waits for an answer.
    body: Option<Body>,
    left: u64,
    moved: Instant,
    cut: Option<Cut>,
    answered: bool,
    sender: Option<Waker>,
}

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    TooLarge,
    /// The page's connection broke, or what came over it was no body.
    Broken,
}

impl Upload {
    pub(super) fn new(body: Body, most: u64) -> (Self, Progress) {
        let shared = Shared(Arc::new(Mutex::new(State {
            body: Some(body),
            left: most,
            moved: Instant::now(),
            cut: None,
            answered: false,
            sender: None,
        })));
        (Self(shared.clone()), Progress(shared))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// When a piece of it went on last, or when it began.
    pub(super) fn moved(&self) -> Instant {
        self.0.state().moved
    }

    pub(super) fn cut(&self) -> Option<Cut> {
        self.0.state().cut
    }

    /// There is an answer, beside which the body may go on.
    pub(super) fn answered(self) {
        self.0.state().answered = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.answered {
            return;
        }
        let (body, sender) = (state.body.take(), state.sender.take());
        drop(state);
        drop(body);
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.0.state();
        loop {
            let Some(body) = &mut state.body else {
                return Poll::Ready(Some(Err("nobody waits for the answer".into())));
            };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                state.sender = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let data = match frame {
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(error)) => {
                    state.cut = Some(Cut::Broken);
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => return Poll::Ready(None),
            };
            let Ok(data) = data else { continue };
            let Some(left) = state.left.checked_sub(data.len() as u64) else {
                state.cut = Some(Cut::TooLarge);
                return Poll::Ready(Some(Err("the body is larger than it may be".into())));
            };
            state.left = left;
            state.moved = Instant::now();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }

    fn is_end_stream(&self) -> bool {
        let body = &self.0.state().body;
        body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = &self.0.state().body;
        body.as_ref().map_or_else(SizeHint::new, Body::size_hint)
    }
}

pin_project! {
    /// An API's body, without its trailers.
    pub(super) struct Download<B> {
        #[pin]
        body: B,
        // Of what has no body, as an answer to HEAD, nobody is to conclude a length.
        sized: bool,
    }
}

impl<B> Download<B> {
    pub(super) fn new(body: B, sized: bool) -> Self {
        Self { body, sized }
    }
}

impl<B: http_body::Body> http_body::Body for Download<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut body = self.project().body;
        loop {
            match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) if !frame.is_data() => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sized && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.sized {
            true => self.body.size_hint(),
            false => SizeHint::default(),
        }
    }
}
