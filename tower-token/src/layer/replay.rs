//! Whether a body can be sent twice.

/// How the body of a request is kept for the one retry after a 401.
///
/// [`CloneBody`], the default, takes any body that is `Clone`; [`NoReplay`] takes any
/// body at all and never retries. Implement it for bodies that can sometimes be sent
/// again:
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
///     fn keep(&self, body: &Upload) -> Option<Upload> {
///         match body {
///             Upload::Bytes(bytes) => Some(Upload::Bytes(bytes.clone())),
///             Upload::Stream(_) => None,
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a body of type `{B}` cannot be replayed by `{Self}`",
    label = "this body may have to be sent twice",
    note = "make the body `Clone`, or add `.replay(NoReplay)` to the `TokenLayer`: a 401 is then \
            returned, and the token refreshed behind"
)]
pub trait Replay<B> {
    /// The same body once more, if it can be had without reading this one.
    fn keep(&self, body: &B) -> Option<B>;
}

/// Replays bodies by cloning them. Meant for bodies that are cheap to clone, such as
/// `Full<Bytes>` and `Empty`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloneBody;

impl<B: Clone> Replay<B> for CloneBody {
    fn keep(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

/// Replays nothing, and so takes every body, streams included.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoReplay;

impl<B> Replay<B> for NoReplay {
    fn keep(&self, _: &B) -> Option<B> {
        None
    }
}
