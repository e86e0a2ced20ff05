//! What a flight does, in the one order that loses nothing:
//!
//! lease, load, write the intent, exchange, save, publish, release.
//!
//! The lease only avoids work. The intent is the fence before the refresh token is
//! spent: whoever finds one knows that the token may be gone. The save's compare-and-set
//! is the fence after it.

use std::sync::Arc;
use std::time::Duration;

use super::decide::{Decision, Situation, decide, risked_from};
use super::failure::{clear_intent, failed};
use super::gate::Pass;
use super::lease::{HeldLease, Leased, Race, take_lease};
use super::save::{Attempt, Save};
use super::slot::Slot;
use super::state::{needs_reauth, not_connected, shut_down};
use super::upkeep::renew_from;
use super::{Opened, Shared};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{ExchangeId, Intent, Record, Serial, TokenResponse};
use crate::provider::{RefreshError, RefreshRequest, Rotation, Verdict};
use crate::rt::{sleep, timeout};
use crate::store::{Expected, SaveOutcome, Version};

/// How often a row may change under a refresh before it is left for later.
pub(super) const MAX_CONFLICTS: u32 = 8;

/// How long after an unknown outcome the refresh token is sent again, where its service
/// allows that; doubling within one flight, up to the last.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_LAST: Duration = Duration::from_secs(6);
/// A service that asks for longer than this is left alone until somebody asks for a token.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How a flight ended.
pub(super) enum Outcome {
    /// The slot serves a newer token than the one to be replaced.
    Done,
    /// So it does, but the token could not be stored yet.
    Unsaved(Box<Save>),
    /// It may be tried again later.
    Failed {
        error: Error,
        retry_after: Option<Duration>,
    },
    /// The refresh token was sent, and may have been spent.
    Unknown {
        error: Error,
        retry_after: Option<Duration>,
    },
    /// An earlier outcome is unknown, and it is too early to risk another.
    NotBefore(Timestamp),
    /// The grant is not there, or cannot be refreshed.
    Ended(Error),
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        Self::Failed {
            error,
            retry_after: None,
        }
    }
}

/// Replaces the access token of `stale`, by what the store has or by an exchange.
pub(super) async fn run(shared: &Arc<Shared>, slot: &Arc<Slot>, stale: Serial) -> Outcome {
    let mut race = Race::default();
    match take_lease(shared, slot, stale, &mut race).await {
        Ok(Leased::Taken(mut lease)) => {
            let outcome = under_lease(shared, slot, stale, &mut lease, &mut race).await;
            lease.release().await;
            outcome
        }
        Ok(Leased::Adopted) => Outcome::Done,
        Err(error) => error.into(),
    }
}

