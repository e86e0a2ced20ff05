//! One thread that writes: it takes what is queued, and what comes while that is applied,
//! flushes and syncs once, then acknowledges all of it. When that fails it lets go of the
//! engine, and opens it again until that works.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::super::contract::{
    Expected, RowKey, SaveOutcome, SealedRow, StoreError, StoreErrorKind, Version,
};
use super::disk::Step;
use super::door::Door;
use super::engine::{Engine, guarded};
use super::folder::Folder;
use super::pending::Pending;
use super::round::{QUEUE, Round, nap};
use super::rows::{Applied, Rows};
use crate::clock::Timestamp;

/// Between attempts to open again: after the first, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

enum Command {
    Save(Save),
    /// Answered when every save before it was.
    Barrier(oneshot::Sender<()>),
    /// A read failed: whether the engine can be trusted is to be seen.
    Suspect,
    /// An entry of the index that its row contradicted.
    ForgetDue(RowKey, Timestamp),
    /// Nothing is accepted after it.
    Close,
}

struct Save {
    key: RowKey,
    /// `None`: the row is removed.
    row: Option<SealedRow>,
    expected: Expected,
    reply: oneshot::Sender<Result<SaveOutcome, StoreError>>,
}

pub(super) struct Writer<E> {
    commands: mpsc::Sender<Command>,
    /// Closes when the thread has let go of everything.
    gone: watch::Receiver<()>,
    door: Arc<Door<E>>,
    pending: Arc<Pending>,
}

impl<E: Engine> Writer<E> {
    pub(super) fn start(
        folder: Folder,
        door: Arc<Door<E>>,
        pending: Arc<Pending>,
    ) -> Result<Self, StoreError> {
        // A caller beyond that waits for a place.
        let (commands, queue) = mpsc::channel(QUEUE);
        let (alive, gone) = watch::channel(());
        let run = Run {
            door: Arc::clone(&door),
            pending: Arc::clone(&pending),
            wait: Duration::ZERO,
            folder,
            _alive: alive,
        };
        thread::Builder::new()
            .name(format!("tower-token-{}", E::NAME))
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
            gone,
            door,
            pending,
        })
    }

    pub(super) async fn purge(&self, key: RowKey, version: Version) -> Result<bool, StoreError> {
        match self.save(key, None, Expected::Version(version)).await? {
            SaveOutcome::Saved(_) => Ok(true),
            SaveOutcome::Conflict => Ok(false),
            SaveOutcome::Unknown => Err(self.why()),
        }
    }

    pub(super) async fn save(
        &self,
        key: RowKey,
        row: Option<SealedRow>,
        expected: Expected,
    ) -> Result<SaveOutcome, StoreError> {
        self.door.check()?;
        let place = self.commands.reserve().await.map_err(|_| self.why())?;
        let (reply, answer) = oneshot::channel();
        self.pending.add(&key);
        place.send(Command::Save(Save {
            key,
            row,
            expected,
            reply,
        }));
        // The thread answers everything it takes, unless it dies.
        answer.await.unwrap_or(Ok(SaveOutcome::Unknown))
    }

    pub(super) async fn barrier(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Barrier(reply)).await;
        sent.map_err(|_| self.why())?;
        answer.await.map_err(|_| self.why())
    }

    /// Has the engine looked at. Where the queue is full, the saves in it do that.
    pub(super) fn suspect(&self) {
        let _ = self.commands.try_send(Command::Suspect);
    }

    /// Has an entry of the index removed, if its row is not due then. It only costs a look each
    /// time, so it is left where the queue is full.
    pub(super) fn forget_due(&self, key: RowKey, due: Timestamp) {
        let _ = self.commands.try_send(Command::ForgetDue(key, due));
    }

    /// Returns when what was accepted is finished, and the folder is free.
    pub(super) async fn close(&self) {
        self.door.close();
        // If nobody takes it, the thread is ending already.
        let _ = self.commands.send(Command::Close).await;
        while self.gone.clone().changed().await.is_ok() {}
    }

    /// Why there is no answer.
    fn why(&self) -> StoreError {
        self.door.check().err().unwrap_or_else(failed)
    }
}

/// Of the thread. Fields drop in order: the folder's lock goes before whoever waits for a close
/// is told.
struct Run<E: Engine> {
    door: Arc<Door<E>>,
    pending: Arc<Pending>,
    /// Before the next attempt to open again: nothing, if all went well since the last.
    wait: Duration,
    folder: Folder,
    _alive: watch::Sender<()>,
}

impl<E: Engine> Drop for Run<E> {
    fn drop(&mut self) {
        // While the folder is still ours.
        self.door.end();
    }
}

impl<E: Engine> Run<E> {
    fn serve(mut self, mut queue: mpsc::Receiver<Command>) {
        let disk = self.folder.disk();
        let wait = || {
            let _ = disk.before(Step::Wait);
            nap();
        };
        let mut before = 0;
        while let Some(first) = queue.blocking_recv() {
            let mut round = Round::new(first, &mut queue, before, wait);
            let close;
            (before, close) = self.write(&mut round);
            if close {
                // What was accepted is answered: the loop ends when nothing is left.
                queue.close();
            }
            if !self.door.is_open() {
                self.open_again(&mut queue);
            }
        }
    }

