//! What stands inside a sealed record: a schema version and postcard.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::grant::{
    AccessToken, Account, ExchangeId, Grant, GrantState, Intent, Owner, ReauthReason, Record,
    Revocation, Serial,
};
use crate::key::GrantKey;
use crate::secret::Secret;

/// postcard has no field tags, so a change of any struct below needs a new number here.
pub(super) const RECORD: u8 = 3;

/// How many bytes [`write`] will take for `value`.
pub(super) fn size<T: Serialize>(value: &T) -> Result<usize, Error> {
    let size = postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default())
        .map_err(|_| too_large())?;
    Ok(size + 1)
}

/// Encodes straight into the buffer that is about to be sealed.
pub(super) fn write<T: Serialize>(schema: u8, value: &T, buffer: &mut [u8]) -> Result<(), Error> {
    let (first, rest) = buffer.split_first_mut().ok_or_else(too_large)?;
    *first = schema;
    let written = postcard::to_slice(value, rest)
        .map_err(|_| too_large())?
        .len();
    if written == rest.len() {
        Ok(())
    } else {
        Err(too_large())
    }
}

/// Decodes what [`write`] wrote.
pub(super) fn read<'a, T: Deserialize<'a>>(schema: u8, text: &'a [u8]) -> Result<T, Error> {
    match text.split_first() {
        Some((first, rest)) if *first == schema => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            // What is left over was written in a form that this is not.
            Ok(_) | Err(_) => Err(unreadable()),
        },
        Some(_) => Err(Error::new(
            ErrorKind::Damaged,
            "a record was written by another version of tower-token",
        )),
        None => Err(unreadable()),
    }
}

/// The form that `text` was written in.
pub(super) fn schema(text: &[u8]) -> Option<u8> {
    text.first().copied()
}

/// A [`Record`] in the form that is written. What is text is not copied: it stands in the
/// record that is written, or in the text that was opened, which is wiped.
#[derive(Serialize, Deserialize)]
pub(super) struct WireRecord<'a> {
    provider: &'a str,
    subject: &'a str,
    connection: Option<&'a str>,
    sequence: u64,
    epoch: u64,
    state: WireState,
    connect: [u8; 16],
    exchange: [u8; 16],
    intent: Option<WireIntent>,
    #[serde(borrow)]
    revocation: Option<WireRevocation<'a>>,
    issues: u64,
    #[serde(borrow)]
    access_token: Option<WireToken<'a>>,
    #[serde(borrow)]
    accounts: Vec<WireAccount<'a>>,
    refresh_token: Option<&'a str>,
    was_rotated: bool,
    refresh_expires_at: Option<u64>,
    reconnect_by: Option<u64>,
    id_token: Option<&'a str>,
    continuation: Option<&'a str>,
    scope: Option<&'a str>,
    connected_at: u64,
    refreshed_at: u64,
    #[serde(borrow)]
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(borrow)]
    secrets: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize, Deserialize)]
enum WireState {
    Active,
    NeedsReauth { since: u64, reason: WireReason },
    Disconnected { since: u64 },
}

#[derive(Serialize, Deserialize)]
enum WireReason {
    Refused,
    RefreshTokenExpired,
    NoRefreshToken,
}

#[derive(Serialize, Deserialize)]
struct WireToken<'a> {
    token: &'a str,
    epoch: u64,
    issue: u64,
    started: u64,
    expires_at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireAccount<'a> {
    id: &'a str,
    name: Option<&'a str>,
    token_id: Option<&'a str>,
    #[serde(borrow)]
    access_token: Option<WireToken<'a>>,
}

impl<'a> From<&'a AccessToken> for WireToken<'a> {
    fn from(token: &'a AccessToken) -> Self {
        Self {
            token: token.expose(),
            epoch: token.serial().epoch,
            issue: token.serial().issue,
            started: token.started().as_unix_millis(),
            expires_at: token.expires_at().map(Timestamp::as_unix_millis),
        }
    }
}

impl TryFrom<WireToken<'_>> for AccessToken {
    type Error = Error;

    fn try_from(wire: WireToken<'_>) -> Result<Self, Error> {
        let at = Timestamp::from_unix_millis;
        let serial = Serial {
            epoch: wire.epoch,
            issue: wire.issue,
        };
        let expires_at = wire.expires_at.map(at);
        Self::new(wire.token, serial, at(wire.started), expires_at).map_err(|_| unreadable())
    }
}

impl<'a> From<&'a Account> for WireAccount<'a> {
    fn from(account: &'a Account) -> Self {
        Self {
            id: account.id(),
            name: account.name(),
            token_id: account.token_id(),
            access_token: account.access_token().map(WireToken::from),
        }
    }
}

impl TryFrom<WireAccount<'_>> for Account {
    type Error = Error;

    fn try_from(wire: WireAccount<'_>) -> Result<Self, Error> {
        let token = wire.access_token.map(AccessToken::try_from).transpose()?;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self::new(
            wire.id.to_owned(),
            owned(wire.name),
            owned(wire.token_id),
            token,
        ))
    }
}

