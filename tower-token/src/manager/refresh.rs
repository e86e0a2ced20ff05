//! What a flight does, in the one order that loses nothing:
//!
//! lease, load, write the intent, exchange, save, publish, release.
//!
//! The lease only avoids work. The intent is the fence before the refresh token is
//! spent: whoever finds one knows that the token may be gone. The save's compare-and-set
//! is the fence after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::lease::{HeldLease, Leased, take_lease};
use super::save::{Attempt, Save};
use super::slot::Slot;
use super::{Opened, Shared};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{ExchangeId, Grant, GrantState, Intent, Owner, Record, Serial, TokenResponse};
use crate::provider::{RefreshError, RefreshRequest, Verdict};
use crate::store::{Expected, SaveOutcome, Version};

/// How often a row may change under a refresh before it is left for later.
const MAX_CONFLICTS: u32 = 8;

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
    match take_lease(shared, slot, stale).await {
        Ok(Leased::Taken(lease)) => {
            let outcome = under_lease(shared, slot, stale, &lease).await;
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
    lease: &HeldLease,
) -> Outcome {
    let mut conflicts = 0;
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
        slot.publish(&found.record);
        let now = lease.now();
        let may_retry = || may_retry_unknown(shared, slot, &found.record);
        match decide(&found.record, stale, shared.owner, now, may_retry) {
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
                sleep(deadline.since(now).min(Duration::from_millis(250))).await;
            }
            Decision::LeaveAlone => {
                return Outcome::NotBefore(risked_from(&found.record.grant, slot));
            }
            Decision::Exchange => match write_intent(shared, slot, found, now).await {
                Ok(Some(begun)) => return exchange(shared, slot, begun, lease).await,
                Ok(None) => conflicts += 1,
                Err(error) => return error.into(),
            },
        }
    }
    Error::new(
        ErrorKind::Store,
        "the grant's row kept changing under the refresh",
    )
    .into()
}

/// What to do about a grant, from its row alone.
#[derive(Debug)]
enum Decision {
    /// The row holds a newer token than the one to be replaced.
    Adopt,
    /// Somebody else's exchange is under way.
    WaitUntil(Timestamp),
    /// An exchange's outcome is unknown, and it is too early to risk another.
    LeaveAlone,
    Exchange,
    End(Error),
}

fn decide(
    record: &Record,
    stale: Serial,
    us: Owner,
    store_now: Timestamp,
    may_retry_unknown: impl FnOnce() -> bool,
) -> Decision {
    let grant = &record.grant;
    if grant.is_disconnected() {
        return Decision::End(not_connected());
    }
    if grant.serial() > stale {
        return Decision::Adopt;
    }
    if !matches!(grant.state, GrantState::Active) || !grant.can_refresh() {
        return Decision::End(needs_reauth());
    }
    match &record.intent {
        None => Decision::Exchange,
        // One flight per grant here: an intent of ours is left from an earlier one.
        Some(intent) if intent.owner != us && store_now < intent.deadline => {
            Decision::WaitUntil(intent.deadline)
        }
        Some(_) if may_retry_unknown() => Decision::Exchange,
        Some(_) => Decision::LeaveAlone,
    }
}

/// An exchange that may begin: its intent is in the store.
struct Begun {
    record: Record,
    version: Version,
    intent: Intent,
}

/// Writes the intent. `None` if the row has changed.
async fn write_intent(
    shared: &Shared,
    slot: &Slot,
    found: Opened,
    now: Timestamp,
) -> Result<Option<Begun>, Error> {
    let mut record = found.record;
    let Some(refresh_token) = &record.grant.refresh_token else {
        return Ok(None);
    };
    let intent = Intent {
        exchange: new_exchange()?,
        owner: shared.owner,
        token_hash: shared.store.token_hash(refresh_token),
        started: now,
        deadline: now + slot.provider().policy.exchange_timeout,
    };
    record.intent = Some(intent);
    record.sequence += 1;
    let version = match shared
        .store
        .save(&record, Expected::Version(found.version))
        .await?
    {
        SaveOutcome::Saved(version) => version,
        SaveOutcome::Conflict => return Ok(None),
        // The acknowledgement was lost: the row knows whether it was written.
        SaveOutcome::Unknown => match shared.load(slot).await? {
            Some(again) if again.record.intent == Some(intent) => again.version,
            _ => return Ok(None),
        },
    };
    slot.publish(&record);
    Ok(Some(Begun {
        record,
        version,
        intent,
    }))
}

