//! What the database's answers mean.

use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::Row as PgRow;
use tokio_postgres::types::FromSql;

use super::cursor::Place;
use super::error::{REPLICA, damaged, plain};
use crate::clock::Timestamp;
use crate::store::contract::{Lease, LeaseOwner, Row, RowKey, StoreError, Version};

/// Rows behind the answer whether they are a replica's. One without a key stands for none.
pub(super) fn read_rows(rows: &[PgRow]) -> Result<Vec<(RowKey, Row)>, StoreError> {
    refuse_replica(rows)?;
    let is_there = |row: &&PgRow| !matches!(row.try_get::<_, Option<&[u8]>>(1), Ok(None));
    rows.iter()
        .filter(is_there)
        .map(|row| one_row(row, 1))
        .collect()
}

/// Rows that were written, each by itself.
pub(super) fn written(rows: &[PgRow]) -> Result<Vec<(RowKey, Row)>, StoreError> {
    rows.iter().map(|row| one_row(row, 0)).collect()
}

/// The place in columns from `first` on, unless the server has none since it crashed.
pub(super) fn place_of(rows: &[PgRow], first: usize) -> Result<Option<Place>, StoreError> {
    refuse_replica(rows)?;
    let row = rows.first().ok_or_else(unread)?;
    let Some(era) = get(row, first + 1)? else {
        return Ok(None);
    };
    Ok(Some(Place {
        started: get(row, first)?,
        era,
        seen: get(row, first + 2)?,
    }))
}

pub(super) fn one_lease(rows: &[PgRow], owner: LeaseOwner) -> Result<Lease, StoreError> {
    let row = rows.first().ok_or_else(unread)?;
    let (holder, until): (&[u8], _) = (get(row, 0)?, time(get(row, 1)?));
    let now = time(get(row, 2)?);
    Ok(match holder == owner.as_bytes() {
        true => Lease::Granted { now },
        false => Lease::Held { now, until },
    })
}

fn refuse_replica(rows: &[PgRow]) -> Result<(), StoreError> {
    let row = rows.first().ok_or_else(unread)?;
    match get(row, 0)? {
        true => Err(plain(REPLICA)),
        false => Ok(()),
    }
}

fn one_row(row: &PgRow, first: usize) -> Result<(RowKey, Row), StoreError> {
    let key = RowKey::from_bytes(get(row, first)?).ok_or_else(unread)?;
    let version: i64 = get(row, first + 1)?;
    let due: Option<i64> = get(row, first + 2)?;
    let bytes: &[u8] = get(row, first + 3)?;
    let version = Version(u64::try_from(version).map_err(|_| unread())?);
    Ok((
        key,
        Row::new(version, due.map(time), Bytes::copy_from_slice(bytes)),
    ))
}

fn get<'a, T: FromSql<'a>>(row: &'a PgRow, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(|_| unread())
}

fn unread() -> StoreError {
    damaged("what is in the tables is not what this library writes: look who else does")
}

fn time(millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(u64::try_from(millis).unwrap_or_default())
}

/// What is too far for the database is as far as it goes.
pub(super) fn signed_time(time: Timestamp) -> i64 {
    i64::try_from(time.as_unix_millis()).unwrap_or(i64::MAX)
}

/// So that it can be added to any time.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis())
        .unwrap_or(i64::MAX)
        .min(i64::MAX / 2)
}

pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