#[derive(Serialize, Deserialize)]
struct WireIntent {
    exchange: [u8; 16],
    owner: [u8; 16],
    token_hash: [u8; 16],
    started: u64,
    deadline: u64,
}

#[derive(Serialize, Deserialize)]
struct WireRevocation<'a> {
    #[serde(borrow)]
    tokens: Vec<&'a str>,
    attempts: u32,
    next: u64,
}

impl<'a> From<&'a Record> for WireRecord<'a> {
    fn from(record: &'a Record) -> Self {
        let grant = &record.grant;
        Self {
            provider: grant.key.provider(),
            subject: grant.key.subject(),
            connection: grant.key.connection(),
            sequence: record.sequence,
            epoch: grant.epoch,
            state: match grant.state {
                GrantState::Active => WireState::Active,
                GrantState::NeedsReauth { since, reason } => WireState::NeedsReauth {
                    since: since.as_unix_millis(),
                    reason: match reason {
                        ReauthReason::Refused => WireReason::Refused,
                        ReauthReason::RefreshTokenExpired => WireReason::RefreshTokenExpired,
                        ReauthReason::NoRefreshToken => WireReason::NoRefreshToken,
                    },
                },
                GrantState::Disconnected { since } => WireState::Disconnected {
                    since: since.as_unix_millis(),
                },
            },
            connect: record.connect.0,
            exchange: record.exchange.0,
            intent: record.intent.map(|intent| WireIntent {
                exchange: intent.exchange.0,
                owner: intent.owner.0,
                token_hash: intent.token_hash,
                started: intent.started.as_unix_millis(),
                deadline: intent.deadline.as_unix_millis(),
            }),
            revocation: record.revocation.as_ref().map(|left| WireRevocation {
                tokens: left.tokens.iter().map(Secret::expose).collect(),
                attempts: left.attempts,
                next: left.next.as_unix_millis(),
            }),
            issues: grant.issues,
            access_token: grant.access_token.as_ref().map(WireToken::from),
            accounts: grant.accounts.iter().map(WireAccount::from).collect(),
            refresh_token: grant.refresh_token.as_ref().map(Secret::expose),
            was_rotated: grant.was_rotated,
            refresh_expires_at: grant.refresh_expires_at.map(Timestamp::as_unix_millis),
            reconnect_by: grant.reconnect_by.map(Timestamp::as_unix_millis),
            id_token: grant.id_token.as_ref().map(Secret::expose),
            continuation: grant.continuation.as_ref().map(Secret::expose),
            scope: grant.scope.as_deref(),
            connected_at: grant.connected_at.as_unix_millis(),
            refreshed_at: grant.refreshed_at.as_unix_millis(),
            metadata: grant
                .metadata
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
            secrets: grant
                .secrets
                .iter()
                .map(|(name, value)| (name.as_str(), value.expose()))
                .collect(),
        }
    }
}

impl WireRecord<'_> {
    /// The grant that it is of.
    pub(super) fn key(&self) -> GrantKey {
        GrantKey::from_parts(self.provider, self.subject, self.connection)
    }

    /// Whether it is of the grant that `key` names.
    pub(super) fn is_of(&self, key: &GrantKey) -> bool {
        self.provider == key.provider()
            && self.subject == key.subject()
            && self.connection == key.connection()
    }

    /// The record, of the grant that it is of: whoever has that key already shares it.
    pub(super) fn into_record(self, key: GrantKey) -> Result<Record, Error> {
        let wire = self;
        let secret = Secret::from;
        let at = Timestamp::from_unix_millis;
        let grant = Grant {
            key,
            epoch: wire.epoch,
            state: match wire.state {
                WireState::Active => GrantState::Active,
                WireState::NeedsReauth { since, reason } => GrantState::NeedsReauth {
                    since: at(since),
                    reason: match reason {
                        WireReason::Refused => ReauthReason::Refused,
                        WireReason::RefreshTokenExpired => ReauthReason::RefreshTokenExpired,
                        WireReason::NoRefreshToken => ReauthReason::NoRefreshToken,
                    },
                },
                WireState::Disconnected { since } => GrantState::Disconnected { since: at(since) },
            },
            issues: wire.issues,
            access_token: wire.access_token.map(AccessToken::try_from).transpose()?,
            accounts: wire
                .accounts
                .into_iter()
                .map(Account::try_from)
                .collect::<Result<_, _>>()?,
            refresh_token: wire.refresh_token.map(secret),
            was_rotated: wire.was_rotated,
            refresh_expires_at: wire.refresh_expires_at.map(at),
            reconnect_by: wire.reconnect_by.map(at),
            id_token: wire.id_token.map(secret),
            continuation: wire.continuation.map(secret),
            scope: wire.scope.map(str::to_owned),
            connected_at: at(wire.connected_at),
            refreshed_at: at(wire.refreshed_at),
            metadata: wire
                .metadata
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            secrets: wire
                .secrets
                .into_iter()
                .map(|(name, value)| (name.to_owned(), secret(value)))
                .collect(),
        };
        Ok(Record {
            grant,
            sequence: wire.sequence,
            connect: ExchangeId(wire.connect),
            exchange: ExchangeId(wire.exchange),
            intent: wire.intent.map(|wire| Intent {
                exchange: ExchangeId(wire.exchange),
                owner: Owner(wire.owner),
                token_hash: wire.token_hash,
                started: at(wire.started),
                deadline: at(wire.deadline),
            }),
            revocation: wire.revocation.map(|wire| Revocation {
                tokens: wire.tokens.into_iter().map(secret).collect(),
                attempts: wire.attempts,
                next: at(wire.next),
            }),
        })
    }
}

