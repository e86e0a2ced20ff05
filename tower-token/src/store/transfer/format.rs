//! The form of an export, without what stands in it: bytes to frames and back.
//!
//! ```text
//! head    magic 8 | format 1 | length 4 | keyset | sealed key 78 | tag 32
//! frame   kind 1 | length 4 | payload | tag 32
//!   row     row key 48 | whether it is due 1 | when 8 | sealed record
//!   end     rows 8 | unreadable rows 8
//! ```
//!
//! Numbers are big-endian. The keyset is the row as the store has it, wrapped by the outer key.
//! The key is random for each export, and sealed by the data key that was active. By it a tag
//! authenticates its frame, and the tag before: so the order of all frames, back to the head.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::store::contract::{Row, RowKey, SealedRow, Version};
use crate::store::seal::{self, Key, keyed_hash};

pub(super) const MAGIC: &[u8; 8] = b"TTEXPORT";
pub(super) const FORMAT: u8 = 1;
pub(super) const LENGTH: usize = 4;
/// The magic and the format.
pub(super) const MARK: usize = MAGIC.len() + 1;
/// The kind and the length.
pub(super) const FRAME: usize = 1 + LENGTH;
pub(super) const TAG: usize = 32;
pub(super) const SEALED_KEY: usize = seal::OVERHEAD + Key::LEN;
pub(super) const ROW: u8 = 1;
pub(super) const END: u8 = 2;
/// What stands before the record of a row.
pub(super) const BEFORE_RECORD: usize = RowKey::LEN + 1 + 8;
pub(super) const END_LEN: usize = 16;
/// Some thousand data keys.
pub(super) const MAX_KEYSET: usize = 256 << 10;

type Tag = [u8; TAG];

/// What an export begins with.
#[derive(Debug)]
pub(super) struct Head {
    /// As it is wrapped by the outer key.
    pub(super) keyset: Bytes,
    /// What the tags are made by, sealed by a data key.
    pub(super) sealed_key: Bytes,
    /// All of it, but for the tag.
    pub(super) authenticated: Bytes,
    pub(super) tag: Bytes,
}

/// What comes after the head, authenticated by [`Chain::check`] and not before.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) payload: Bytes,
    pub(super) tag: Bytes,
}

/// What a frame says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Row(RowKey, Row),
    End { rows: u64, unreadable: u64 },
}

/// The tags of one export, one after the other.
#[derive(Debug)]
pub(super) struct Chain {
    key: Key,
    tag: Tag,
}

impl Chain {
    fn begin(key: Key, head: &[u8]) -> Self {
        let tag = keyed_hash(&key, b"tower-token export head", &[head]);
        Self { key, tag }
    }

    fn next(&mut self, kind: u8, payload: &[u8]) -> &Tag {
        let parts = [&self.tag[..], &[kind], payload];
        self.tag = keyed_hash(&self.key, b"tower-token export frame", &parts);
        &self.tag
    }

    /// The tags that follow `head`, if it is whole.
    pub(super) fn of(key: Key, head: &Head) -> Result<Self, Error> {
        let chain = Self::begin(key, &head.authenticated);
        same(&chain.tag, &head.tag)?;
        Ok(chain)
    }

    /// What `frame` says, if it is the next one.
    pub(super) fn check(&mut self, frame: &Frame) -> Result<Body, Error> {
        same(self.next(frame.kind, &frame.payload), &frame.tag)?;
        body(frame.kind, frame.payload.clone())
    }

    /// Adds a row.
    pub(super) fn row(&mut self, to: &mut BytesMut, row_key: &RowKey, row: &Row) {
        let mut payload = BytesMut::with_capacity(BEFORE_RECORD + row.bytes.len());
        payload.put_slice(row_key.as_bytes());
        payload.put_u8(u8::from(row.due.is_some()));
        payload.put_u64(row.due.map_or(0, Timestamp::as_unix_millis));
        payload.put_slice(&row.bytes);
        self.frame(to, ROW, &payload);
    }

    /// Adds the end.
    pub(super) fn end(&mut self, to: &mut BytesMut, rows: u64, unreadable: u64) {
        let mut payload = [0; END_LEN];
        payload[..8].copy_from_slice(&rows.to_be_bytes());
        payload[8..].copy_from_slice(&unreadable.to_be_bytes());
        self.frame(to, END, &payload);
    }

    fn frame(&mut self, to: &mut BytesMut, kind: u8, payload: &[u8]) {
        to.put_u8(kind);
        put_len(to, payload.len());
        to.put_slice(payload);
        to.put_slice(self.next(kind, payload));
    }
}

/// The head of a new export, and the tags that follow it. `keyset` is no longer than
/// [`MAX_KEYSET`].
pub(super) fn head(key: Key, sealed_key: &[u8], keyset: &[u8]) -> (BytesMut, Chain) {
    let mut head = BytesMut::with_capacity(MARK + LENGTH + keyset.len() + SEALED_KEY + TAG);
    head.put_slice(MAGIC);
    head.put_u8(FORMAT);
    put_len(&mut head, keyset.len());
    head.put_slice(keyset);
    head.put_slice(sealed_key);
    let chain = Chain::begin(key, &head);
    head.put_slice(&chain.tag);
    (head, chain)
}

/// Whether `row` fits into a frame.
pub(super) fn fits(row: &Row) -> bool {
    row.bytes.len() <= SealedRow::MAX_LEN
}

fn body(kind: u8, mut payload: Bytes) -> Result<Body, Error> {
    match kind {
        END if payload.len() == END_LEN => Ok(Body::End {
            rows: payload.get_u64(),
            unreadable: payload.get_u64(),
        }),
        ROW if payload.len() >= BEFORE_RECORD => {
            let row_key = payload.split_to(RowKey::LEN);
            let row_key = RowKey::from_bytes(&row_key).ok_or_else(changed)?;
            let is_due = payload.get_u8() != 0;
            let due = Timestamp::from_unix_millis(payload.get_u64());
            // Which version it is to the store that it goes to is not known yet.
            let row = Row::new(Version(0), is_due.then_some(due), payload);
            Ok(Body::Row(row_key, row))
        }
        _ => Err(changed()),
    }
}

fn put_len(to: &mut BytesMut, len: usize) {
    // Every caller's is bounded, far below.
    to.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

fn same(tag: &Tag, found: &[u8]) -> Result<(), Error> {
    match bool::from(tag.ct_eq(found)) {
        true => Ok(()),
        false => Err(changed()),
    }
}

pub(super) fn changed() -> Error {
    invalid(
        "the export was damaged or changed, or is made of several: what came before is as it was \
         exported, nothing from here on was imported",
    )
}

pub(super) fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidExport, message)
}