/// Spends the refresh token, once.
async fn exchange(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    begun: Begun,
    lease: &HeldLease,
) -> Outcome {
    let provider = slot.provider();
    let Some(refresh_token) = begun.record.grant.refresh_token.clone() else {
        return Outcome::Ended(needs_reauth());
    };
    let left = begun.intent.deadline.since(lease.now());
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
    let request = RefreshRequest {
        grant: &begun.record.grant,
        refresh_token: &refresh_token,
    };
    let answer = timeout(left, provider.refresher.refresh(request)).await;
    let result = answer.unwrap_or_else(|_| {
        Err(RefreshError::new(
            Verdict::Ambiguous,
            "the token service did not answer in time",
        ))
    });
    match result {
        Ok(response) => keep(shared, slot, begun, response, started).await,
        Err(error) => failed(shared, slot, begun, error).await,
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
    let save = Save::new(begun.intent, response, started);
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

/// Draws the consequences of a failed exchange for the stored grant.
async fn failed(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    begun: Begun,
    error: RefreshError,
) -> Outcome {
    let verdict = error.verdict();
    let (kind, message, retry_after) = match verdict {
        Verdict::Dead => return declare_dead(shared, slot, begun, error).await,
        Verdict::Transient { retry_after } => (
            ErrorKind::TokenService,
            "the token could not be refreshed",
            retry_after,
        ),
        Verdict::Ambiguous => (
            ErrorKind::TokenService,
            "the token service's answer to a refresh was lost",
            None,
        ),
        Verdict::Misconfigured => (
            ErrorKind::ClientRefused,
            "the token service refused this service: check its client id, secret and endpoint",
            None,
        ),
        Verdict::UserAction => (
            ErrorKind::UserAction,
            "the token service asks the user for something first",
            None,
        ),
    };
    // After an unknown outcome the intent stays, so that everyone knows of it.
    if verdict != Verdict::Ambiguous {
        clear_intent(shared, slot, begun).await;
    }
    Outcome::Failed {
        error: Error::with_source(kind, message, error),
        retry_after,
    }
}

/// Takes an intent back whose refresh token was not spent. If that fails the intent
/// runs out by itself.
async fn clear_intent(shared: &Shared, slot: &Slot, begun: Begun) {
    let mut record = begun.record;
    record.intent = None;
    record.sequence += 1;
    let saved = shared
        .store
        .save(&record, Expected::Version(begun.version))
        .await;
    if matches!(saved, Ok(SaveOutcome::Saved(_))) {
        slot.publish(&record);
    }
}

/// The service says that the refresh token is no good. Somebody may have rotated it
/// meanwhile: only if the store still holds the very token that was sent is it dead.
async fn declare_dead(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    begun: Begun,
    error: RefreshError,
) -> Outcome {
    for _ in 0..MAX_CONFLICTS {
        let found = match shared.load(slot).await {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Ended(not_connected()),
            Err(error) => return error.into(),
        };
        let Opened {
            mut record,
            version,
        } = found;
        if record.grant.is_disconnected() {
            slot.publish(&record);
            return Outcome::Ended(not_connected());
        }
        let sent = &begun.record.grant;
        if record.grant.epoch == sent.epoch && record.grant.state != GrantState::Active {
            // A sibling's verdict, or ours, whose acknowledgement was lost.
            slot.publish(&record);
            shared.emit(slot, EventKind::NeedsReauth);
            return Outcome::Ended(needs_reauth());
        }
        if record.grant.epoch != sent.epoch || record.grant.refresh_token != sent.refresh_token {
            slot.publish(&record);
            shared.emit(
                slot,
                EventKind::Adopted {
                    serial: record.grant.serial(),
                },
            );
            return Outcome::Done;
        }
        record.grant.give_up(shared.clock.now());
        record.intent = None;
        record.sequence += 1;
        match shared.store.save(&record, Expected::Version(version)).await {
            Ok(SaveOutcome::Saved(_)) => {
                slot.publish(&record);
                shared.emit(slot, EventKind::NeedsReauth);
                return Outcome::Ended(Error::with_source(
                    ErrorKind::NeedsReauth,
                    NEEDS_REAUTH,
                    error,
                ));
            }
            Ok(SaveOutcome::Conflict | SaveOutcome::Unknown) => {}
            Err(error) => return error.into(),
        }
    }
    Error::new(
        ErrorKind::Store,
        "the grant's row kept changing under the refresh",
    )
    .into()
}

pub(super) fn new_exchange() -> Result<ExchangeId, Error> {
    let mut id = [0; 16];
    crate::store::fill(&mut id)?;
    Ok(ExchangeId(id))
}

const NEEDS_REAUTH: &str = "the grant can no longer be refreshed: the user has to connect again";

pub(super) fn needs_reauth() -> Error {
    Error::new(ErrorKind::NeedsReauth, NEEDS_REAUTH)
}

pub(super) fn not_connected() -> Error {
    Error::new(
        ErrorKind::NotConnected,
        "nobody is connected under this key: send the user through the provider's consent, then \
         call connect",
    )
}

/// Whether a refresh token whose last exchange has an unknown outcome may be sent again:
/// only when there is little left to lose.
fn may_retry_unknown(shared: &Shared, slot: &Slot, record: &Record) -> bool {
    shared.clock.now() >= risked_from(&record.grant, slot) || slot.is_refused(record.grant.serial())
}

/// From when on an access token is about to expire: the last quarter of its margin.
fn risked_from(grant: &Grant, slot: &Slot) -> Timestamp {
    about_to_expire(grant, slot.provider().policy.margin)
}

fn about_to_expire(grant: &Grant, margin: Duration) -> Timestamp {
    let Some(token) = &grant.access_token else {
        return Timestamp::from_unix_millis(0);
    };
    token
        .expires_at()
        .map_or(Timestamp::FAR_FUTURE, |expires_at| {
            expires_at - margin.min(expires_at.since(token.started()) / 3) / 4
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::GrantKey;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const US: Owner = Owner([1; 16]);
    const OTHERS: Owner = Owner([2; 16]);
    const FIRST: Serial = Serial { epoch: 1, issue: 1 };

    fn record(intent: Option<(Owner, i64)>) -> Record {
        let response = TokenResponse::new("t").refresh_token("r");
        Record {
            grant: Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap(),
            sequence: 1,
            connect: ExchangeId([0; 16]),
            exchange: ExchangeId([0; 16]),
            intent: intent.map(|(owner, deadline)| Intent {
                exchange: ExchangeId([9; 16]),
                owner,
                token_hash: [0; 16],
                started: NOW,
                deadline: Timestamp::from_unix_millis(
                    NOW.as_unix_millis().wrapping_add_signed(deadline),
                ),
            }),
        }
    }

    fn decided(record: &Record, stale: Serial, may_retry: bool) -> String {
        let decision = decide(record, stale, US, NOW, || may_retry);
        format!("{decision:?}")
            .split(['(', ' ', '{'])
            .next()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn every_row_has_its_decision() {
        let mut ended = record(None);
        ended.grant.give_up(NOW);
        let mut gone = record(None);
        gone.grant = Grant::disconnected(GrantKey::new("p", "s"), 2, NOW);
        let mut newer = record(None);
        newer
            .grant
            .apply(TokenResponse::new("t2"), NOW, None)
            .unwrap();
        let table = [
            (record(None), true, "Exchange"),
            (record(None), false, "Exchange"),
            (newer, false, "Adopt"),
            (ended, true, "End"),
            (gone, true, "End"),
            (record(Some((OTHERS, 5_000))), true, "WaitUntil"),
            (record(Some((OTHERS, 0))), true, "Exchange"),
            (record(Some((OTHERS, 0))), false, "LeaveAlone"),
            (record(Some((US, 5_000))), true, "Exchange"),
            (record(Some((US, 5_000))), false, "LeaveAlone"),
        ];
        for (record, may_retry, expected) in table {
            assert_eq!(decided(&record, FIRST, may_retry), expected, "{record:?}");
        }
    }

    #[test]
    fn an_unknown_outcome_is_risked_only_when_little_is_left() {
        let connected =
            |response| Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap();
        let margin = Duration::from_secs(300);
        let hour = TokenResponse::new("t").expires_in(Duration::from_secs(3_600));
        let from = about_to_expire(&connected(hour), margin);
        assert_eq!(from, NOW + Duration::from_secs(3_600 - 75));
        let short = TokenResponse::new("t").expires_in(Duration::from_secs(12));
        assert_eq!(
            about_to_expire(&connected(short), margin),
            NOW + Duration::from_secs(11)
        );
        let endless = connected(TokenResponse::new("t"));
        assert_eq!(about_to_expire(&endless, margin), Timestamp::FAR_FUTURE);
    }
}
