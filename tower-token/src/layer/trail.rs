//! Where a request has been before, if it is a hop of a redirect that we follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Request;

/// In the extensions of every hop of one request. Somebody whom it does not trust may have chosen
/// what is asked for by the next: from then on there is no token in it, wherever it goes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail(Arc<AtomicBool>);

impl Trail {
    pub(crate) fn lose(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn of<B>(request: &Request<B>) -> Option<&Self> {
        request.extensions().get()
    }
}

/// Whether there is to be no token in it any more.
pub(super) fn is_lost<B>(request: &Request<B>) -> bool {
    Trail::of(request).is_some_and(|trail| trail.0.load(Ordering::Relaxed))
}

/// It goes where no token may go.
pub(super) fn lose<B>(request: &Request<B>) {
    if let Some(trail) = Trail::of(request) {
        trail.lose();
    }
}
