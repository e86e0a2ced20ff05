//! The steps of a move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::mark::{Mark, Stage};
use super::place::{State, arriving, unavailable};
use super::progress::MoveProgress;
use super::side::Side;
use super::{Shared, copy};
use crate::error::{Error, ErrorKind};
use crate::rt::{sleep, timeout};
use crate::store::contract::{
    ByteStore, Expected, RowKey, SaveOutcome, StoreError, StoreErrorKind,
};
use crate::store::keyset::Keyset;

/// How long writes wait for the last rows, and for those that write just then.
const PAUSE: Duration = Duration::from_secs(2);
/// How often that may be too short.
const PAUSES: u32 = 8;
/// How often a row that others write as well is looked at.
const TRIES: u32 = 4;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// A move that goes on in a task of its own, so that no write of it is cut off.
pub(super) struct Run {
    stop: Arc<AtomicBool>,
}

impl Run {
    pub(super) async fn start<A: ByteStore, B: ByteStore>(
        shared: Arc<Shared<A, B>>,
        rows: usize,
    ) -> Result<MoveProgress, Error> {
        let run = Self {
            stop: Arc::default(),
        };
        let stop = Arc::clone(&run.stop);
        let running = Arc::clone(&shared.running).lock_owned().await;
        let moved = tokio::spawn(async move {
            let _running = running;
            let moving = Moving {
                shared: &shared,
                rows,
                stop: &stop,
            };
            let moved = moving.run().await;
            shared.changed.stop();
            moved.map(|()| shared.counts.so_far())
        });
        moved.await.unwrap_or_else(|error| {
            let message = "the move did not end: try again";
            Err(Error::with_source(ErrorKind::Store, message, error))
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Moving<'a, A, B> {
    shared: &'a Shared<A, B>,
    rows: usize,
    stop: &'a AtomicBool,
}

impl<A: ByteStore, B: ByteStore> Moving<'_, A, B> {
    async fn run(&self) -> Result<(), Error> {
        let Shared {
            counts, changed, ..
        } = self.shared;
        counts.begin();
        if self.begin().await? == Side::To {
            counts.done();
            return Ok(());
        }
        let mark = self.reserve().await?;
        self.copy_all(&mark).await?;
        for _ in 0..PAUSES {
            while changed.len() > self.rows {
                let written = changed.take();
                if written.is_empty() {
                    break;
                }
                for keys in written.chunks(self.rows) {
                    self.check_stop()?;
                    self.copy(keys).await?;
                }
            }
            self.check_stop()?;
            if self.close_and_flip(&mark.mark).await? {
                counts.done();
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Store,
            "writes would have to wait too long for the last rows: the stores are too slow, or too \
             busy. Try again when there is less to do",
        ))
    }

    /// Where the grants are; and from now on all is noted that is written there.
    async fn begin(&self) -> Result<Side, Error> {
        // Whoever writes now has ended then, so that the copy sees it.
        let mut state = self.closed().await?;
        let side = self.shared.settle(&mut state).await?;
        self.shared.changed.record();
        Ok(side)
    }

    /// Waits until nobody writes, and keeps it so.
    async fn closed(&self) -> Result<tokio::sync::RwLockWriteGuard<'_, State>, Error> {
        timeout(PAUSE, self.shared.state.write())
            .await
            .map_err(|_| {
                let message = "a write to the store that is moved does not end";
                unavailable(message).into()
            })
    }

    /// Makes `to` the store of this move, if it is nobody's or was that before.
    async fn reserve(&self) -> Result<Reserved, Error> {
        let Shared { from, to, .. } = self.shared;
        let key = Keyset::row_key();
        let row = from.load(&key).await?.ok_or_else(|| {
            config("there is nothing to move: the first store has no keyset. Open it first")
        })?;
        for _ in 0..TRIES {
            if let Some(there) = to.load(&key).await? {
                return match Mark::read(&there.bytes) {
                    Some(mark) if mark.stage == Stage::Left => Err(config(
                        "the store to move to was itself moved to another: take an empty one",
                    )),
                    Some(mark) if mark.keyset == row.bytes => Ok(Reserved {
                        mark,
                        is_new: false,
                    }),
                    Some(_) => Err(config(
                        "the store to move to has part of another move in it, or of this one from \
                         before its keys were changed: take an empty one",
                    )),
                    None => Err(config(
                        "the store to move to has keys, and maybe grants, of its own: take an \
                         empty one",
                    )),
                };
            }
            if !to.scan(None, 1).await?.is_empty() {
                return Err(config("the store to move to has rows: take an empty one"));
            }
            let mark = Mark::arriving(row.bytes.clone())?;
            if let SaveOutcome::Saved(_) = to.save(&key, mark.row(), Expected::Absent).await? {
                return Ok(Reserved { mark, is_new: true });
            }
        }
        Err(unavailable("the store to move to did not take its mark: try again").into())
    }

    async fn copy_all(&self, reserved: &Reserved) -> Result<(), Error> {
        let Shared {
            from, to, counts, ..
        } = self.shared;
        // The keyset's is the first of all keys.
        let mut after = Keyset::row_key();
        loop {
            self.check_stop()?;
            let page = from.scan(Some(&after), self.rows).await?;
            let Some((last, _)) = page.last() else {
                break;
            };
            (after, _) = (*last, counts.examined(page.len(), *last));
            match reserved.is_new {
                true => copy::new_rows(from, to, page, counts).await?,
                false => {
                    let keys: Vec<_> = page.into_iter().map(|(key, _)| key).collect();
                    self.copy(&keys).await?;
                }
            }
        }
        if reserved.is_new {
            return Ok(());
        }
        // What an earlier run brought, and is gone by now.
        let mut after = Keyset::row_key();
        loop {
            self.check_stop()?;
            let page = to.scan(Some(&after), self.rows).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            let keys: Vec<_> = page.into_iter().map(|(key, _)| key).collect();
            self.copy(&keys).await?;
        }
    }

    async fn copy(&self, keys: &[RowKey]) -> Result<(), StoreError> {
        let Shared {
            from, to, counts, ..
        } = self.shared;
        copy::rows(from, to, keys, counts).await
    }

    /// The last step, while nobody writes; whether there was time for it.
    async fn close_and_flip(&self, reserved: &Mark) -> Result<bool, Error> {
        let Shared {
            from,
            to,
            counts,
            changed,
            ..
        } = self.shared;
        let mut state = self.closed().await?;
        counts.paused();
        let left = changed.take_all();
        let mut copying = Box::pin(async {
            for keys in left.chunks(self.rows) {
                self.copy(keys).await?;
            }
            Ok::<_, StoreError>(())
        });
        match timeout(PAUSE, &mut copying).await {
            Ok(copied) => copied?,
            Err(_) => {
                drop(state);
                // None of its writes may come after a later one.
                copying.await?;
                return Ok(false);
            }
        }
        let ready = async {
            let key = Keyset::row_key();
            let is_reserved = arriving(to, &key, reserved).await?.is_some();
            Ok::<_, StoreError>((is_reserved, from.load(&key).await?))
        };
        let Some(ready) = timeout(PAUSE, ready).await.ok() else {
            return Ok(false);
        };
        let (true, Some(row)) = ready? else {
            return Err(config(
                "somebody else has written the keys of one of the two stores: the move stops",
            ));
        };
        *state = State::Marking {
            mark: Mark {
                stage: Stage::Left,
                keyset: row.bytes,
                ..reserved.clone()
            },
            over: row.version,
            in_doubt: false,
        };
        let mut delay = RETRY_FIRST;
        loop {
            let settled = timeout(PAUSE, self.shared.settle(&mut state)).await;
            match settled {
                Ok(Ok(side)) => return Ok(side == Side::To),
                Ok(Err(error)) if *state == State::From || is_final(&error) => {
                    return Err(error.into());
                }
                Ok(Err(_)) | Err(_) => {}
            }
            // Others may try as well: nobody knows yet where to write.
            drop(state);
            sleep(delay).await;
            delay = (delay * 2).min(RETRY_LAST);
            state = self.shared.state.write().await;
        }
    }

    fn check_stop(&self) -> Result<(), Error> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(unavailable("the move was stopped").into()),
            false => Ok(()),
        }
    }
}

/// What `to` is to this move.
struct Reserved {
    mark: Mark,
    /// Whether there was nothing in it.
    is_new: bool,
}

/// Whether trying again comes to the same.
fn is_final(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::Closed | StoreErrorKind::Moved)
}

fn config(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message)
}
