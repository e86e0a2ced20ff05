//! What a failed exchange means for the stored grant.

use std::sync::Arc;

use super::lease::HeldLease;
use super::refresh::{Begun, MAX_CONFLICTS, Outcome, kept_changing};
use super::slot::Slot;
use super::state::{NEEDS_REAUTH, needs_reauth, not_connected};
use super::{Opened, Shared};
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::grant::{GrantState, ReauthReason};
use crate::provider::{RefreshError, Verdict};
use crate::store::{Expected, SaveOutcome};

/// Draws the consequences of a failed exchange for the stored grant.
pub(super) async fn failed(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    mut begun: Begun,
    lease: &HeldLease,
    mut error: RefreshError,
) -> Outcome {
    let retry_after = error.asked_to_wait();
    let (kind, message) = match error.verdict() {
        Verdict::Dead => return declare_dead(shared, slot, begun, lease, error).await,
        Verdict::Transient { .. } => (ErrorKind::TokenService, "the token could not be refreshed"),
        // The intent stays, so that everyone knows of it.
        Verdict::Ambiguous => {
            let message = "the token service's answer to a refresh was lost";
            let error = Error::with_source(ErrorKind::TokenService, message, error);
            return Outcome::Unknown { error, retry_after };
        }
        Verdict::Misconfigured => (
            ErrorKind::ClientRefused,
            "the token service refused this service: check its client id, secret and endpoint",
        ),
        Verdict::UserAction => {
            if let Some(continuation) = error.take_continuation() {
                begun.record.grant.continuation = Some(continuation);
            }
            (
                ErrorKind::UserAction,
                "the token service asks the user for something first",
            )
        }
    };
    clear_intent(shared, slot, begun).await;
    Outcome::Failed {
        error: Error::with_source(kind, message, error),
        retry_after,
    }
}

/// Takes an intent back whose refresh token was not spent, to what was known before it. If
/// that fails the intent runs out by itself.
pub(super) async fn clear_intent(shared: &Shared, slot: &Slot, begun: Begun) {
    let (mut record, mut version) = (begun.record, begun.version);
    let continuation = record.grant.continuation.clone();
    // Once more if something else about the row has changed, such as when it is due.
    for _ in 0..2 {
        record.intent = begun.before;
        record.sequence += 1;
        match shared.save(slot, &record, Expected::Version(version)).await {
            Ok(SaveOutcome::Saved(_)) => return slot.publish(&record),
            Ok(SaveOutcome::Conflict) => {}
            Ok(SaveOutcome::Unknown) | Err(_) => return,
        }
        match shared.load_to_settle(slot).await {
            Ok(Some(found)) if found.record.intent == Some(begun.intent) => {
                (record, version) = (found.record, found.version);
                record.grant.continuation.clone_from(&continuation);
            }
            _ => return,
        }
    }
}

/// The service says that the refresh token is no good. Somebody may have rotated it
/// meanwhile: only if the store still holds the very token that was sent is it dead.
async fn declare_dead(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    begun: Begun,
    lease: &HeldLease,
    error: RefreshError,
) -> Outcome {
    for _ in 0..MAX_CONFLICTS {
        let found = match shared.load_to_settle(slot).await {
            Ok(Some(found)) => found,
            Ok(None) => return Outcome::Ended(not_connected()),
            Err(error) => return error.into(),
        };
        let Opened {
            mut record,
            version,
        } = found;
        if record.grant.is_disconnected() {
            return Outcome::Ended(not_connected());
        }
        let sent = &begun.record.grant;
        if record.grant.epoch == sent.epoch && record.grant.state != GrantState::Active {
            // A sibling's verdict, or ours, whose acknowledgement was lost.
            shared.emit_state(slot, &record.grant);
            return Outcome::Ended(needs_reauth());
        }
        if record.grant.epoch != sent.epoch || record.grant.refresh_token != sent.refresh_token {
            shared.emit(
                slot,
                EventKind::Adopted {
                    serial: record.grant.serial(),
                },
            );
            return Outcome::Done;
        }
        let siblings = record
            .intent
            .filter(|intent| intent.exchange != begun.intent.exchange);
        if siblings.is_some_and(|intent| lease.earliest() < intent.deadline) {
            // It may be about to store what that very token brought.
            return Error::with_source(
                ErrorKind::TokenService,
                "the refresh token was refused while another instance is using it",
                error,
            )
            .into();
        }
        shared.give_up(slot, &mut record, ReauthReason::Refused);
        match shared.save(slot, &record, Expected::Version(version)).await {
            Ok(SaveOutcome::Saved(_)) => {
                slot.publish(&record);
                shared.emit_state(slot, &record.grant);
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
    kept_changing().into()
}
