//! What becomes of a record where another store has it already, and how it is told there.

use std::cmp::Ordering;

use crate::clock::Timestamp;
use crate::grant::{ExchangeId, GrantState, Record};
use crate::store::contract::Expected;
use crate::store::keyset::Keyset;
use crate::store::sealed::Found;

/// What to do with a record that comes from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is newer than what is there, or nothing is. To be written in this epoch.
    Write(Expected, u64),
    /// It is there.
    Same,
    /// What is there is newer: also the mark of a disconnect that came later.
    Newer,
    /// What is there is as new, and something else.
    Diverged,
    /// What is there does not open, so nobody can tell.
    Unknown,
}

/// What to do with `record`, of a grant whose row is `found`.
pub(super) fn decide(found: Option<&Found>, record: &Record) -> Decision {
    let epoch = record.grant.epoch;
    let Some(found) = found else {
        return Decision::Write(Expected::Absent, epoch);
    };
    let Ok(there) = &found.record else {
        return Decision::Unknown;
    };
    let over = Expected::Version(found.version);
    // One epoch that began twice: each store went on by itself from what they had in common. Of
    // a disconnect and a connect only the time can tell which came last.
    if there.grant.epoch == epoch && there.connect != record.connect {
        match (left_at(there), left_at(record)) {
            (Some(left), None) if left >= record.grant.connected_at => return Decision::Newer,
            (None, Some(left)) if left < there.grant.connected_at => return Decision::Newer,
            // An epoch later: after whatever is served of this one.
            (None, Some(_)) => return Decision::Write(over, epoch + 1),
            _ => {}
        }
    }
    match there.rank().cmp(&record.rank()) {
        Ordering::Less => Decision::Write(over, epoch),
        Ordering::Equal if write_of(there) == write_of(record) => Decision::Same,
        Ordering::Equal => Decision::Diverged,
        Ordering::Greater => Decision::Newer,
    }
}

/// When the user left, if `record` is the mark of it.
fn left_at(record: &Record) -> Option<Timestamp> {
    match record.grant.state {
        GrantState::Disconnected { since } => Some(since),
        GrantState::Active | GrantState::NeedsReauth { .. } => None,
    }
}

/// By which connect, exchange and intent a record came to be as it is.
fn write_of(record: &Record) -> [Option<ExchangeId>; 3] {
    let intent = record.intent.map(|intent| intent.exchange);
    [Some(record.connect), Some(record.exchange), intent]
}

/// The record as it reads under other keys.
///
/// An intent goes along: the refresh token may have been spent, here as there. It names the
/// token by a keyed hash, by which a second try knows when the first one was.
pub(super) fn under(mut record: Record, from: &Keyset, to: &Keyset) -> Record {
    if let (Some(intent), Some(token)) = (&mut record.intent, &record.grant.refresh_token)
        && intent.token_hash == from.token_hash(token)
    {
        intent.token_hash = to.token_hash(token);
    }
    record
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::grant::{Grant, Intent, Owner, TokenResponse};
    use crate::key::GrantKey;
    use crate::secret::Secret;
    use crate::store::contract::Version;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000);

    fn record(epoch: u64, sequence: u64) -> Record {
        let response = TokenResponse::new("t").refresh_token("r");
        Record {
            grant: Grant::connected(GrantKey::new("p", "s"), epoch, response, NOW, None).unwrap(),
            sequence,
            connect: ExchangeId([0; 16]),
            exchange: ExchangeId([0; 16]),
            intent: None,
            revocation: None,
        }
    }

    fn found(record: Result<Record, Error>) -> Found {
        Found {
            version: Version(5),
            due: None,
            record,
            is_orphan: false,
            bytes: Bytes::new(),
        }
    }

    #[test]
    fn only_what_is_newer_is_written() {
        let there = found(Ok(record(2, 7)));
        let mut gone = record(3, 1);
        gone.grant = Grant::disconnected(GrantKey::new("p", "s"), 3, NOW);
        let over = |epoch| Decision::Write(Expected::Version(Version(5)), epoch);
        let table = [
            (record(2, 8), over(2)),
            (record(3, 1), over(3)),
            (gone.clone(), over(3)),
            (record(2, 7), Decision::Same),
            (record(2, 6), Decision::Newer),
            (record(1, 9), Decision::Newer),
        ];
        for (record, expected) in table {
            assert_eq!(decide(Some(&there), &record), expected, "{record:?}");
        }
        let absent = Decision::Write(Expected::Absent, 1);
        assert_eq!(decide(None, &record(1, 1)), absent);
        // Who left stays so.
        assert_eq!(
            decide(Some(&found(Ok(gone))), &record(2, 99)),
            Decision::Newer
        );
        let damaged = found(Err(Error::new(ErrorKind::Damaged, "")));
        assert_eq!(decide(Some(&damaged), &record(9, 9)), Decision::Unknown);
    }

    #[test]
    fn where_histories_part_the_time_tells_whether_the_user_has_left() {
        let gone = |at, sequence| Record {
            grant: Grant::disconnected(GrantKey::new("p", "s"), 2, at),
            connect: ExchangeId([1; 16]),
            ..record(2, sequence)
        };
        let over = |epoch| Decision::Write(Expected::Version(Version(5)), epoch);
        let second = Duration::from_secs(1);
        let before = Timestamp::from_unix_millis(1);
        let of = |there: Record, record: &Record| decide(Some(&found(Ok(there))), record);
        for sequence in [1, 7] {
            // At the time of the connect, or after it.
            for left in [NOW, NOW + second] {
                assert_eq!(of(gone(left, 3), &record(2, sequence)), Decision::Newer);
                assert_eq!(of(record(2, sequence), &gone(left, 3)), over(3));
            }
            assert_eq!(of(record(2, sequence), &gone(before, 3)), Decision::Newer);
        }
        assert_eq!(of(gone(before, 3), &record(2, 7)), over(2));
        assert_eq!(of(gone(before, 3), &record(2, 1)), Decision::Newer);
        // Two connects, or two disconnects: one write more is newer, as many are not the same.
        let other = |sequence| Record {
            connect: ExchangeId([1; 16]),
            ..record(2, sequence)
        };
        assert_eq!(of(record(2, 1), &other(2)), over(2));
        assert_eq!(of(record(2, 1), &other(1)), Decision::Diverged);
        let refreshed = Record {
            exchange: ExchangeId([1; 16]),
            ..record(2, 1)
        };
        assert_eq!(of(record(2, 1), &refreshed), Decision::Diverged);
    }

    #[test]
    fn an_intent_names_its_refresh_token_by_the_keys_that_it_is_under() {
        let keyset = || Keyset::generate(NOW, Duration::ZERO).unwrap();
        let (from, to) = (keyset(), keyset());
        let hash = |keyset: &Keyset, token| keyset.token_hash(&Secret::from(token));
        let of = |token| {
            let mut record = record(1, 1);
            record.intent = Some(Intent {
                exchange: ExchangeId([1; 16]),
                owner: Owner([2; 16]),
                token_hash: hash(&from, token),
                started: NOW,
                deadline: NOW,
            });
            let before = record.intent.unwrap();
            let after = under(record, &from, &to).intent.unwrap();
            assert_eq!(
                (after.started, after.exchange),
                (before.started, before.exchange)
            );
            after.token_hash
        };
        assert_eq!(of("r"), hash(&to, "r"));
        // Of a token before that: it names none, here as there.
        assert_ne!(of("another"), hash(&to, "another"));
    }
}
