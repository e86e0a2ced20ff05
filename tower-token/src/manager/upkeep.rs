//! What a grant needs although nobody asks for it: one pure function of its row.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::grant::{Grant, GrantState, ReauthReason, Record};

/// What is to be done about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Its refresh token would end unused: a refresh puts that off.
    Renew,
    /// It can never be used again.
    GiveUp(ReauthReason),
    /// The token service has to be told of a disconnect.
    Revoke,
    /// Nobody needs it any more.
    Purge,
}

/// How long the mark of a disconnect, or a grant that needs its user, is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// By how much other clocks, the token service's among them, may differ from ours.
pub(super) const SKEW: Duration = Duration::from_secs(300);
/// No refresh token is renewed earlier than this before its end.
const MAX_WINDOW: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The sweeper comes by once a minute.
const MIN_WINDOW: Duration = Duration::from_secs(300);

/// The next thing to do about `record`, and from when on. `idle_lifetime` is how long an
/// unused refresh token lasts at a service that does not say so; `jitter`, the same for a
/// grant every time, keeps what was made together from being renewed together.
pub(super) fn next_task(
    record: &Record,
    idle_lifetime: Option<Duration>,
    jitter: u16,
) -> Option<(Timestamp, Task)> {
    let grant = &record.grant;
    match (grant.state, &record.revocation) {
        (GrantState::Disconnected { .. }, Some(left)) => Some((left.next, Task::Revoke)),
        (GrantState::Disconnected { since }, None) => Some((since + KEPT, Task::Purge)),
        (GrantState::NeedsReauth { since, .. }, _) => {
            let used_until = match &grant.access_token {
                // Good for all that is known.
                Some(token) => token.expires_at()?.max(since),
                None => since,
            };
            Some((used_until + KEPT, Task::Purge))
        }
        (GrantState::Active, _) if !grant.can_refresh() => {
            let expires_at = grant.expires_at()?;
            let task = Task::GiveUp(ReauthReason::NoRefreshToken);
            Some((expires_at + SKEW, task))
        }
        (GrantState::Active, _) => {
            // Only an end that was seen not to move is believed. Else clocks may be wrong, or
            // answers leave out that it moved: the service has the last word.
            if let Some(ends_at) = grant.reconnect_by {
                let task = Task::GiveUp(ReauthReason::RefreshTokenExpired);
                return Some((ends_at + SKEW, task));
            }
            Some((renew_from(grant, idle_lifetime, jitter)?, Task::Renew))
        }
    }
}

/// From when on the refresh token is renewed: in the last quarter of its life, but no more
/// than a week before its end. `None` if nobody knows when that is.
pub(super) fn renew_from(
    grant: &Grant,
    idle_lifetime: Option<Duration>,
    jitter: u16,
) -> Option<Timestamp> {
    let stated = grant.refresh_expires_at;
    let ends_at = stated.or_else(|| Some(grant.refreshed_at + idle_lifetime?))?;
    let life = ends_at.since(grant.refreshed_at);
    let window = (life / 4).clamp(MIN_WINDOW.min(life / 2), MAX_WINDOW);
    let earlier = (window / 10).mul_f64(f64::from(jitter) / f64::from(u16::MAX));
    Some(ends_at - window - earlier)
}

