//! What stands between the store and its engine: whether there is one now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::super::contract::{StoreError, StoreErrorKind};
use super::engine::{Engine, guarded};
use super::rows::Rows;

pub(super) struct Door<E> {
    state: RwLock<State<E>>,
    /// Rises each time an engine was found to fail: what was read through it before then may
    /// not be on the disk.
    turn: AtomicU64,
    /// Nothing more is accepted; what was is still being finished.
    closed: AtomicBool,
}

enum State<E> {
    Open(Box<Rows<E>>),
    /// It failed: the reason, and the kind of error that callers get until it is open again.
    Away(Arc<StoreError>, StoreErrorKind),
    /// For good.
    Gone,
}

impl<E: Engine> Door<E> {
    pub(super) fn new(rows: Rows<E>) -> Self {
        Self {
            state: RwLock::new(State::Open(Box::new(rows))),
            turn: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Asks the engine for something, on behalf of a caller.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Rows<E>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        self.engine(read)
    }

    /// The same for the writer, which has to finish what was accepted before a close.
    pub(super) fn engine<T>(
        &self,
        ask: impl FnOnce(&Rows<E>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.state.read() {
            State::Open(rows) => guarded(|| ask(rows)),
            State::Away(reason, kind) => Err(away(reason, *kind)),
            State::Gone => Err(closed()),
        }
    }

    /// Whether there is an engine to ask.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.read(|_| Ok(()))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.state.read(), State::Open(_))
    }

    /// Which engine it is, counted from the first. What was read in one turn counts only
    /// if the turn is still the same when it is known to be on the disk.
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    /// Lets go of an engine that cannot be trusted any more. Whether anything is damaged is for
    /// the next open to say.
    pub(super) fn shut(&self, reason: StoreError) {
        self.set(State::Away(Arc::new(reason), StoreErrorKind::Unavailable));
        // After: whoever sees the new turn does not get the old engine.
        self.turn.fetch_add(1, Ordering::AcqRel);
    }

    /// It was tried to open it again.
    pub(super) fn stay_shut(&self, reason: StoreError) {
        let kind = reason.kind();
        self.set(State::Away(Arc::new(reason), kind));
    }

    pub(super) fn open(&self, rows: Rows<E>) {
        self.set(State::Open(Box::new(rows)));
    }

    /// Turns callers away from here on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Lets go of the engine for good.
    pub(super) fn end(&self) {
        self.close();
        self.set(State::Gone);
    }

    /// Readers are done with the old engine once the new state is in; an engine flushes,
    /// and can panic, when it is dropped.
    fn set(&self, state: State<E>) {
        let old = std::mem::replace(&mut *self.state.write(), state);
        // What it says of a failing disk is known already.
        let _ = guarded(move || {
            drop(old);
            Ok(())
        });
    }
}

fn away(reason: &Arc<StoreError>, kind: StoreErrorKind) -> StoreError {
    let message = match kind {
        StoreErrorKind::Unavailable => format!(
            "the token store failed and takes no writes: it is being opened again until that \
             works, and no restart is needed ({reason})"
        ),
        _ => format!("the token store failed, and cannot be opened again: {reason}"),
    };
    StoreError::new(kind, message).with_source(Arc::clone(reason))
}

fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Closed, "the store was closed")
}