impl TryFrom<WireRecord<'_>> for Record {
    type Error = Error;

    fn try_from(wire: WireRecord<'_>) -> Result<Self, Error> {
        let key = wire.key();
        wire.into_record(key)
    }
}

fn too_large() -> Error {
    Error::new(ErrorKind::Store, "the record cannot be encoded")
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Damaged, "a record cannot be decoded")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grant::{AccountToken, TokenResponse};

    fn full() -> Record {
        let now = Timestamp::from_unix_millis(1_700_000_000_000);
        let response = TokenResponse::new("access")
            .refresh_token("refresh")
            .id_token("id")
            .scope("a b")
            .expires_in(Duration::from_secs(60))
            .refresh_token_expires_in(Duration::from_secs(900))
            .metadata("brokerName", "X")
            .secret("tradeToken", "trade")
            .account(AccountToken::new("acc-1", "access-1").name("Savings"))
            .account(AccountToken::new("acc-2", "access-2").token_id("t-2"));
        let key = GrantKey::new("p", "s").with_connection("c");
        let mut grant = Grant::connected(key, 3, response, now, None).unwrap();
        grant.continuation = Some(Secret::from("half"));
        Record {
            grant,
            sequence: 9,
            connect: ExchangeId([5; 16]),
            exchange: ExchangeId([1; 16]),
            intent: Some(Intent {
                exchange: ExchangeId([2; 16]),
                owner: Owner([3; 16]),
                token_hash: [4; 16],
                started: now,
                deadline: now + Duration::from_secs(30),
            }),
            revocation: Some(Revocation {
                tokens: vec![Secret::from("left")],
                attempts: 2,
                next: now,
            }),
        }
    }

    fn encoded(record: &Record) -> Vec<u8> {
        let wire = WireRecord::from(record);
        let mut buffer = vec![0; size(&wire).unwrap()];
        write(RECORD, &wire, &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let record = full();
        let again =
            Record::try_from(read::<WireRecord<'_>>(RECORD, &encoded(&record)).unwrap()).unwrap();
        assert_eq!(format!("{record:?}"), format!("{again:?}"));
        assert_eq!(again.grant.key, record.grant.key);
        assert_eq!(again.grant.refresh_token, record.grant.refresh_token);
        assert_eq!(again.grant.id_token, record.grant.id_token);
        assert_eq!(again.grant.access_token.unwrap().expose(), "access");
        assert_eq!(again.grant.metadata, record.grant.metadata);
        assert_eq!(again.grant.continuation, record.grant.continuation);
        assert_eq!(again.grant.secrets, record.grant.secrets);
        for (before, after) in record.grant.accounts.iter().zip(&again.grant.accounts) {
            assert_eq!(after.id(), before.id());
            assert_eq!(after.name(), before.name());
            assert_eq!(after.token_id(), before.token_id());
            let token = |account: &Account| account.access_token().unwrap().expose().to_owned();
            assert_eq!(token(after), token(before));
        }
    }

    #[test]
    fn another_schema_is_said_and_not_guessed_at() {
        let mut bytes = encoded(&full());
        bytes[0] = RECORD + 1;
        let Err(error) = read::<WireRecord<'_>>(RECORD, &bytes) else {
            panic!("it was read")
        };
        assert!(error.to_string().contains("another version"));
    }

    #[test]
    fn nothing_is_left_out_and_nothing_left_over() {
        let bytes = encoded(&full());
        for len in 0..bytes.len() {
            assert!(
                read::<WireRecord<'_>>(RECORD, &bytes[..len]).is_err(),
                "{len}"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(read::<WireRecord<'_>>(RECORD, &longer).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(mut bytes: Vec<u8>) {
            let _ = read::<WireRecord<'_>>(RECORD, &bytes).and_then(Record::try_from);
            bytes.insert(0, RECORD);
            let _ = read::<WireRecord<'_>>(RECORD, &bytes).and_then(Record::try_from);
        }
    }
}
