//! What a refresh does about a grant: one pure function of its row.

use std::time::Duration;

use super::state::{needs_reauth, not_connected};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::{Grant, GrantState, Owner, Record, Serial};
use crate::provider::Rotation;

/// What to do about a grant, from its row alone.
#[derive(Debug)]
pub(super) enum Decision {
    /// The row holds a newer token than the one to be replaced.
    Adopt,
    /// Somebody else's exchange is under way.
    WaitUntil(Timestamp),
    /// An exchange's outcome is unknown, and it is too early to risk another.
    LeaveAlone,
    Exchange,
    End(Error),
}

/// Who decides, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// The token to be replaced.
    pub(super) stale: Serial,
    /// This manager.
    pub(super) us: Owner,
    /// The time that intents go by, between these two.
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
    /// Until when another, whose tokens wait to be stored, goes first.
    pub(super) holder_first: Timestamp,
    pub(super) rotation: Rotation,
}

/// What to do about a row; `may_retry_unknown` is asked only where an outcome is unknown.
pub(super) fn decide(
    record: &Record,
    situation: Situation,
    may_retry_unknown: impl FnOnce() -> bool,
) -> Decision {
    let Situation {
        stale,
        us,
        earliest,
        latest,
        holder_first,
        rotation,
    } = situation;
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
    let rotation = rotation.tightened(grant.was_rotated);
    match &record.intent {
        None => Decision::Exchange,
        Some(_) if rotation == Rotation::Reusable => Decision::Exchange,
        // One flight per grant here: an intent of ours is left from an earlier one.
        Some(intent) if intent.owner != us && earliest < intent.deadline => {
            Decision::WaitUntil(intent.deadline)
        }
        Some(intent) if rotation.allows_again(intent.started, latest) => Decision::Exchange,
        Some(_) if !may_retry_unknown() => Decision::LeaveAlone,
        // Whoever wrote it may hold the tokens that it brought.
        Some(intent) if intent.owner != us && earliest < holder_first => {
            Decision::WaitUntil(holder_first)
        }
        Some(_) => Decision::Exchange,
    }
}

/// From when on a refresh token whose last exchange has an unknown outcome is sent again:
/// in the last quarter of the access token's margin there is little left to lose.
pub(super) fn risked_from(grant: &Grant, margin: Duration) -> Timestamp {
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
    use crate::grant::{ExchangeId, Intent, ReauthReason, TokenResponse};
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
            revocation: None,
        }
    }

    fn decided(record: &Record, rotation: Rotation, may_retry: bool) -> String {
        decided_after_an_outage(record, rotation, may_retry, Timestamp::from_unix_millis(0))
    }

    fn decided_after_an_outage(
        record: &Record,
        rotation: Rotation,
        may_retry: bool,
        holder_first: Timestamp,
    ) -> String {
        let situation = Situation {
            stale: FIRST,
            us: US,
            earliest: NOW,
            latest: NOW,
            holder_first,
            rotation,
        };
        let decision = decide(record, situation, || may_retry);
        let shown = format!("{decision:?}");
        shown.split(['(', ' ', '{']).next().unwrap().to_owned()
    }

    #[test]
    fn every_row_has_its_decision() {
        use Rotation::{Reusable, Strict};
        let grace = Rotation::Grace(Duration::from_secs(10));
        let mut ended = record(None);
        ended.grant.give_up(ReauthReason::Refused, NOW);
        let mut gone = record(None);
        gone.grant = Grant::disconnected(GrantKey::new("p", "s"), 2, NOW);
        let mut newer = record(None);
        newer
            .grant
            .apply(TokenResponse::new("t2"), NOW, None)
            .unwrap();
        let mut long_ago = record(Some((OTHERS, 0)));
        if let Some(intent) = &mut long_ago.intent {
            intent.started = NOW - Duration::from_secs(10);
        }
        let mut rotated = record(Some((US, 0)));
        rotated.grant.was_rotated = true;
        let table = [
            (record(None), Strict, true, "Exchange"),
            (record(None), Strict, false, "Exchange"),
            (newer, Strict, false, "Adopt"),
            (ended, Reusable, true, "End"),
            (gone, Reusable, true, "End"),
            // Another's exchange may still be under way: only where reuse is harmless does
            // one who has the lease not wait for that.
            (record(Some((OTHERS, 5_000))), Strict, true, "WaitUntil"),
            (record(Some((OTHERS, 5_000))), grace, true, "WaitUntil"),
            (record(Some((OTHERS, 5_000))), Reusable, false, "Exchange"),
            (record(Some((OTHERS, 0))), Strict, true, "Exchange"),
            (record(Some((OTHERS, 0))), Strict, false, "LeaveAlone"),
            (record(Some((OTHERS, 0))), grace, false, "Exchange"),
            (long_ago.clone(), grace, false, "LeaveAlone"),
            (long_ago, grace, true, "Exchange"),
            (record(Some((US, 5_000))), Strict, true, "Exchange"),
            (record(Some((US, 5_000))), Strict, false, "LeaveAlone"),
            (record(Some((US, 5_000))), grace, false, "Exchange"),
            (rotated, Reusable, false, "LeaveAlone"),
        ];
        for (record, rotation, may_retry, expected) in table {
            let decided = decided(&record, rotation, may_retry);
            assert_eq!(decided, expected, "{rotation:?} {record:?}");
        }
    }

    #[test]
    fn after_an_outage_whoever_may_hold_tokens_goes_first() {
        use Rotation::{Reusable, Strict};
        let soon = NOW + Duration::from_secs(5);
        let grace = Rotation::Grace(Duration::from_secs(10));
        for (record, rotation, may_retry, expected) in [
            (record(Some((OTHERS, 0))), Strict, true, "WaitUntil"),
            (record(Some((OTHERS, 0))), Strict, false, "LeaveAlone"),
            (record(Some((US, 0))), Strict, true, "Exchange"),
            // Sent again it brings the same.
            (record(Some((OTHERS, 0))), grace, true, "Exchange"),
            (record(Some((OTHERS, 0))), Reusable, true, "Exchange"),
            (record(None), Strict, true, "Exchange"),
        ] {
            let decided = decided_after_an_outage(&record, rotation, may_retry, soon);
            assert_eq!(decided, expected, "{rotation:?} {record:?}");
        }
    }

    #[test]
    fn an_unknown_outcome_is_risked_only_when_little_is_left() {
        let connected =
            |response| Grant::connected(GrantKey::new("p", "s"), 1, response, NOW, None).unwrap();
        let margin = Duration::from_secs(300);
        let hour = TokenResponse::new("t").expires_in(Duration::from_secs(3_600));
        let from = risked_from(&connected(hour), margin);
        assert_eq!(from, NOW + Duration::from_secs(3_600 - 75));
        let short = TokenResponse::new("t").expires_in(Duration::from_secs(12));
        assert_eq!(
            risked_from(&connected(short), margin),
            NOW + Duration::from_secs(11)
        );
        let endless = connected(TokenResponse::new("t"));
        assert_eq!(risked_from(&endless, margin), Timestamp::FAR_FUTURE);
    }
}
