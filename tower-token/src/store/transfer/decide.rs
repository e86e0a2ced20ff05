//! What becomes of a record where another store has it already, and how it is told there.

use std::cmp::Ordering;

use crate::grant::Record;
use crate::store::contract::Expected;
use crate::store::keyset::Keyset;
use crate::store::sealed::Found;

/// What to do with a record that comes from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is newer than what is there, or nothing is.
    Write(Expected),
    /// It is there.
    Same,
    /// What is there is newer: also the mark of a disconnect that came later.
    Newer,
    /// What is there does not open, so nobody can tell.
    Unknown,
}

/// What to do with `record`, of a grant whose row is `found`.
pub(super) fn decide(found: Option<&Found>, record: &Record) -> Decision {
    let Some(found) = found else {
        return Decision::Write(Expected::Absent);
    };
    let Ok(there) = &found.record else {
        return Decision::Unknown;
    };
    match there.rank().cmp(&record.rank()) {
        Ordering::Less => Decision::Write(Expected::Version(found.version)),
        Ordering::Equal => Decision::Same,
        Ordering::Greater => Decision::Newer,
    }
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
    use crate::clock::Timestamp;
    use crate::error::{Error, ErrorKind};
    use crate::grant::{ExchangeId, Grant, Intent, Owner, TokenResponse};
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
        let over = Decision::Write(Expected::Version(Version(5)));
        let table = [
            (record(2, 8), over),
            (record(3, 1), over),
            (gone.clone(), over),
            (record(2, 7), Decision::Same),
            (record(2, 6), Decision::Newer),
            (record(1, 9), Decision::Newer),
        ];
        for (record, expected) in table {
            assert_eq!(decide(Some(&there), &record), expected, "{record:?}");
        }
        let absent = Decision::Write(Expected::Absent);
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
