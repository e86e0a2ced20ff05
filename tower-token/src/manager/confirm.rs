//! Finding a grant in the store once more, before its tokens are used: what others did to it may
//! have been missed, or nothing was heard for too long.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::entry::Look;
use super::landed::{Landed, Wait};
use super::serve::before;
use super::slot::{Hold, Slot};
use super::wanted::{Wanted, Which};
use super::{Call, OnStale, Shared};
use crate::error::{Error, ErrorKind};
use crate::grant::AccessToken;
use crate::rt::{Sleep, timeout};

/// A look that takes longer has failed.
const LOOK: Duration = Duration::from_secs(5);

/// A look at the store under way, for all who wait for it.
struct Looking {
    slot: Hold,
    landed: Arc<Landed>,
}

impl Looking {
    fn end(&self, result: Result<(), Error>) {
        self.slot.work().busy().look = None;
        self.landed.tell(result);
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if !self.landed.is_over() {
            let message = "a look at the store panicked, or its runtime is gone";
            self.end(Err(Error::new(ErrorKind::Store, message)));
        }
    }
}

impl Shared {
    /// Looks whether the user is still there. Where the store does not say, a token that is used
    /// all the same, if the operator wants that ([`OnStale::Serve`](crate::OnStale)).
    #[cold]
    pub(super) async fn confirm(
        self: &Arc<Self>,
        slot: &Hold,
        which: Which<'_>,
        deadline: Pin<&mut Sleep>,
    ) -> Result<Option<AccessToken>, Error> {
        // Nobody waits each time for what is known not to answer.
        if self.outage.is_away()
            && let Some(token) = self.usable_in_doubt(slot, which)
        {
            return Ok(Some(token));
        }
        let look = match slot.is_heard(self.clock.now()) {
            true => before(deadline, self.look_for_all(slot)).await,
            // What somebody else has begun to ask may be answered by what is over.
            false => before(deadline, Box::pin(self.look_again(slot))).await,
        };
        match look {
            Ok(()) => Ok(None),
            Err(error) => match self.usable_in_doubt(slot, which) {
                Some(token) => Ok(Some(token)),
                None => Err(unconfirmed(error)),
            },
        }
    }

    /// What is used because nobody can say better.
    fn usable_in_doubt(&self, slot: &Slot, which: Which<'_>) -> Option<AccessToken> {
        if self.on_stale == OnStale::FailClosed {
            return None;
        }
        let wanted = Wanted {
            which,
            min_validity: Duration::ZERO,
        };
        match slot.look_in_doubt(self.clock.now(), wanted) {
            Look::Usable { token, .. } => Some(token),
            _ => None,
        }
    }

    async fn look_again(&self, slot: &Slot) -> Result<(), Error> {
        let found = timeout(LOOK, self.load(slot)).await.unwrap_or_else(|_| {
            let message = "the token store did not say in time whether the user is still there";
            self.noted(Call::Read, Err(Error::new(ErrorKind::Store, message)))
        });
        if found?.is_none() {
            slot.vanish();
        }
        Ok(())
    }

    /// One look for all who ask: after an outage they all come at once. What falls into doubt
    /// meanwhile is looked up once more.
    fn look_for_all(self: &Arc<Self>, slot: &Hold) -> Wait {
        let mut work = slot.work();
        if let Some(look) = &work.busy().look {
            return Arc::clone(look).wait();
        }
        let landed = Arc::new(Landed::under_way());
        work.busy().look = Some(Arc::clone(&landed));
        let looking = Looking {
            slot: slot.again(&mut work),
            landed: Arc::clone(&landed),
        };
        drop(work);
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            let found = shared.look_again(&looking.slot).await;
            looking.end(found);
        });
        landed.wait()
    }
}

fn unconfirmed(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Store => Error::with_source(
            ErrorKind::Store,
            "nobody knows whether the user has left: what other instances did was missed, or not \
             heard for longer than max_stale, and the store does not answer",
            error,
        ),
        _ => error,
    }
}
