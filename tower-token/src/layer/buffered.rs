//! Streams that can be sent twice: what goes by is kept, up to a limit.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::replay::Replay;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Replays streams, by keeping up to a limit of what went by: see
/// [`TokenLayer::buffered`](crate::TokenLayer::buffered).
#[derive(Debug, Clone, Copy)]
pub struct Buffered {
    limit: usize,
}

impl Buffered {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit }
    }
}

impl<B> Replay<B> for Buffered
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Body = ReplayBody<B>;
    type Again = ReplayAgain<B>;

    fn begin(&self, body: B, retry: bool) -> (ReplayBody<B>, Option<ReplayAgain<B>>) {
        let size = body.size_hint();
        let source = Source::new(body);
        if !retry {
            return (ReplayBody::rest(VecDeque::new(), Some(source), size), None);
        }
        let shared = Arc::new(Mutex::new(Some(First {
            source,
            kept: Some(Kept::new(self.limit, size.exact())),
            stands_still: false,
            sender: None,
        })));
        let again = ReplayAgain {
            shared: Arc::clone(&shared),
            size,
        };
        let attempt = Attempt::First(shared);
        let left = size;
        (ReplayBody { attempt, left }, Some(again))
    }

    fn hold(again: &mut ReplayAgain<B>) -> bool {
        match again.shared.lock().as_mut() {
            Some(first) if first.kept.is_some() => {
                first.stands_still = true;
                true
            }
            _ => false,
        }
    }

    fn again(again: ReplayAgain<B>) -> Option<ReplayBody<B>> {
        let first = again.shared.lock().take()?;
        // Whoever still sends the first finds it gone: that connection is given up.
        if let Some(sender) = first.sender {
            sender.wake();
        }
        let kept = first.kept?.frames;
        Some(ReplayBody::rest(kept, Some(first.source), again.size))
    }
}

/// What a second attempt at a [`ReplayBody`] begins with. Dropped, it lets the first go on, and
/// nothing more is kept of it.
pub struct ReplayAgain<B> {
    shared: Shared<B>,
    size: SizeHint,
}

