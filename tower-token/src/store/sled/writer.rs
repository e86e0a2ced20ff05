//! One thread that writes: it takes what is queued, applies it, flushes and syncs once,
//! then acknowledges all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::super::contract::{
    Expected, RowKey, SaveOutcome, SealedRow, StoreError, StoreErrorKind, Version,
};
use super::engine::Engine;
use super::{Pending, closed};

/// How many saves may wait; a caller beyond that waits for a place.
const QUEUE: usize = 1_024;

type SaveReply = oneshot::Sender<Result<SaveOutcome, StoreError>>;

enum Command {
    Save {
        key: RowKey,
        /// `None`: the row is removed.
        row: Option<SealedRow>,
        expected: Expected,
        reply: SaveReply,
    },
    /// Answered when every save before it was.
    Barrier(oneshot::Sender<()>),
    /// Answered when the thread has let go of the engine.
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    pending: Arc<Pending>,
    failed: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn start(engine: Arc<Engine>, pending: Arc<Pending>) -> Result<Self, StoreError> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let failed = Arc::new(AtomicBool::new(false));
        let run = Run {
            engine,
            pending: Arc::clone(&pending),
            failed: Arc::clone(&failed),
        };
        thread::Builder::new()
            .name(String::from("tower-token-sled"))
            .spawn(move || run.serve(queue))
            .map_err(|error| {
                StoreError::new(
                    StoreErrorKind::Unavailable,
                    "the writer thread did not start",
                )
                .with_source(error)
            })?;
        Ok(Self {
            commands,
            pending,
            failed,
        })
    }

    pub(super) async fn purge(&self, key: RowKey, version: Version) -> Result<bool, StoreError> {
        match self.save(key, None, Expected::Version(version)).await? {
            SaveOutcome::Saved(_) => Ok(true),
            SaveOutcome::Conflict => Ok(false),
            SaveOutcome::Unknown => Err(self.gone()),
        }
    }

    pub(super) async fn save(
        &self,
        key: RowKey,
        row: Option<SealedRow>,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.check()?;
        let place = self.commands.reserve().await.map_err(|_| self.gone())?;
        let (reply, answer) = oneshot::channel();
        self.pending.add(&key);
        place.send(Command::Save {
            key,
            row,
            expected,
            reply,
        });
        // The thread answers everything it takes, unless it dies.
        answer.await.unwrap_or(Ok(SaveOutcome::Unknown))
    }

    pub(super) async fn barrier(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Barrier(reply)).await;
        sent.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())
    }

    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// After a failed write nothing that sled says can be trusted until it was opened
    /// anew.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "the token store failed to write: look at its disk, then open it again",
            ));
        }
        Ok(())
    }
}

impl Writer {
    /// Why the thread does not answer.
    fn gone(&self) -> StoreError {
        self.check().err().unwrap_or_else(closed)
    }
}

struct Run {
    engine: Arc<Engine>,
    pending: Arc<Pending>,
    failed: Arc<AtomicBool>,
}

impl Drop for Run {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failed.store(true, Ordering::Release);
        }
    }
}

impl Run {
    fn serve(self, mut queue: mpsc::Receiver<Command>) {
        let mut round = Vec::new();
        while let Some(first) = queue.blocking_recv() {
            round.push(first);
            while round.len() < QUEUE {
                match queue.try_recv() {
                    Ok(command) => round.push(command),
                    Err(_) => break,
                }
            }
            if let Some(done) = self.write(round.drain(..)) {
                // Nothing is accepted from here on; what was is answered.
                queue.close();
                while let Ok(command) = queue.try_recv() {
                    round.push(command);
                }
                self.write(round.drain(..));
                drop(self);
                let _ = done.send(());
                return;
            }
        }
    }

    /// One round: apply all, sync once, acknowledge all.
    fn write(&self, round: impl Iterator<Item = Command>) -> Option<oneshot::Sender<()>> {
        let (mut answers, mut barriers, mut close) = (Vec::new(), Vec::new(), None);
        let mut dirty = false;
        for command in round {
            match command {
                Command::Save {
                    key,
                    row,
                    expected,
                    reply,
                } => {
                    let outcome = self.apply(&key, row.as_ref(), expected);
                    dirty |= !matches!(outcome, Ok(SaveOutcome::Conflict));
                    answers.push((key, reply, outcome));
                }
                Command::Barrier(reply) => barriers.push(reply),
                Command::Close(reply) => close = Some(reply),
            }
        }
        let synced = !dirty || (!self.failed() && self.engine.sync().is_ok());
        if !synced {
            self.failed.store(true, Ordering::Release);
        }
        for (key, reply, outcome) in answers {
            let outcome = match outcome {
                // Applied, but not known to be on the disk.
                Ok(SaveOutcome::Saved(_)) if !synced => Ok(SaveOutcome::Unknown),
                other => other,
            };
            self.pending.remove(&key);
            // A caller who was dropped does not want the answer.
            let _ = reply.send(outcome);
        }
        for reply in barriers {
            let _ = reply.send(());
        }
        close
    }

    fn apply(
        &self,
        key: &RowKey,
        row: Option<&SealedRow>,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        if self.failed() {
            return Ok(SaveOutcome::Unknown);
        }
        match self.engine.apply(key, row, expected) {
            Ok(Some(version)) => Ok(SaveOutcome::Saved(version)),
            Ok(None) => Ok(SaveOutcome::Conflict),
            Err(_) => {
                // It may have been applied in part: only a fresh open knows.
                self.failed.store(true, Ordering::Release);
                Ok(SaveOutcome::Unknown)
            }
        }
    }

    fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}
