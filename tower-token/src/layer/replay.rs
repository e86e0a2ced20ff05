//! Whether a body can be sent twice.

use std::convert::Infallible;

/// How the body of a request is kept for the one retry after a 401.
///
/// [`CloneBody`], the default, takes any body that is `Clone`; [`Buffered`](crate::Buffered)
/// keeps what goes by of a stream, up to a limit; [`NoReplay`] takes any body at all and never
/// retries. A request that waits for its token takes a clone along, and its body is begun when the
/// token is there. Implement it for bodies that can sometimes be sent again:
///
/// ```
/// use tower_token::Replay;
///
/// enum Upload { Bytes(bytes::Bytes), Stream(std::fs::File) }
///
/// #[derive(Clone)]
/// struct BytesOnly;
///
/// impl Replay<Upload> for BytesOnly {
///     type Body = Upload;
///     type Again = bytes::Bytes;
///
///     fn begin(&self, body: Upload, retry: bool) -> (Upload, Option<bytes::Bytes>) {
///         let again = match &body {
///             Upload::Bytes(bytes) if retry => Some(bytes.clone()),
///             _ => None,
///         };
///         (body, again)
///     }
///
///     fn again(bytes: bytes::Bytes) -> Option<Upload> {
///         Some(Upload::Bytes(bytes))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a body of type `{B}` cannot be replayed by `{Self}`",
    label = "this body may have to be sent twice",
    note = "make the body `Clone`, or take `TokenLayer::buffered(limit)`, which keeps what goes by \
            of a stream; with `.replay(NoReplay)` a 401 is returned, and the token refreshed behind"
)]
pub trait Replay<B> {
    /// What the client under the layer gets to send.
    type Body;
    /// What is kept until the response is there.
    type Again;

    /// The body for the first send, and what a second would need; nothing if there cannot be
    /// one, or `retry` says that none is wanted.
    fn begin(&self, body: B, retry: bool) -> (Self::Body, Option<Self::Again>);

    /// The first was answered with a 401: whether there can be a second. If there can, and the
    /// first is still under way, it stands still until there is one, or `again` is dropped.
    fn hold(again: &mut Self::Again) -> bool {
        let _ = again;
        true
    }

    /// The same body once more. Nothing if that cannot be had after all.
    fn again(again: Self::Again) -> Option<Self::Body>;
}

/// Replays bodies by cloning them. Meant for bodies that are cheap to clone, such as
/// `Full<Bytes>` and `Empty`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneBody;

impl<B: Clone> Replay<B> for CloneBody {
    type Body = B;
    type Again = B;

    fn begin(&self, body: B, retry: bool) -> (B, Option<B>) {
        let again = retry.then(|| body.clone());
        (body, again)
    }

    fn again(again: B) -> Option<B> {
        Some(again)
    }
}

/// Replays nothing, and so takes every body, streams included.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReplay;

impl<B> Replay<B> for NoReplay {
    type Body = B;
    type Again = Infallible;

    fn begin(&self, body: B, _: bool) -> (B, Option<Infallible>) {
        (body, None)
    }

    fn again(again: Infallible) -> Option<B> {
        match again {}
    }
}
