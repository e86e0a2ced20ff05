//! Sealing: AES-256-GCM in the XAES-256-GCM construction (C2SP), with each record
//! bound to its place.
//!
//! ```text
//! format version 1 | suite 1 | key id 4 | nonce 24 | ciphertext | tag 16
//! ```
//!
//! Associated data: a label, the six header bytes, the vault id, the row key and the
//! kind of record, each preceded by its length. A record that is copied to another row,
//! another vault or another kind does not open. 192-bit random nonces can be drawn for
//! as long as one likes; with the 96 bits of plain GCM a busy fleet would have to
//! change keys within weeks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{AeadInOut as _, KeyInit as _};
use zeroize::Zeroizing;

use super::contract::RowKey;
use crate::error::{Error, ErrorKind};
use crate::secret::Wiped;

const FORMAT: u8 = 1;
const XAES_256_GCM: u8 = 1;
const HEADER: usize = 6;
const NONCE: usize = 24;
const TAG: usize = 16;
/// By how much a record is longer than what was sealed into it.
pub(super) const OVERHEAD: usize = HEADER + NONCE + TAG;
const LABEL: &[u8] = b"tower-token record";

/// What kind of record sealed bytes are; part of what they are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Keyset = 1,
    Grant = 2,
    /// What the tags of an export are made by.
    ExportKey = 3,
}

/// Where a record belongs. It opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) vault: &'a [u8],
    pub(super) row: &'a RowKey,
    pub(super) kind: Kind,
}

/// A 256-bit key, wiped when its last clone drops.
#[derive(Clone)]
pub(super) struct Key(Arc<Material>);

/// What a key is, and what was made of it when it was used first: both wipe themselves.
struct Material {
    bits: Zeroizing<[u8; 32]>,
    cipher: OnceLock<Xaes256Gcm>,
    mac: OnceLock<Hmac<Sha256>>,
}

impl Key {
    pub(super) const LEN: usize = 32;

    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        Self::filled(|bits| bits.copy_from_slice(bytes))
    }

    pub(super) fn random() -> Result<Self, Error> {
        let mut filled = Ok(());
        let key = Self::filled(|bits| filled = fill(bits));
        filled.map(|()| key)
    }

    /// Filled where it stays: bits that are moved leave a copy behind.
    fn filled(with: impl FnOnce(&mut [u8; 32])) -> Self {
        let mut material = Arc::new(Material {
            bits: Zeroizing::new([0; 32]),
            cipher: OnceLock::new(),
            mac: OnceLock::new(),
        });
        // Nobody else has it yet.
        if let Some(material) = Arc::get_mut(&mut material) {
            with(&mut material.bits);
        }
        Self(material)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0.bits
    }

    fn cipher(&self) -> &Xaes256Gcm {
        let make = || Xaes256Gcm::new(self.as_bytes().into());
        self.0.cipher.get_or_init(make)
    }

    fn mac(&self) -> Hmac<Sha256> {
        let make = || {
            // In a block of its own, as HMAC pads a key: of one that long there is no failure.
            let mut block = Zeroizing::new([0; 64]);
            block[..32].copy_from_slice(self.as_bytes());
            Hmac::new((&*block).into())
        };
        self.0.mac.get_or_init(make).clone()
    }

    /// The name an outer key goes by in what it wrapped: derived from the key, so that
    /// nobody has to number keys.
    pub(super) fn id(&self) -> u32 {
        let mac = keyed_hash(self, b"tower-token outer key id", &[]);
        u32::from_be_bytes([mac[0], mac[1], mac[2], mac[3]])
    }

    pub(super) fn is_weak(&self) -> bool {
        self.as_bytes()
            .iter()
            .all(|byte| *byte == self.as_bytes()[0])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

/// Random bytes from the operating system.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| {
        Error::with_source(ErrorKind::Store, "the system has no random numbers", error)
    })
}