impl<B> Drop for ReplayAgain<B> {
    fn drop(&mut self) {
        let sender = match self.shared.lock().as_mut() {
            Some(first) => {
                first.kept = None;
                first.stands_still = false;
                first.sender.take()
            }
            None => None,
        };
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

/// Taken out by the second attempt.
type Shared<B> = Arc<Mutex<Option<First<B>>>>;

/// A body that may have to be sent twice: the first time as it comes, the second time what was
/// kept of the first, and then on from where that was cut.
pub struct ReplayBody<B> {
    attempt: Attempt<B>,
    left: SizeHint,
}

enum Attempt<B> {
    First(Shared<B>),
    /// The last: nothing is kept.
    Rest {
        kept: VecDeque<Piece>,
        // Nothing where all there is was kept. The lock is never waited for: it makes a body
        // shareable that is not `Sync`, as some clients want theirs.
        source: Mutex<Option<Source<B>>>,
    },
}

impl<B> ReplayBody<B> {
    fn rest(kept: VecDeque<Piece>, source: Option<Source<B>>, left: SizeHint) -> Self {
        let source = Mutex::new(source);
        let attempt = Attempt::Rest { kept, source };
        Self { attempt, left }
    }
}

/// What a layer below puts in place of the body: it is sent once.
impl<B> From<Bytes> for ReplayBody<B> {
    fn from(bytes: Bytes) -> Self {
        let left = SizeHint::with_exact(bytes.len() as u64);
        let kept = (!bytes.is_empty()).then_some(Piece::Data(bytes));
        Self::rest(kept.into_iter().collect(), None, left)
    }
}

/// As for a redirect below that is followed without its body.
impl<B> Default for ReplayBody<B> {
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

/// The body itself. It is not asked again once it has ended.
struct Source<B> {
    body: Pin<Box<B>>,
    ended: bool,
}

impl<B: Body> Source<B> {
    fn new(body: B) -> Self {
        Self {
            body: Box::pin(body),
            ended: false,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, B::Error>>> {
        while !self.ended {
            match ready!(self.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Some(piece) = Piece::of(frame) {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(None)
    }
}

/// What the first attempt reads from.
struct First<B> {
    source: Source<B>,
    /// What went by; nothing once it was too much, or the body failed, or nobody wants it.
    kept: Option<Kept>,
    /// A refusal is there, and it is not known yet whether there will be a second attempt.
    stands_still: bool,
    sender: Option<Waker>,
}

struct Kept {
    frames: VecDeque<Piece>,
    /// How much more may be kept.
    room: usize,
    /// How long the whole body is, if it says so.
    whole: Option<u64>,
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    /// `None` for one that says nothing, or a kind of frame that did not exist when this was
    /// written.
    fn of<D: Buf>(frame: Frame<D>) -> Option<Self> {
        match frame.into_data() {
            Ok(data) if !data.has_remaining() => None,
            Ok(mut data) => Some(Self::Data(data.copy_to_bytes(data.remaining()))),
            Err(frame) => frame.into_trailers().ok().map(Self::Trailers),
        }
    }

    /// What it takes to keep it.
    fn size(&self) -> usize {
        let content = match self {
            Self::Data(data) => data.len(),
            // As they are on the wire, and a little for each.
            Self::Trailers(trailers) => trailers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + 32)
                .sum(),
        };
        content + size_of::<Self>()
    }

    /// The same in memory of its own: it may be a small part of a buffer, which a clone would
    /// keep as a whole.
    fn copied(&self) -> Self {
        match self {
            Self::Data(data) => Self::Data(Bytes::copy_from_slice(data)),
            Self::Trailers(trailers) => Self::Trailers(trailers.clone()),
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl<B: Body> First<B> {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, B::Error>>> {
        // Taken out meanwhile: what a body that panics has lost must not be missing later.
        let kept = self.kept.take();
        let polled = match self.stands_still {
            true => Poll::Pending,
            false => self.source.next(cx),
        };
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                self.kept = kept.and_then(|kept| kept.and(piece));
            }
            // What has failed cannot be sent as a whole.
            Poll::Ready(Some(Err(_))) => {}
            Poll::Ready(None) => self.kept = kept,
            // The body knows whom to wake for more; this is for who takes it away, or lets it
            // go on.
            Poll::Pending => {
                self.kept = kept;
                match &mut self.sender {
                    Some(sender) => sender.clone_from(cx.waker()),
                    None => self.sender = Some(cx.waker().clone()),
                }
            }
        }
        polled
    }
}

impl Kept {
    fn new(limit: usize, whole: Option<u64>) -> Self {
        Self {
            frames: VecDeque::new(),
            room: limit,
            whole,
        }
    }

    /// With one more piece, unless that is too much.
    fn and(mut self, piece: &Piece) -> Option<Self> {
        // A body that comes in one piece was in memory before: to keep it takes no more.
        let is_whole = matches!(piece, Piece::Data(data) if Some(data.len() as u64) == self.whole);
        let kept = if is_whole && self.frames.is_empty() {
            piece.clone()
        } else {
            self.room = self.room.checked_sub(piece.size())?;
            piece.copied()
        };
        self.frames.push_back(kept);
        Some(self)
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = ReplayBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplayBodyError>>> {
        let polled = match &mut self.attempt {
            Attempt::First(shared) => match shared.lock().as_mut() {
                Some(first) => first.next(cx),
                None => return Poll::Ready(Some(Err(ReplayBodyError::Superseded))),
            },
            Attempt::Rest { kept, source } => match kept.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(piece))),
                None => match source.get_mut() {
                    Some(source) => source.next(cx),
                    None => Poll::Ready(None),
                },
            },
        };
        let piece = match ready!(polled) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(ReplayBodyError::Body(error.into())))),
            None => return Poll::Ready(None),
        };
        if let Piece::Data(data) = &piece {
            self.left = less(&self.left, data.len() as u64);
        }
        Poll::Ready(Some(Ok(piece.into_frame())))
    }

    fn is_end_stream(&self) -> bool {
        match &self.attempt {
            Attempt::First(shared) => {
                let shared = shared.lock();
                shared
                    .as_ref()
                    .is_some_and(|first| first.source.is_end_stream())
            }
            Attempt::Rest { kept, source } => {
                let source = source.lock();
                kept.is_empty() && source.as_ref().is_none_or(Source::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left
    }
}

/// What is left after `len` bytes more.
fn less(size: &SizeHint, len: u64) -> SizeHint {
    let mut left = SizeHint::new();
    left.set_lower(size.lower().saturating_sub(len));
    if let Some(upper) = size.upper() {
        left.set_upper(upper.saturating_sub(len).max(left.lower()));
    }
    left
}

/// Why a [`ReplayBody`] ends early.
#[non_exhaustive]
#[derive(Debug)]
pub enum ReplayBodyError {
    /// The body failed.
    Body(Box<dyn StdError + Send + Sync>),
    /// The request was refused and is sent again: this attempt at it is given up.
    Superseded,
}

impl fmt::Display for ReplayBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(_) => f.write_str("the body of the request failed"),
            Self::Superseded => f.write_str("the request was refused, and is sent again"),
        }
    }
}

impl StdError for ReplayBodyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Body(error) => Some(&**error),
            Self::Superseded => None,
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for ReplayAgain<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayAgain").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use http_body_util::BodyExt as _;

    use super::*;

    const LIMIT: usize = 64 << 10;

    /// Frames that a test lets through one by one.
    #[derive(Default)]
    struct Script(VecDeque<Poll<Result<Frame<Bytes>, &'static str>>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            match self.0.pop_front() {
                Some(Poll::Ready(frame)) => Poll::Ready(Some(frame)),
                Some(Poll::Pending) => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn data(text: &'static str) -> Poll<Result<Frame<Bytes>, &'static str>> {
        Poll::Ready(Ok(Frame::data(Bytes::from(text))))
    }

    fn trailers() -> Poll<Result<Frame<Bytes>, &'static str>> {
        let mut trailers = HeaderMap::new();
        trailers.insert("sum", http::HeaderValue::from_static("1"));
        Poll::Ready(Ok(Frame::trailers(trailers)))
    }

    fn begin<const N: usize>(
        limit: usize,
        frames: [Poll<Result<Frame<Bytes>, &'static str>>; N],
    ) -> (ReplayBody<Script>, ReplayAgain<Script>) {
        let (body, again) = Buffered::new(limit).begin(Script(frames.into()), true);
        (body, again.unwrap())
    }

    /// As after a 401, with a newer token.
    fn again_of(mut again: ReplayAgain<Script>) -> Option<ReplayBody<Script>> {
        let held = <Buffered as Replay<Script>>::hold(&mut again);
        held.then(|| Buffered::again(again)).flatten()
    }

    /// What comes until the end, or until nothing does.
    fn read(body: &mut ReplayBody<Script>, waker: &Waker) -> String {
        let (mut seen, mut body) = (String::new(), pin!(body));
        loop {
            match body.as_mut().poll_frame(&mut Context::from_waker(waker)) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => seen.push_str(std::str::from_utf8(&data).unwrap()),
                    Err(_) => seen.push_str("<trailers>"),
                },
                Poll::Ready(Some(Err(error))) => return format!("{seen}<{error}>"),
                Poll::Ready(None) => return seen + ".",
                Poll::Pending => return seen + "..",
            }
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_second_attempt_begins_anew_and_goes_on_where_the_first_was_cut() {
        let (mut first, again) = begin(LIMIT, [data("ab"), Poll::Pending, data("cd"), trailers()]);
        let woken = Arc::new(Woken::default());
        assert_eq!(read(&mut first, &Arc::clone(&woken).into()), "ab..");
        let mut second = again_of(again).unwrap();
        // Whoever waits for more of the first hears that there is none.
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        let cut = "<the request was refused, and is sent again>";
        assert_eq!(read(&mut first, Waker::noop()), cut);
        assert_eq!(read(&mut second, Waker::noop()), "abcd<trailers>.");
    }

    #[test]
    fn what_was_sent_as_a_whole_is_sent_as_a_whole_again() {
        let (mut first, again) = begin(LIMIT, [data("ab"), data("cd"), trailers()]);
        assert_eq!(read(&mut first, Waker::noop()), "abcd<trailers>.");
        let mut second = again_of(again).unwrap();
        assert_eq!(read(&mut second, Waker::noop()), "abcd<trailers>.");
    }

    /// Room for this much data in so many pieces.
    fn room(data: usize, pieces: usize) -> usize {
        data + pieces * size_of::<Piece>()
    }

    #[test]
    fn what_is_more_than_the_limit_is_sent_once_and_not_kept() {
        let frames = || [data("ab"), data("cd"), data("e")];
        let (mut first, again) = begin(room(5, 3), frames());
        assert_eq!(read(&mut first, Waker::noop()), "abcde.");
        assert!(again_of(again).is_some());
        let (mut first, again) = begin(room(5, 3) - 1, frames());
        assert_eq!(read(&mut first, Waker::noop()), "abcde.");
        assert!(again.shared.lock().as_ref().unwrap().kept.is_none());
        assert!(again_of(again).is_none());
        // Trailers take room as well, and what says nothing takes none.
        let (mut first, again) = begin(room(8, 1), [trailers()]);
        read(&mut first, Waker::noop());
        assert!(again_of(again).is_none());
        let (mut first, again) = begin(0, [data(""), data(""), data("")]);
        assert_eq!(read(&mut first, Waker::noop()), ".");
        assert!(again_of(again).is_some());
    }

    #[test]
    fn a_body_in_one_piece_is_kept_whatever_its_length() {
        let long = "x".repeat(LIMIT);
        let full = http_body_util::Full::<Bytes>::from(long.clone());
        let (mut first, again) = Buffered::new(0).begin(full, true);
        assert_eq!(text(&mut first), long);
        let mut second = Buffered::again(again.unwrap()).unwrap();
        assert_eq!(text(&mut second), long);
        // Its trailers come on top, and are counted.
        for (limit, kept) in [(LIMIT, true), (0, false)] {
            let full = http_body_util::Full::<Bytes>::from(long.clone());
            let body = full.with_trailers(std::future::ready(Some(Ok(HeaderMap::from_iter([(
                http::header::ETAG,
                http::HeaderValue::from_static("1"),
            )])))));
            let (mut first, again) = Buffered::new(limit).begin(body, true);
            assert_eq!(text(&mut first), long.clone() + "<trailers>");
            assert_eq!(Buffered::again(again.unwrap()).is_some(), kept);
        }
    }

    fn text<B: Body<Error: Into<BoxError>>>(body: &mut ReplayBody<B>) -> String {
        let mut seen = String::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = Pin::new(&mut *body).poll_frame(&mut context) {
            match frame.unwrap().into_data() {
                Ok(data) => seen.push_str(std::str::from_utf8(&data).unwrap()),
                Err(_) => seen.push_str("<trailers>"),
            }
        }
        seen
    }

    #[test]
    fn what_is_kept_of_a_stream_keeps_no_buffer_of_its_source() {
        let buffer = Bytes::from("x".repeat(1 << 20));
        let mut script = Script::default();
        for at in [0, 100] {
            let piece = buffer.slice(at..at + 16);
            script.0.push_back(Poll::Ready(Ok(Frame::data(piece))));
        }
        let (mut first, again) = Buffered::new(LIMIT).begin(script, true);
        let again = again.unwrap();
        assert_eq!(text(&mut first), "x".repeat(32));
        assert!(buffer.is_unique());
        // What was in memory as a whole is no part of anything.
        let (mut first, whole) = Buffered::new(0).begin(http_body_util::Full::new(buffer), true);
        let sent = Pin::new(&mut first).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(sent))) = sent else {
            panic!("it is not sent");
        };
        let mut second = Buffered::again(whole.unwrap()).unwrap();
        let again_sent = Pin::new(&mut second).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(again_sent))) = again_sent else {
            panic!("it is not sent again");
        };
        let place = |frame: Frame<Bytes>| frame.into_data().unwrap().as_ptr();
        assert_eq!(place(again_sent), place(sent));
        assert_eq!(text(&mut again_of(again).unwrap()), "x".repeat(32));
    }

