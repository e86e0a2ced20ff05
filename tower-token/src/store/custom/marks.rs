//! Leases and claims as rows of the table, where all processes see them.

use std::time::Duration;

use super::token::{SealedToken, TokenKey};
use super::traits::SharedUserTokenStore;
use crate::clock::Timestamp;
use crate::store::contract::byte_store::{Lease, LeaseOwner, StoreError, StoreErrorKind};
use crate::store::version::unused;

/// How often a mark may change under whoever wants it.
const TRIES: u32 = 8;
/// An owner, and the milliseconds of a time.
const LEN: usize = 16 + 8;

/// Takes the mark `key`, or extends it.
pub(super) async fn take<T: SharedUserTokenStore>(
    table: &T,
    key: &TokenKey,
    owner: LeaseOwner,
    ttl: Duration,
) -> Result<Lease, StoreError> {
    for _ in 0..TRIES {
        let found = table.retrieve(key).await?;
        // After the look: a mark that is over by then is over.
        let now = table.now().await?;
        if let Some((holder, until)) = found.as_ref().and_then(read)
            && holder != owner
            && until > now
        {
            return Ok(Lease::Held { now, until });
        }
        let mark = written(owner, now + ttl)?;
        let replaces = found.map(|mark| mark.version);
        if table.store(key, mark, replaces).await? {
            return Ok(Lease::Granted { now });
        }
    }
    Err(StoreError::new(
        StoreErrorKind::Unavailable,
        "a lease kept changing: try again",
    ))
}

/// Gives the mark `key` up, if `owner` has it.
pub(super) async fn release<T: SharedUserTokenStore>(
    table: &T,
    key: &TokenKey,
    owner: LeaseOwner,
) -> Result<(), StoreError> {
    let found = table.retrieve(key).await?;
    let Some(mark) = found.filter(|mark| read(mark).is_some_and(|(holder, _)| holder == owner))
    else {
        return Ok(());
    };
    // Somebody took it over in between: it is not ours any more.
    table.clear(key, mark.version).await.map(drop)
}

/// Removes the mark `key` if its time is over.
pub(super) async fn expire<T: SharedUserTokenStore>(
    table: &T,
    key: &TokenKey,
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = table.retrieve(key).await?;
    let over = |mark: &SealedToken| read(mark).is_none_or(|(_, until)| until <= now);
    match found.filter(over) {
        Some(mark) => table.clear(key, mark.version).await.map(drop),
        None => Ok(()),
    }
}

/// Due when it is over, so that it is found then.
fn written(owner: LeaseOwner, until: Timestamp) -> Result<SealedToken, StoreError> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend_from_slice(owner.as_bytes());
    bytes.extend_from_slice(&until.as_unix_millis().to_be_bytes());
    Ok(SealedToken::new(unused()?, Some(until), bytes))
}

fn read(mark: &SealedToken) -> Option<(LeaseOwner, Timestamp)> {
    let (owner, until) = mark.bytes.split_first_chunk()?;
    let until = u64::from_be_bytes(until.try_into().ok()?);
    Some((LeaseOwner(*owner), Timestamp::from_unix_millis(until)))
}