/// When the user has to connect again, if a refresh that was to renew the refresh token, and
/// made `after` of `before`, did not put its end off.
pub(super) fn reconnect_by(
    before: &Grant,
    after: &Grant,
    idle_lifetime: Option<Duration>,
    jitter: u16,
    at: Timestamp,
) -> Option<Timestamp> {
    let (was, is) = (before.refresh_expires_at?, after.refresh_expires_at?);
    let window = was.since(renew_from(before, idle_lifetime, jitter)?);
    // Of what is left of its life an answer takes whole seconds, and time to arrive.
    let moved = is.since(was) > window / 4;
    let tried = before.reconnect_by.is_some() || renew_from(before, idle_lifetime, jitter)? <= at;
    (tried && !moved).then_some(is)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{ExchangeId, Revocation, TokenResponse};
    use crate::key::GrantKey;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000_000);
    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);

    fn key() -> GrantKey {
        GrantKey::new("p", "s")
    }

    fn tokens() -> TokenResponse {
        TokenResponse::new("t").refresh_token("r").expires_in(HOUR)
    }

    fn record(response: TokenResponse) -> Record {
        Record {
            grant: Grant::connected(key(), 1, response, NOW, None).unwrap(),
            sequence: 1,
            connect: ExchangeId([0; 16]),
            exchange: ExchangeId([0; 16]),
            intent: None,
            revocation: None,
        }
    }

    #[test]
    fn every_row_has_its_task() {
        let week = record(tokens().refresh_token_expires_in(7 * DAY));
        let mut final_week = week.clone();
        final_week.grant.reconnect_by = final_week.grant.refresh_expires_at;
        let mut refused = record(tokens());
        refused.grant.give_up(ReauthReason::Refused, NOW);
        let mut endless = record(TokenResponse::new("t").refresh_token("r"));
        endless.grant.give_up(ReauthReason::Refused, NOW);
        let mut gone = record(tokens());
        gone.grant = Grant::disconnected(key(), 2, NOW);
        let mut untold = gone.clone();
        untold.revocation = Some(Revocation {
            tokens: vec!["r".into()],
            attempts: 1,
            next: NOW + HOUR,
        });
        let ended = Task::GiveUp(ReauthReason::RefreshTokenExpired);
        let none_left = Task::GiveUp(ReauthReason::NoRefreshToken);
        let life = |life| Some(life);
        let table = [
            // Nobody knows that it ends.
            (record(tokens()), None, None),
            // The provider was told how long it lasts unused.
            (
                record(tokens()),
                life(8 * DAY),
                Some((6 * DAY, Task::Renew)),
            ),
            (
                record(tokens()),
                life(90 * DAY),
                Some((83 * DAY, Task::Renew)),
            ),
            // The service said so itself.
            (week.clone(), None, Some((7 * DAY * 3 / 4, Task::Renew))),
            (week, life(DAY), Some((7 * DAY * 3 / 4, Task::Renew))),
            (final_week, None, Some((7 * DAY + SKEW, ended))),
            // Short ones, too.
            (
                record(tokens().refresh_token_expires_in(HOUR / 2)),
                None,
                Some((HOUR * 3 / 8, Task::Renew)),
            ),
            (
                record(tokens().refresh_token_expires_in(SKEW)),
                None,
                Some((SKEW / 2, Task::Renew)),
            ),
            (
                record(TokenResponse::new("t").expires_in(HOUR)),
                None,
                Some((HOUR + SKEW, none_left)),
            ),
            (record(TokenResponse::new("t")), None, None),
            (refused, None, Some((HOUR + KEPT, Task::Purge))),
            (endless, None, None),
            (gone, None, Some((KEPT, Task::Purge))),
            (untold, None, Some((HOUR, Task::Revoke))),
        ];
        for (record, idle_lifetime, expected) in table {
            let task = next_task(&record, idle_lifetime, 0);
            let task = task.map(|(at, task)| (at.since(NOW), task));
            assert_eq!(task, expected, "{record:?}");
        }
    }

    #[test]
    fn what_was_made_together_is_not_renewed_together() {
        let grant = record(tokens()).grant;
        let from = |jitter| renew_from(&grant, Some(8 * DAY), jitter).unwrap();
        let (first, last) = (from(u16::MAX), from(0));
        assert_eq!(last.since(first), 2 * DAY / 10);
    }

    #[test]
    fn a_renewal_that_does_not_put_the_end_off_was_the_last() {
        let before = record(tokens().refresh_token_expires_in(8 * DAY)).grant;
        let by = |after: Duration, left: Duration| {
            let at = NOW + after;
            let mut grant = before.clone();
            let answer = tokens().refresh_token_expires_in(left);
            grant.apply(answer, at, None).unwrap();
            reconnect_by(&before, &grant, None, 0, at).map(|by| by.since(NOW))
        };
        // Too early to tell.
        assert_eq!(by(DAY, 7 * DAY), None);
        // It slides.
        assert_eq!(by(6 * DAY, 8 * DAY), None);
        // It does not, give or take a second.
        assert_eq!(by(6 * DAY, 2 * DAY), Some(8 * DAY));
        let second = Duration::from_secs(1);
        assert_eq!(by(6 * DAY, 2 * DAY + second), Some(8 * DAY + second));
        assert_eq!(by(7 * DAY, DAY - second), Some(8 * DAY - second));
    }
}