async fn under_lease(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    stale: Serial,
    lease: &mut HeldLease,
    race: &mut Race,
) -> Outcome {
    let (mut conflicts, mut again, mut lost) = (0, AGAIN_FIRST, None::<Outcome>);
    let mut knows_the_time = false;
    // Once: a store that fails now and then would put it off for ever.
    let holder_first = lease.earliest() + shared.outage.holder_first(shared.clock.now());
    // Each round begins with what the store has; a lost compare-and-set starts another.
    while conflicts < MAX_CONFLICTS {
        let found = match shared.load(slot).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                slot.vanish();
                return Outcome::Ended(not_connected());
            }
            Err(error) => return error.into(),
        };
        let may_retry = || may_retry_unknown(shared, slot, &found.record);
        let situation = |lease: &HeldLease| Situation {
            stale,
            us: shared.owner,
            earliest: lease.earliest(),
            latest: lease.latest(),
            holder_first,
            rotation: slot.provider().policy.rotation,
        };
        match decide(&found.record, situation(lease), may_retry) {
            Decision::Adopt => {
                shared.emit(
                    slot,
                    EventKind::Adopted {
                        serial: found.record.grant.serial(),
                    },
                );
                return Outcome::Done;
            }
            Decision::End(error) => return Outcome::Ended(error),
            Decision::WaitUntil(deadline) => {
                race.lost(shared, slot);
                lease.step_aside();
                knows_the_time = false;
                let left = deadline.since(lease.earliest());
                sleep(left.min(Duration::from_millis(250))).await;
            }
            Decision::LeaveAlone => {
                let risked = risked_from(&found.record.grant, margin_of(slot));
                return lost.unwrap_or(Outcome::NotBefore(risked));
            }
            // That another's time is over is not believed of our own clock.
            Decision::Exchange if !knows_the_time && is_anothers(shared, &found.record) => {
                match lease.look_at_the_time().await {
                    Ok(true) => knows_the_time = true,
                    // We have been away for long: somebody else is at it.
                    Ok(false) => return kept_changing().into(),
                    Err(error) => return error.into(),
                }
            }
            Decision::Exchange => {
                if let Err(error) = shared.check_unsaved() {
                    return Outcome::Ended(error);
                }
                // Before the intent, whose time must not pass while waiting for a place.
                let pass = match shared.gate(slot) {
                    Ok(gate) => gate.enter(|| shared.clock.now()).await,
                    Err(error) => Err(error),
                };
                let pass = match pass {
                    Ok(pass) => pass,
                    Err(error) => return lost.unwrap_or(Outcome::Ended(error)),
                };
                if shared.is_shut_down() {
                    return Outcome::Ended(shut_down());
                }
                // The wait for a place may have been long, and a grace period may be over.
                let decision = decide(&found.record, situation(lease), may_retry);
                if !matches!(decision, Decision::Exchange) {
                    continue;
                }
                let begun = match write_intent(shared, slot, found, lease).await {
                    Ok(Some(begun)) => begun,
                    Ok(None) => {
                        (conflicts, knows_the_time) = (conflicts + 1, false);
                        continue;
                    }
                    Err(error) => return error.into(),
                };
                let first_sent = begun.intent.started;
                let rotation = slot.provider().policy.rotation;
                let rotation = rotation.tightened(begun.record.grant.was_rotated);
                let outcome = exchange(shared, slot, begun, lease, pass, lost.is_some()).await;
                let wait = match &outcome {
                    Outcome::Unknown { retry_after, .. } if !shared.is_shut_down() => {
                        again_after(again, *retry_after, rotation, first_sent, lease.latest())
                    }
                    _ => None,
                };
                let Some(wait) = wait else {
                    return outcome;
                };
                lost = Some(outcome);
                lease.step_aside();
                sleep(wait).await;
                again *= 2;
            }
        }
    }
    kept_changing().into()
}

/// After what wait a refresh token whose outcome is unknown is sent again by the same flight,
/// if it is: where a second try does no harm it is made soon, since a grace period would be
/// over by the time that somebody asks. `asked` is what the service asked for; it does not get
/// what would outlast its own grace period.
fn again_after(
    again: Duration,
    asked: Option<Duration>,
    rotation: Rotation,
    first_sent: Timestamp,
    now: Timestamp,
) -> Option<Duration> {
    let asked = asked.filter(|asked| rotation.allows_again(first_sent, now + *asked));
    let wait = again.max(asked.unwrap_or_default());
    let soon = again <= AGAIN_LAST && wait <= LONGEST_WAIT;
    (soon && rotation.allows_again(first_sent, now + wait)).then_some(wait)
}

/// An exchange that may begin: its intent is in the store.
pub(super) struct Begun {
    pub(super) record: Record,
    pub(super) version: Version,
    pub(super) intent: Intent,
    /// The intent that stood there, of an exchange whose outcome is unknown.
    pub(super) before: Option<Intent>,
}

/// Writes the intent. `None` if the row has changed.
async fn write_intent(
    shared: &Shared,
    slot: &Slot,
    found: Opened,
    lease: &HeldLease,
) -> Result<Option<Begun>, Error> {
    let mut record = found.record;
    let Some(refresh_token) = &record.grant.refresh_token else {
        return Ok(None);
    };
    let token_hash = shared.store.token_hash(refresh_token);
    let before = record
        .intent
        .filter(|before| before.token_hash == token_hash);
    let intent = Intent {
        exchange: new_exchange()?,
        owner: shared.owner,
        token_hash,
        started: before.map_or_else(|| lease.earliest(), |before| before.started),
        deadline: lease.latest() + slot.provider().policy.exchange_limit(),
    };
    record.intent = Some(intent);
    record.sequence += 1;
    let expected = Expected::Version(found.version);
    let version = match shared.save(slot, &record, expected).await? {
        SaveOutcome::Saved(version) => version,
        SaveOutcome::Conflict => return Ok(None),
        // The acknowledgement was lost: the row knows whether it was written.
        SaveOutcome::Unknown => match shared.load_to_settle(slot).await? {
            Some(again) if again.record.intent == Some(intent) => again.version,
            _ => return Ok(None),
        },
    };
    slot.publish(&record);
    Ok(Some(Begun {
        record,
        version,
        intent,
        before,
    }))
}

