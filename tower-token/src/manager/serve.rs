//! Serving tokens: the fast path, and the ways to wait for a refresh.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use pin_project_lite::pin_project;

use super::entry::Look;
use super::flight::Need;
use super::refresh::kept_changing;
use super::slot::{Refusal, Slot};
use super::state::{
    account_left_out, needs_reauth, not_connected, several_accounts, unknown_account,
};
use super::wanted::{Wanted, Which};
use super::{Offer, Shared};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{AccessToken, Account, Serial};
use crate::key::GrantKey;
use crate::origin::Origin;
use crate::provider::Provider;
use crate::rt::{Sleep, sleep};
use crate::secret::Secret;

/// What became of a request that wants a token.
pub(crate) enum Attached {
    /// Here it is.
    Token(AccessToken),
    /// A token has to be waited for; it may go to where the request goes.
    Wait,
}

/// How many flights one caller waits for: a second one if the first, begun for somebody
/// else, left the token as it was.
const MAX_WAITS: u32 = 2;
/// How often what was found may fall into doubt again before it is used.
const MAX_DOUBTS: u32 = 4;

impl Shared {
    /// What `key` offers now, to be asked for a token at [`now`](Self::now).
    ///
    /// This is what nearly every request comes to: one look-up, one clock read, one insert. No
    /// lock, no allocation of ours.
    pub(crate) fn offer(&self, key: &GrantKey) -> Option<Arc<Offer>> {
        self.cache.offer(key)
    }

    /// The time by which tokens are fresh.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A token for a request to `uri`, where there is none that is fresh.
    pub(crate) fn attach(
        self: &Arc<Self>,
        key: &GrantKey,
        wanted: Wanted<'_>,
        uri: &Uri,
    ) -> Result<Attached, Error> {
        let now = self.clock.now();
        let found = self.cache.with(key, |slot| {
            check_origin(slot.provider(), uri)?;
            if !slot.is_trusted(now) {
                return Ok(Attached::Wait);
            }
            Ok(match slot.look(now, wanted) {
                Look::Usable { token, due } => {
                    if due {
                        self.refresh_behind(slot, token.serial(), Need::Soon);
                    }
                    Attached::Token(token)
                }
                Look::Replace { .. }
                | Look::Several
                | Look::Spent
                | Look::Absent
                | Look::NoAccount
                | Look::Doubted
                | Look::Unknown => Attached::Wait,
            })
        });
        match found {
            Some(attached) => attached,
            None => {
                check_origin(self.provider(key.provider())?, uri)?;
                Ok(Attached::Wait)
            }
        }
    }

    /// A usable token of `key`, waited for if need be.
    pub(crate) async fn usable(
        self: &Arc<Self>,
        key: &GrantKey,
        wanted: Wanted<'_>,
    ) -> Result<AccessToken, Error> {
        if let Some(offer) = self.offer(key)
            && offer.is_fresh_for(self.clock.now(), wanted)
            && let Some(token) = offer.token(wanted.which)
        {
            return Ok(token.clone());
        }
        let slot = self.hold(key)?;
        slot.touch();
        let mut deadline = pin!(self.deadline());
        let (mut loaded, mut waits, mut doubts) = (false, 0, 0);
        let now = self.clock.now();
        if !slot.is_trusted(now) {
            // Else the look may be somebody else's, and older than what was asked for here.
            loaded = !slot.is_heard(now);
            let served = self.confirm(&slot, wanted.which, deadline.as_mut()).await?;
            if let Some(token) = served {
                return Ok(token);
            }
        }
        loop {
            // What it finds is looked at before anything is waited for: it would be kept meanwhile.
            let replace = match slot.look(self.clock.now(), wanted) {
                Look::Usable { token, due } => {
                    if due {
                        self.refresh_behind(&slot, token.serial(), Need::Soon);
                    }
                    return Ok(token);
                }
                // The service issues none that would do.
                Look::Replace {
                    usable: Some(token),
                    ..
                } if waits > 0 => return Ok(token),
                Look::Replace { serial, usable } if waits < MAX_WAITS => {
                    Some((serial, usable.is_some()))
                }
                Look::Spent | Look::Absent | Look::Several | Look::NoAccount | Look::Unknown
                    if !loaded =>
                {
                    None
                }
                // Since it was looked at: nobody is sent away for that.
                Look::Doubted if doubts < MAX_DOUBTS => {
                    doubts += 1;
                    let served = self.confirm(&slot, wanted.which, deadline.as_mut()).await?;
                    if let Some(token) = served {
                        return Ok(token);
                    }
                    continue;
                }
                Look::Doubted => return Err(kept_changing()),
                Look::Spent => return Err(needs_reauth()),
                Look::Absent => return Err(account_left_out()),
                Look::NoAccount => return Err(unknown_account()),
                Look::Several => return Err(several_accounts()),
                Look::Unknown => return Err(not_connected()),
                Look::Replace { .. } if slot.work().flight().is_some() => {
                    return Err(Error::new(
                        ErrorKind::Store,
                        "a refreshed token has expired before it could be stored: look at the store",
                    ));
                }
                Look::Replace { .. } => {
                    return Err(Error::new(
                        ErrorKind::TokenService,
                        "the token service issues tokens that have expired on arrival",
                    ));
                }
            };
            let Some((stale, token_was_usable)) = replace else {
                loaded = true;
                let found = before(deadline.as_mut(), Box::pin(self.load(&slot))).await?;
                if found.is_none() {
                    slot.vanish();
                }
                continue;
            };
            waits += 1;
            // Not kept in a variable: a future that is moved takes its room twice.
            if let Err(error) = self
                .wait(&slot, stale, deadline.as_mut(), token_was_usable)
                .await
            {
                let ended = matches!(
                    error.kind(),
                    ErrorKind::NotConnected | ErrorKind::NeedsReauth
                );
                if ended && !loaded && waits < MAX_WAITS {
                    // What it saw of the row may be older than what we were told.
                    continue;
                }
                let confirmed = match slot.is_trusted(self.clock.now()) {
                    true => Ok(None),
                    false => self.confirm(&slot, wanted.which, deadline).await,
                };
                return match confirmed {
                    Ok(Some(token)) => Ok(token),
                    Ok(None) => self.usable_after_all(&slot, wanted.which).ok_or(error),
                    Err(_) => Err(error),
                };
            }
        }
    }

