//! An answer whose headers are looked at on the way out.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Response};
use pin_project_lite::pin_project;

pin_project! {
    /// The response future of [`NoStore`](crate::NoStore) and
    /// [`HostCookies`](crate::HostCookies).
    #[must_use = "futures do nothing unless polled"]
    pub struct EditedResponse<F> {
        #[pin]
        response: F,
        edit: fn(&mut HeaderMap),
    }
}

impl<F> EditedResponse<F> {
    pub(super) fn new(response: F, edit: fn(&mut HeaderMap)) -> Self {
        Self { response, edit }
    }
}

impl<F, A, E> Future for EditedResponse<F>
where
    F: Future<Output = Result<Response<A>, E>>,
{
    type Output = Result<Response<A>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.response.poll(cx))?;
        (this.edit)(response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for EditedResponse<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EditedResponse").finish_non_exhaustive()
    }
}
