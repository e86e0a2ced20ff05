//! What was sent to a store, to be known when it is found there.

use std::collections::VecDeque;

use super::seal::{self, Nonce};
use crate::rt::Mutex;

/// How many writes are remembered: more than may be on their way at once.
const KEPT: usize = 64;

/// The writes of one who may not hear what became of them.
///
/// Each was sealed by a nonce of its own. By that it is known also where its key is gone.
#[derive(Debug, Default)]
pub(crate) struct Sent(Mutex<VecDeque<Nonce>>);

impl Sent {
    pub(super) fn note(&self, sealed: &[u8]) {
        let mut sent = self.0.lock();
        if sent.len() == KEPT {
            sent.pop_front();
        }
        sent.extend(seal::nonce(sealed));
    }

    pub(super) fn knows(&self, sealed: &[u8]) -> bool {
        seal::nonce(sealed).is_some_and(|nonce| self.0.lock().contains(&nonce))
    }
}