/// Spends the refresh token, once; `again` if its last answer was lost.
async fn exchange(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    begun: Begun,
    lease: &HeldLease,
    pass: Pass<'_>,
    again: bool,
) -> Outcome {
    let provider = slot.provider();
    let Some(refresh_token) = begun.record.grant.refresh_token.clone() else {
        return Outcome::Ended(needs_reauth());
    };
    let left = begun.intent.deadline.since(lease.latest());
    if left.is_zero() {
        // Whoever comes next may take the intent for abandoned, so it must not be used.
        clear_intent(shared, slot, begun).await;
        return Error::new(
            ErrorKind::Store,
            "the store took too long to note the refresh",
        )
        .into();
    }
    let started = shared.clock.now();
    let idle_lifetime = provider.policy.refresh_token_idle_lifetime;
    let user_code = slot.work().take_user_code();
    let renewed_from = renew_from(&begun.record.grant, idle_lifetime, slot.jitter());
    let request = RefreshRequest {
        grant: &begun.record.grant,
        refresh_token: &refresh_token,
        renew_refresh_token: renewed_from.is_some_and(|from| from <= started),
        user_code: user_code.as_ref(),
    };
    let answer = timeout(left, provider.refresher.refresh(request)).await;
    let result = answer.unwrap_or_else(|_| {
        Err(RefreshError::new(
            Verdict::Ambiguous,
            "the token service did not answer in time",
        ))
    });
    pass.report(shared, slot, result.as_ref().err(), again);
    match result {
        Ok(response) => keep(shared, slot, begun, response, started).await,
        Err(error) => failed(shared, slot, begun, lease, error).await,
    }
}

/// Stores what was answered, then serves it.
async fn keep(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    begun: Begun,
    response: TokenResponse,
    started: Timestamp,
) -> Outcome {
    let replaced = begun.record.grant.serial();
    let was_refused = slot.is_refused(replaced);
    let took = shared.clock.now().since(started);
    let save = Save::new(begun.intent, &begun.record.grant, response, started, took);
    let outcome = match save
        .attempt(shared, slot, begun.record, begun.version)
        .await
    {
        Attempt::Settled(outcome) => outcome,
        Attempt::Failed(save) => {
            shared.emit(slot, EventKind::SaveFailed);
            Outcome::Unsaved(save)
        }
    };
    if was_refused && matches!(outcome, Outcome::Done | Outcome::Unsaved(_)) {
        slot.healed(replaced, shared.clock.now());
    }
    outcome
}

pub(super) fn new_exchange() -> Result<ExchangeId, Error> {
    let mut id = [0; 16];
    crate::store::fill(&mut id)?;
    Ok(ExchangeId(id))
}

/// Whether a refresh token whose last exchange has an unknown outcome may be sent again:
/// only when there is little left to lose.
fn may_retry_unknown(shared: &Shared, slot: &Slot, record: &Record) -> bool {
    shared.clock.now() >= risked_from(&record.grant, margin_of(slot))
        || slot.is_refused(record.grant.serial())
}

/// Whether somebody else said that they would spend the refresh token.
fn is_anothers(shared: &Shared, record: &Record) -> bool {
    record
        .intent
        .is_some_and(|intent| intent.owner != shared.owner)
}

fn margin_of(slot: &Slot) -> Duration {
    slot.provider().policy.margin
}

pub(super) fn kept_changing() -> Error {
    Error::new(ErrorKind::Store, "the grant's row kept changing: try again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_try_waits_as_long_as_it_is_asked_to_and_as_it_may() {
        let at = |secs: u64| Timestamp::from_unix_millis(secs * 1_000);
        let secs = Duration::from_secs;
        let grace = Rotation::Grace(secs(10));
        let table = [
            (Rotation::Strict, None, 0, None),
            (Rotation::Strict, Some(1), 0, None),
            (Rotation::Reusable, None, 0, Some(1)),
            (Rotation::Reusable, Some(5), 500, Some(5)),
            // Nothing is lost by waiting, so nobody does it for that long.
            (Rotation::Reusable, Some(60), 0, None),
            (grace, None, 0, Some(1)),
            (grace, Some(5), 0, Some(5)),
            (grace, Some(5), 6, Some(1)),
            (grace, Some(60), 0, Some(1)),
            (grace, None, 9, None),
        ];
        for (rotation, asked, now, expected) in table {
            let wait = again_after(secs(1), asked.map(secs), rotation, at(0), at(now));
            assert_eq!(wait, expected.map(secs), "{rotation:?} {asked:?} {now}");
        }
        let late = again_after(AGAIN_LAST * 2, None, Rotation::Reusable, at(0), at(0));
        assert_eq!(late, None);
    }
}
