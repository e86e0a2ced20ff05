//! Sealing and opening in memory, beside the ciphers alone with a key that is ready.

use aes_gcm::Aes256Gcm;
use benches::{BoxError, Case, Effort, Report, measure};
use tower_token::testkit::probe;
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{AeadInOut, KeyInit};

const LENGTHS: [usize; 3] = [200, 1_024, 4_096];
/// In a round.
const TIMES: usize = 10_000;

/// XAES-256-GCM and a nonce before what it sealed.
pub struct Bare(Xaes256Gcm);

/// About as much as a record is bound to.
const DATA: [u8; 132] = [7; 132];

impl Bare {
    const NONCE: usize = 24;
    const TAG: usize = 16;
    /// What a sealed text has besides the text.
    pub const BESIDE: usize = Self::NONCE + Self::TAG;

    pub fn new() -> Result<Self, BoxError> {
        Ok(Self(Xaes256Gcm::new(&random::<32>()?.into())))
    }

    pub fn seal(&self, text: &[u8]) -> Result<Vec<u8>, BoxError> {
        seal::<24>(text, |nonce, text| {
            let sealed = self
                .0
                .encrypt_inout_detached(nonce.into(), &DATA, text.into());
            sealed.map(Into::into)
        })
    }

    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
        open::<24>(sealed, |nonce, text, tag| {
            self.0
                .decrypt_inout_detached(nonce.into(), &DATA, text.into(), tag.into())
        })
    }
}

type CipherError = xaes_256_gcm::aead::Error;

fn random<const N: usize>() -> Result<[u8; N], BoxError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

fn seal<const NONCE: usize>(
    text: &[u8],
    cipher: impl FnOnce(&[u8; NONCE], &mut [u8]) -> Result<[u8; 16], CipherError>,
) -> Result<Vec<u8>, BoxError> {
    let mut sealed = Vec::with_capacity(NONCE + text.len() + Bare::TAG);
    let nonce = random::<NONCE>()?;
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(text);
    let tag = cipher(&nonce, &mut sealed[NONCE..]).map_err(|_| "too long")?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

fn open<const NONCE: usize>(
    sealed: &[u8],
    cipher: impl FnOnce(&[u8; NONCE], &mut [u8], &[u8; 16]) -> Result<(), CipherError>,
) -> Result<Vec<u8>, BoxError> {
    let (nonce, rest) = sealed.split_first_chunk().ok_or("too short")?;
    let (text, tag) = rest.split_last_chunk().ok_or("too short")?;
    let mut text = text.to_vec();
    cipher(nonce, &mut text, tag).map_err(|_| "it does not open")?;
    Ok(text)
}

pub fn measured(effort: &Effort, report: &mut Report) -> Result<(), BoxError> {
    let plain = Aes256Gcm::new(&random::<32>()?.into());
    let aes_seal = |text: &[u8]| {
        seal::<12>(text, |nonce, text| {
            let sealed = plain.encrypt_inout_detached(nonce.into(), &DATA, text.into());
            sealed.map(Into::into)
        })
    };
    let aes_open = |sealed: &[u8]| {
        open::<12>(sealed, |nonce, text, tag| {
            plain.decrypt_inout_detached(nonce.into(), &DATA, text.into(), tag.into())
        })
    };
    let xaes = Bare::new()?;
    let times = effort.of(TIMES);
    let mut rows = Vec::new();
    for len in LENGTHS {
        let text = vec![b'a'; len];
        let of_aes = aes_seal(&text)?;
        let of_xaes = xaes.seal(&text)?;
        let of_ours = probe::sealed(&text)?;
        let cases = vec![
            case("seal: aes-gcm", times, || aes_seal(&text)),
            case("seal: xaes-256-gcm", times, || xaes.seal(&text)),
            case("seal", times, || Ok(probe::sealed(&text)?)),
            case("open: aes-gcm", times, || aes_open(&of_aes)),
            case("open: xaes-256-gcm", times, || xaes.open(&of_xaes)),
            case("open", times, || Ok(probe::opened(&of_ours, <[u8]>::len)?)),
        ];
        let measured = measure(effort, cases)?;
        let us = |at: usize| measured[at].median.as_secs_f64() / times as f64 * 1e6;
        for (what, at) in [("seal", 0), ("open", 3)] {
            let [aes, xaes, ours] = [0, 1, 2].map(|case| us(at + case));
            report.ratio(format!("{what}-{len}"), ours / aes);
            let numbers = [aes, xaes, ours, ours / aes].map(|number| format!("{number:.2}"));
            let name = std::iter::once(format!("{what} {len} B"));
            rows.push(name.chain(numbers).collect());
        }
    }
    let head = ["us", "aes-gcm", "xaes-256-gcm", "ours", "of aes-gcm"];
    report.table(&head, rows);
    Ok(())
}

fn case<'a, T>(name: &str, times: usize, work: impl Fn() -> Result<T, BoxError> + 'a) -> Case<'a> {
    Case::new(name, move || {
        for _ in 0..times {
            std::hint::black_box(work()?);
        }
        Ok(())
    })
}