    #[test]
    fn bytes_take_the_place_of_a_body() {
        let mut body = ReplayBody::<Script>::from(Bytes::from("abc"));
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(!body.is_end_stream());
        assert_eq!(text(&mut body), "abc");
        assert!(body.is_end_stream());
        let empty = ReplayBody::<Script>::default();
        assert!(empty.is_end_stream());
        assert_eq!(empty.size_hint().exact(), Some(0));
    }

    #[test]
    fn the_first_stands_still_after_a_refusal_and_goes_on_without_a_newer_token() {
        let (mut first, mut again) = begin(LIMIT, [data("ab"), Poll::Pending, data("cd")]);
        assert_eq!(read(&mut first, Waker::noop()), "ab..");
        assert!(<Buffered as Replay<Script>>::hold(&mut again));
        let woken = Arc::new(Woken::default());
        assert_eq!(read(&mut first, &Arc::clone(&woken).into()), "..");
        drop(again);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(read(&mut first, Waker::noop()), "cd.");
    }

    #[test]
    fn nothing_is_kept_once_nobody_can_want_it() {
        let (mut first, again) = begin(LIMIT, [data("ab"), data("cd")]);
        let shared = Arc::clone(&again.shared);
        drop(again);
        assert_eq!(read(&mut first, Waker::noop()), "abcd.");
        assert!(shared.lock().as_ref().unwrap().kept.is_none());
    }

