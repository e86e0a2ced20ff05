//! The same, on shuttle's scheduler.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) use shuttle::future::{JoinHandle, spawn, yield_now};
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU8};
pub(crate) use shuttle_parking_lot::{Mutex, MutexGuard};

/// The real thing, before each use of which another task may run.
pub(crate) struct Stepped<T>(T);

impl<T> Deref for Stepped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // Any access to one of shuttle's atomics is such a point.
        AtomicBool::new(false).load(Ordering::SeqCst);
        &self.0
    }
}

impl<T> fmt::Debug for Stepped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepped").finish_non_exhaustive()
    }
}

pub(crate) type ArcSwapOption<T> = Stepped<arc_swap::ArcSwapOption<T>>;

impl<T> ArcSwapOption<T> {
    pub(crate) const fn empty() -> Self {
        Self(arc_swap::ArcSwapOption::const_empty())
    }
}

pub(crate) type ArcSwap<T> = Stepped<arc_swap::ArcSwap<T>>;

impl<T> ArcSwap<T> {
    pub(crate) fn new(value: std::sync::Arc<T>) -> Self {
        Self(arc_swap::ArcSwap::new(value))
    }
}

pub(crate) mod watch {
    use super::Stepped;
    pub(crate) use tokio::sync::watch::Receiver;

    pub(crate) type Sender<T> = Stepped<tokio::sync::watch::Sender<T>>;

    impl<T> Sender<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(tokio::sync::watch::Sender::new(value))
        }
    }
}

/// There is one scheduler, and everything runs on it.
#[derive(Debug, Clone)]
pub(crate) struct Handle;

impl Handle {
    pub(crate) fn try_current() -> Result<Self, std::convert::Infallible> {
        Ok(Self)
    }

    pub(crate) fn enter(&self) -> impl Sized {}

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        spawn(task)
    }
}

/// A second never passes: what is shorter ends once others had their turn, and what is
/// longer does not end.
#[derive(Debug)]
pub(crate) struct Sleep(Duration);

pub(crate) fn sleep(span: Duration) -> Sleep {
    Sleep(span)
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0 >= Duration::from_secs(1) {
            return Poll::Pending;
        }
        shuttle::thread::yield_now();
        Poll::Ready(())
    }
}

/// Nothing is limited to less than a second.
pub(crate) async fn timeout<T>(
    _: Duration,
    work: impl Future<Output = T>,
) -> Result<T, std::convert::Infallible> {
    Ok(work.await)
}