    /// What is there when a wait came to nothing: an error never replaces a usable token,
    /// and somebody may have brought one meanwhile.
    fn usable_after_all(&self, slot: &Slot, which: Which<'_>) -> Option<AccessToken> {
        let min_validity = Duration::ZERO;
        let wanted = Wanted {
            which,
            min_validity,
        };
        match slot.look(self.clock.now(), wanted) {
            Look::Usable { token, .. } => Some(token),
            _ => None,
        }
    }

    /// After a 401 for the token of `serial`: a newer one to send the request with again,
    /// or nothing where another would not help or none could be had.
    pub(crate) async fn replace_refused(
        self: &Arc<Self>,
        key: &GrantKey,
        which: Which<'_>,
        serial: Serial,
    ) -> Option<AccessToken> {
        let slot = self.hold(key).ok()?;
        if !slot.is_trusted(self.clock.now()) {
            let deadline = pin!(self.deadline());
            let confirmed = self.confirm(&slot, which, deadline).await;
            if !matches!(confirmed, Ok(None)) {
                // Whoever is served what is in doubt is not served this one.
                self.note_refusal(&slot, which, serial);
                return None;
            }
        }
        let stale = match self.note_refusal(&slot, which, serial) {
            Refusal::Replaced(token) => return Some(token),
            Refusal::Again => return None,
            Refusal::Replace { stale } => stale,
        };
        let mut deadline = pin!(self.deadline());
        // Twice: the flight that is joined may have begun for an older token.
        for _ in 0..MAX_WAITS {
            let waited = self.wait(&slot, stale, deadline.as_mut(), false).await;
            let newer = self
                .usable_after_all(&slot, which)
                .filter(|token| token.serial() > stale);
            if newer.is_some() || waited.is_err() {
                return newer;
            }
        }
        None
    }

    /// After a 401 that goes back to the caller: refreshes for whoever comes next.
    pub(crate) fn replace_refused_behind(
        self: &Arc<Self>,
        key: &GrantKey,
        which: Which<'_>,
        serial: Serial,
    ) {
        if let Ok(slot) = self.hold(key)
            && let Refusal::Replace { stale } = self.note_refusal(&slot, which, serial)
        {
            self.refresh_behind(&slot, stale, Need::Now);
        }
    }

    fn note_refusal(&self, slot: &Slot, which: Which<'_>, serial: Serial) -> Refusal {
        self.emit(slot, EventKind::Refused { serial });
        if slot.provider().policy.ignore_refusals {
            return Refusal::Again;
        }
        slot.refuse(serial, which, self.clock.now())
    }

