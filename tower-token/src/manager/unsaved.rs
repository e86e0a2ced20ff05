//! How many refreshed tokens wait in memory because the store does not take them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Shared;
use crate::error::{Error, ErrorKind};

/// A bounded count: each that waits is lost if the process dies.
#[derive(Debug)]
pub(super) struct Unsaved {
    held: AtomicUsize,
    most: usize,
}

impl Unsaved {
    pub(super) fn new(most: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            most,
        }
    }

    /// Counts one for as long as it waits.
    pub(super) fn hold(&self) -> Held<'_> {
        self.held.fetch_add(1, Ordering::Relaxed);
        Held(self)
    }
}

pub(super) struct Held<'a>(&'a Unsaved);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// No exchange begins while too many tokens of earlier ones wait to be stored. Those
    /// under way may still join them.
    pub(super) fn check_unsaved(&self) -> Result<(), Error> {
        if self.unsaved.held.load(Ordering::Relaxed) < self.unsaved.most {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Store,
            "as many refreshed tokens as may be wait to be stored, so nothing else is refreshed: \
             look at the store",
        ))
    }
}