    /// One round: apply all, sync once, acknowledge all. How many saves there were, and whether
    /// it was the last.
    fn write(&mut self, commands: impl Iterator<Item = Command>) -> (usize, bool) {
        let (mut answers, mut barriers) = (Vec::new(), Vec::new());
        let (mut dirty, mut close) = (false, false);
        let mut round = self.door.engine(Rows::begin);
        for command in commands {
            match command {
                Command::Save(save) => {
                    let outcome = match &mut round {
                        Ok(round) => self.apply(round, &save),
                        Err(_) => Ok(Err(failed())),
                    };
                    let outcome = outcome.unwrap_or_else(|error| {
                        // It may have been applied in part: only a fresh open knows.
                        abandon(std::mem::replace(&mut round, Err(error)));
                        Ok(SaveOutcome::Unknown)
                    });
                    // One that could not look leaves the engine to be looked at.
                    dirty |= matches!(outcome, Ok(SaveOutcome::Saved(_)) | Err(_));
                    answers.push((save, outcome));
                }
                // Nothing is before it that was not answered.
                Command::Barrier(reply) if answers.is_empty() => {
                    let _ = reply.send(());
                }
                Command::Barrier(reply) => barriers.push(reply),
                Command::Suspect => dirty = true,
                Command::ForgetDue(key, due) => {
                    let forgotten = match &mut round {
                        Ok(round) => self.door.engine(|rows| rows.forget_due(round, &key, due)),
                        Err(_) => Ok(false),
                    };
                    match forgotten {
                        Ok(forgotten) => dirty |= forgotten,
                        Err(error) => abandon(std::mem::replace(&mut round, Err(error))),
                    }
                }
                Command::Close => close = true,
            }
        }
        let failure = match round {
            Ok(round) if dirty => {
                let failure = self.door.engine(|rows| rows.commit(round)).err();
                if failure.is_some() {
                    self.folder.suspect();
                }
                failure
            }
            Ok(round) => {
                abandon(round);
                None
            }
            Err(error) => {
                // It may have been a sync of the engine's own.
                if self.door.engine(Rows::sync_file).is_err() {
                    self.folder.suspect();
                }
                Some(error)
            }
        };
        let synced = failure.is_none();
        match failure {
            // Before anything stops being pending: who has read what is not on the disk
            // finds that it has to read again.
            Some(error) => self.door.shut(error),
            None if dirty => self.wait = Duration::ZERO,
            None => {}
        }
        // All at once, and before anybody is told: whoever is goes on at once, and would find the
        // lock held.
        self.pending
            .remove(answers.iter().map(|(save, _)| &save.key));
        let saves = answers.len();
        for (save, outcome) in answers {
            let outcome = match outcome {
                // Applied, but not known to be on the disk.
                Ok(SaveOutcome::Saved(_)) if !synced => Ok(SaveOutcome::Unknown),
                // With something that may be gone at the next open.
                Ok(SaveOutcome::Conflict) if !synced => Err(failed()),
                other => other,
            };
            // A caller who was dropped does not want the answer.
            let _ = save.reply.send(outcome);
        }
        for reply in barriers {
            let _ = reply.send(());
        }
        (saves, close)
    }

    /// The outer error says that the engine cannot be trusted any more, the inner one that
    /// nothing was written.
    fn apply(
        &self,
        round: &mut E::Round,
        save: &Save,
    ) -> Result<Result<SaveOutcome, StoreError>, StoreError> {
        let applied = self
            .door
            .engine(|rows| rows.apply(round, &save.key, save.row.as_ref(), save.expected))?;
        Ok(match applied {
            Applied::Saved(version) => Ok(SaveOutcome::Saved(version)),
            Applied::Conflict => Ok(SaveOutcome::Conflict),
            Applied::Unreadable(error) => Err(error),
        })
    }

    /// Returns with the engine open again, or when the store was closed meanwhile.
    fn open_again(&mut self, queue: &mut mpsc::Receiver<Command>) {
        loop {
            if !self.turn_away(queue) {
                return;
            }
            self.wait = (2 * self.wait).clamp(FIRST_WAIT, LONGEST_WAIT);
            let opened = self.folder.recover::<E>();
            match opened.and_then(|()| Rows::open(&mut self.folder)) {
                Ok(rows) => return self.door.open(rows),
                Err(error) => self.door.stay_shut(error),
            }
        }
    }

    /// Waits before the next attempt, and answers what comes in the meantime. `false` if
    /// nothing more can come.
    fn turn_away(&self, queue: &mut mpsc::Receiver<Command>) -> bool {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let Ok(runtime) = runtime.enable_time().build() else {
            thread::sleep(self.wait);
            return true;
        };
        let all = async {
            while let Some(command) = queue.recv().await {
                match command {
                    Command::Save(save) => {
                        let why = self.door.check().err().unwrap_or_else(failed);
                        self.pending.remove([&save.key]);
                        let _ = save.reply.send(Err(why));
                    }
                    Command::Barrier(reply) => drop(reply.send(())),
                    Command::Suspect | Command::ForgetDue(..) => {}
                    Command::Close => queue.close(),
                }
            }
        };
        // A timer is made within its runtime.
        let bounded = async { tokio::time::timeout(self.wait, all).await };
        runtime.block_on(bounded).is_err()
    }
}

/// Lets go of a round, or of what is left of one. An engine may panic at that.
fn abandon<T>(round: T) {
    let _ = guarded(move || {
        drop(round);
        Ok(())
    });
}

/// To a save of which nothing was written.
fn failed() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "the token store failed, and is being opened again: save once more in a moment",
    )
}