    /// The accounts of `key` with usable tokens, refreshed first if need be.
    pub(crate) async fn accounts(
        self: &Arc<Self>,
        key: &GrantKey,
        min_validity: Duration,
    ) -> Result<Vec<Account>, Error> {
        // Held, so that what the wait brings is not evicted before it is read.
        let slot = self.hold(key)?;
        let wanted = Wanted::NEWEST.valid_for(min_validity);
        self.usable(key, wanted).await?;
        Ok(slot.usable_accounts(self.clock.now()))
    }

    /// Refreshes now, with what the user answered to what the token service asked for.
    pub(crate) async fn refresh_with(
        self: Arc<Self>,
        key: GrantKey,
        code: Secret,
    ) -> Result<(), Error> {
        let slot = self.hold(&key)?;
        let mut deadline = pin!(self.deadline());
        // Another instance may be ahead: what is here would only be adopted.
        before(deadline.as_mut(), Box::pin(self.load(&slot))).await?;
        let stale = slot.serial().ok_or_else(not_connected)?;
        slot.work().busy().user_code = Some(code);
        let mut landed = Ok(());
        // Twice: a flight that was under way may have begun its exchange without it.
        for _ in 0..MAX_WAITS {
            // What failed for want of it may be tried again at once.
            slot.work().forget_failures();
            landed = match self.join(&slot, stale, Need::Now) {
                Ok(flight) => before(deadline.as_mut(), flight.landed()).await,
                Err(error) => Err(error),
            };
            if slot.serial() > Some(stale) {
                landed = Ok(());
                break;
            }
            if !slot.work().has_user_code() {
                break;
            }
        }
        // It is good for once.
        slot.work().take_user_code();
        landed
    }

    /// Waits for the flight that replaces the token of `stale`.
    async fn wait(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        stale: Serial,
        deadline: Pin<&mut Sleep>,
        token_was_usable: bool,
    ) -> Result<(), Error> {
        let need = if token_was_usable {
            Need::Soon
        } else {
            Need::Now
        };
        let flight = match self.join(slot, stale, need) {
            Ok(flight) => flight,
            Err(error) => {
                // Too early for us: another instance may have refreshed it meanwhile.
                let look = slot.work().may_look(self.clock.now());
                if look {
                    // What it says is in the slot.
                    let _ = before(deadline, Box::pin(self.load(slot))).await;
                }
                return Err(error);
            }
        };
        let started = self.clock.now();
        let (began_for, began_as) = (flight.stale, flight.need);
        let landed = before(deadline, flight.landed()).await;
        let took = self.clock.now().since(started);
        self.emit(
            slot,
            EventKind::Waited {
                took,
                token_was_usable,
            },
        );
        match landed {
            // The user has connected anew since it began, or it risked less than whoever is in
            // need: its failure is not theirs.
            Err(error)
                if error.kind() != ErrorKind::Timeout
                    && (began_for.epoch < stale.epoch
                        || (began_as, need) == (Need::Soon, Need::Now)) =>
            {
                Ok(())
            }
            landed => landed,
        }
    }

    /// How long a caller waits, from now on. The caller may be on another runtime than
    /// ours, or on none.
    fn deadline(&self) -> Sleep {
        let _runtime = self.runtime.enter();
        sleep(self.wait_deadline)
    }
}

/// What `work` comes to, if it does so before `deadline`. It takes the room of `work` and no more,
/// since thousands may wait: one that is rare and large goes into a box.
pub(super) fn before<W>(deadline: Pin<&mut Sleep>, work: W) -> Before<'_, W> {
    Before { work, deadline }
}

pin_project! {
    pub(super) struct Before<'a, W> {
        #[pin]
        work: W,
        deadline: Pin<&'a mut Sleep>,
    }
}

impl<T, W: Future<Output = Result<T, Error>>> Future for Before<'_, W> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let before = self.project();
        if let Poll::Ready(done) = before.work.poll(cx) {
            return Poll::Ready(done);
        }
        before.deadline.as_mut().poll(cx).map(|()| {
            Err(Error::new(
                ErrorKind::Timeout,
                "no token was there before the caller's deadline; the refresh goes on",
            ))
        })
    }
}

/// A token goes only to an origin its provider allows.
fn check_origin(provider: &Provider, uri: &Uri) -> Result<(), Error> {
    if provider.policy.allows(uri) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::ForeignOrigin,
        match Origin::of(uri) {
            Ok(origin) => format!(
                "provider {:?} does not allow its tokens to go to {origin}: if they should, add \
                 .allow_origin(\"{origin}\") to it",
                provider.name
            ),
            Err(why) => format!("no token may go to the request's URL: {why}"),
        },
    ))
}