    #[test]
    fn a_body_that_has_ended_is_not_asked_again() {
        // Such as a stream that panics if it is.
        struct Once(bool);
        impl Body for Once {
            type Data = Bytes;
            type Error = &'static str;
            fn poll_frame(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
                assert!(!std::mem::replace(&mut self.0, true), "it has ended");
                Poll::Ready(None)
            }
        }
        let (mut first, again) = Buffered::new(LIMIT).begin(Once(false), true);
        let mut context = Context::from_waker(Waker::noop());
        let mut end = |body: &mut ReplayBody<Once>| {
            matches!(Pin::new(body).poll_frame(&mut context), Poll::Ready(None))
        };
        assert!(end(&mut first) && end(&mut first));
        let mut second = Buffered::again(again.unwrap()).unwrap();
        assert!(second.is_end_stream() && end(&mut second));
    }

    #[test]
    fn it_can_be_shared_by_clients_that_want_that() {
        fn shared<T: Send + Sync>() {}
        type Unshared = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
        shared::<ReplayBody<Unshared>>();
        fn is_body<B: Body<Data = Bytes, Error: Into<BoxError>>>() {}
        is_body::<ReplayBody<Unshared>>();
    }

    #[test]
    fn a_body_that_failed_is_not_sent_again() {
        let (mut first, again) = begin(LIMIT, [data("ab"), Poll::Ready(Err("broken"))]);
        assert_eq!(
            read(&mut first, Waker::noop()),
            "ab<the body of the request failed>"
        );
        assert!(again_of(again).is_none());
    }

    #[test]
    fn the_length_is_told_and_goes_down() {
        let full = http_body_util::Full::<Bytes>::from("abcd");
        let (mut body, again) = Buffered::new(LIMIT).begin(full, true);
        assert_eq!(body.size_hint().exact(), Some(4));
        assert!(!body.is_end_stream());
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut body).poll_frame(&mut context).is_ready());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.is_end_stream());
        let again = Buffered::again(again.unwrap()).unwrap();
        assert_eq!(again.size_hint().exact(), Some(4));
        assert!(!again.is_end_stream());
    }
}
