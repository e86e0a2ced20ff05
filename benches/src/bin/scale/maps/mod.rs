//! What a program would do without us: a map of its users' tokens, and a middleware that looks
//! them up.

mod bare;
#[cfg(feature = "peers")]
mod dashmap;
#[cfg(feature = "peers")]
mod moka;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use benches::BoxError;
use benches::noop::{Noop, now};
use benches::ours::{key, token};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Request, Response};
use tower_service::Service;
use tower_token::{Clock as _, SystemClock, Timestamp};

pub use self::bare::Bare;
#[cfg(feature = "peers")]
pub use self::{dashmap::Dash, moka::Moka};

/// How long a token lives.
const DAY: Duration = Duration::from_secs(86_400);

/// In the extensions of a request: whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The same as our keys hold.
    pub fn new(user: usize) -> Self {
        Self(key(user).subject().into())
    }
}

/// Tokens by user.
pub trait Tokens: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    /// So many users, each with a fresh token of so many bytes.
    fn connected(users: usize, token_len: usize) -> Result<Self, BoxError>;

    /// Inserts the header of a user's token, if that is fresh.
    fn attach(&self, user: &str, headers: &mut HeaderMap) -> Option<()>;
}

/// A header that is made once, and when its token falls due.
struct Cached {
    header: HeaderValue,
    due_at: Timestamp,
}

impl Cached {
    fn new(user: usize, token_len: usize, clock: &SystemClock) -> Result<Self, BoxError> {
        let mut header = HeaderValue::try_from(format!("Bearer {}", token(user, token_len)))?;
        header.set_sensitive(true);
        // The first clone makes room for a count: that is not to be paid while it is measured.
        drop(header.clone());
        Ok(Self {
            header,
            due_at: clock.now() + DAY,
        })
    }

    fn attach(&self, now: Timestamp, headers: &mut HeaderMap) -> Option<()> {
        (now < self.due_at).then(|| {
            headers.insert(AUTHORIZATION, self.header.clone());
        })
    }
}

/// A middleware around a service that does nothing.
#[derive(Clone)]
pub struct Attach<T>(pub T);

impl<T: Tokens, B> Service<Request<B>> for Attach<T> {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Taken out, so that the user's id need not be cloned.
        let mut headers = std::mem::take(request.headers_mut());
        let user = request.extensions().get::<UserId>();
        let attached = user.and_then(|user| self.0.attach(&user.0, &mut headers));
        *request.headers_mut() = headers;
        let answer = match attached {
            Some(()) => now(Noop.call(request))
                .ok_or("it was not ready at once".into())
                .and_then(|answer| answer.map_err(Into::into)),
            None => Err("there is no fresh token".into()),
        };
        ready(answer)
    }
}