/// HMAC-SHA-256 over a label and `parts`, each preceded by its length.
pub(super) fn keyed_hash(key: &Key, label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = key.mac();
    for part in std::iter::once(&label).chain(parts) {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Seals what `write` puts into a buffer of exactly `len` bytes. The plaintext exists
/// once, and is overwritten by the ciphertext.
pub(super) fn seal(
    key: &Key,
    key_id: u32,
    place: Place<'_>,
    len: usize,
    write: impl FnOnce(&mut [u8]) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    let mut record = Zeroizing::new(vec![0; HEADER + NONCE + len + TAG]);
    record[..HEADER].copy_from_slice(&header(key_id));
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    record[HEADER..HEADER + NONCE].copy_from_slice(&nonce);
    let (front, tag_at) = record.split_at_mut(HEADER + NONCE + len);
    let (head, text) = front.split_at_mut(HEADER + NONCE);
    write(text)?;
    let tag = key
        .cipher()
        .encrypt_inout_detached(
            &nonce.into(),
            &associated_data(&head[..HEADER], place),
            text.into(),
        )
        .map_err(|_| Error::new(ErrorKind::Store, "the record is too large to be sealed"))?;
    tag_at.copy_from_slice(&tag);
    Ok(std::mem::take(&mut *record))
}

pub(super) type Nonce = [u8; NONCE];

/// The nonce of `record`, which no other has.
pub(super) fn nonce(record: &[u8]) -> Option<Nonce> {
    record.get(HEADER..)?.first_chunk().copied()
}

/// Which key sealed `record`.
pub(super) fn key_id(record: &[u8]) -> Result<u32, Error> {
    match record {
        [FORMAT, XAES_256_GCM, a, b, c, d, rest @ ..] if rest.len() >= NONCE + TAG => {
            Ok(u32::from_be_bytes([*a, *b, *c, *d]))
        }
        [FORMAT, XAES_256_GCM, ..] => Err(damaged("a record is too short")),
        _ => Err(damaged(
            "a record has a format that this version does not know",
        )),
    }
}

/// Opens `record`, if it was sealed by `key` for this very place.
pub(super) fn open(key: &Key, place: Place<'_>, record: &[u8]) -> Result<Wiped, Error> {
    key_id(record)?;
    let (head, body) = record.split_at(HEADER);
    let (nonce, body) = body.split_at(NONCE);
    let (text, tag) = body.split_at(body.len() - TAG);
    let (Ok(nonce), Ok(tag)) = (<[u8; NONCE]>::try_from(nonce), <[u8; TAG]>::try_from(tag)) else {
        return Err(damaged("a record is too short"));
    };
    let mut text = Wiped::new(text.to_vec());
    key.cipher()
        .decrypt_inout_detached(
            &nonce.into(),
            &associated_data(head, place),
            (&mut *text).into(),
            &tag.into(),
        )
        .map_err(|_| damaged("a record does not open: it was damaged, moved or forged"))?;
    Ok(text)
}

fn header(key_id: u32) -> [u8; HEADER] {
    let id = key_id.to_be_bytes();
    [FORMAT, XAES_256_GCM, id[0], id[1], id[2], id[3]]
}

fn associated_data(header: &[u8], place: Place<'_>) -> Vec<u8> {
    let parts = [
        LABEL,
        header,
        place.vault,
        place.row.as_bytes(),
        &[place.kind as u8],
    ];
    let mut data = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

fn damaged(message: &'static str) -> Error {
    Error::new(ErrorKind::Damaged, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::Group;

    fn row(n: u8) -> RowKey {
        RowKey::new(Group([n; 16]), [n; 32])
    }

    fn place<'a>(vault: &'a [u8], row: &'a RowKey, kind: Kind) -> Place<'a> {
        Place { vault, row, kind }
    }

    fn sealed(key: &Key, place: Place<'_>, text: &[u8]) -> Vec<u8> {
        seal(key, 7, place, text.len(), |buffer| {
            buffer.copy_from_slice(text);
            Ok(())
        })
        .unwrap()
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
            .collect()
    }

    /// The vectors published with the construction (C2SP, XAES-256-GCM).
    #[test]
    fn xaes_256_gcm_agrees_with_its_published_vectors() {
        let vectors: [(u8, &[u8], &str); 2] = [
            (
                0x01,
                b"",
                "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271",
            ),
            (
                0x03,
                b"c2sp.org/XAES-256-GCM",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ];
        for (key, data, expected) in vectors {
            let mut text = *b"XAES-256-GCM";
            let tag = Xaes256Gcm::new(&[key; 32].into())
                .encrypt_inout_detached(
                    b"ABCDEFGHIJKLMNOPQRSTUVWX".into(),
                    data,
                    text.as_mut_slice().into(),
                )
                .unwrap();
            assert_eq!([text.as_slice(), tag.as_slice()].concat(), hex(expected));
        }
    }

    /// The long test that is published beside them: what SHAKE128 gives is sealed and opened
    /// ten thousand times, and the hash of every answer is known.
    #[test]
    fn xaes_256_gcm_agrees_with_its_accumulated_vectors() {
        use shake::Shake128;
        use shake::digest::{ExtendableOutput as _, Update as _, XofReader as _};
        let mut source = Shake128::default().finalize_xof();
        let mut answers = Shake128::default();
        for _ in 0..10_000 {
            let (mut key, mut nonce, mut len) = ([0; 32], [0; NONCE], [0]);
            source.read(&mut key);
            source.read(&mut nonce);
            source.read(&mut len);
            let mut text = vec![0; usize::from(len[0])];
            source.read(&mut text);
            source.read(&mut len);
            let mut data = vec![0; usize::from(len[0])];
            source.read(&mut data);
            let (cipher, plain) = (Xaes256Gcm::new(&key.into()), text.clone());
            let tag = cipher
                .encrypt_inout_detached(&nonce.into(), &data, text.as_mut_slice().into())
                .unwrap();
            answers.update(&text);
            answers.update(&tag);
            cipher
                .decrypt_inout_detached(&nonce.into(), &data, text.as_mut_slice().into(), &tag)
                .unwrap();
            assert_eq!(text, plain);
        }
        let mut hash = [0; 32];
        answers.finalize_xof().read(&mut hash);
        assert_eq!(
            hash.as_slice(),
            hex("e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939")
        );
    }

    /// Sealed by another program, written from what stands at the head of this file: the
    /// label, each part of the place and its length are what is bound.
    #[test]
    fn what_another_implementation_sealed_opens() {
        let key = Key::new(&std::array::from_fn(|i| i as u8));
        let row = RowKey::new(Group([0xa1; 16]), [0xb2; 32]);
        let record = hex(
            "01010000000761206e6f6e6365206f66207477656e74792d666f7572206227ada737663052f693e16e91\
             f808b99dfcb282a74df472e7",
        );
        let opened = open(&key, place(b"vault", &row, Kind::Grant), &record).unwrap();
        assert_eq!(&opened[..], b"the text");
        assert_eq!(key_id(&record).unwrap(), 7);
    }

    #[test]
    fn a_record_opens_in_its_place_and_nowhere_else() {
        let key = Key::random().unwrap();
        let (here, there) = (row(1), row(2));
        let home = place(b"vault", &here, Kind::Grant);
        let record = sealed(&key, home, b"text");
        assert_eq!(&open(&key, home, &record).unwrap()[..], b"text");
        for elsewhere in [
            place(b"vault", &there, Kind::Grant),
            place(b"other", &here, Kind::Grant),
            place(b"vault", &here, Kind::Keyset),
        ] {
            let error = open(&key, elsewhere, &record).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
        }
        assert!(open(&Key::random().unwrap(), home, &record).is_err());
    }

    #[test]
    fn no_byte_of_a_record_can_be_changed_and_none_left_out() {
        let key = Key::random().unwrap();
        let here = row(1);
        let home = place(b"vault", &here, Kind::Grant);
        let record = sealed(&key, home, b"text");
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert!(open(&key, home, &changed).is_err(), "byte {at}");
            assert!(open(&key, home, &record[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn one_text_is_sealed_differently_every_time() {
        let key = Key::random().unwrap();
        let here = row(1);
        let home = place(b"vault", &here, Kind::Grant);
        assert_ne!(sealed(&key, home, b"text"), sealed(&key, home, b"text"));
    }
}
